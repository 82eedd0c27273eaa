import type { LogLevel, Logger as TemporalLogger } from '@temporalio/worker';
import type { Logger } from 'pino';

/** The Temporal SDK's log lines, as ours; its chatter is one level down. */
export function temporalLogger(log: Logger): TemporalLogger {
  const write = (level: LogLevel, message: string, meta: Record<string | symbol, unknown> = {}): void => {
    const fields = fieldsOf(meta);
    if (level === 'ERROR') log.error(fields, message);
    // What failed in an activity is logged where it is known what it was.
    else if (level === 'WARN' && fields.activity === undefined) log.warn(fields, message);
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

/** The SDK's names for what ours have other names for; the rest as it is. */
function fieldsOf(meta: Record<string | symbol, unknown>): Record<string, unknown> {
  const { workflowId, activityType, error, ...rest } = meta;
  const fields: Record<string, unknown> = { sdk: true };
  if (workflowId !== undefined) fields.run = workflowId;
  if (activityType !== undefined) fields.activity = activityType;
  if (error !== undefined) fields.err = error;
  return { ...rest, ...fields };
}
