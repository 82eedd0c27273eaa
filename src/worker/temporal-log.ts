import type { LogLevel, Logger as TemporalLogger } from '@temporalio/worker';
import type { Logger } from 'pino';

/** The Temporal SDK's log lines, as ours; its chatter is one level down. */
export function temporalLogger(log: Logger): TemporalLogger {
  const write = (level: LogLevel, message: string, meta?: Record<string | symbol, unknown>): void => {
    const fields = { sdk: true, ...meta };
    if (level === 'ERROR') log.error(fields, message);
    else if (level === 'WARN') log.warn(fields, message);
    else log.debug(fields, message);
  };
  return {
    log: write,
    trace: () => undefined,
    debug: () => undefined,
    info: (message, meta) => write('INFO', message, meta),
    warn: (message, meta) => write('WARN', message, meta),
    error: (message, meta) => write('ERROR', message, meta),
  };
}
