import { fstatSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { Logger } from 'pino';
import { secretRegistry } from '../config/redact.js';
import type { Config } from '../config/schema.js';
import { logContext } from '../log-context.js';
import { privateFolder } from '../worker/temporal/state.js';
import { LogFile } from './log-file.js';
import { lineText, parseLine, syslogPriority } from './log-line.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LogOptions {
  /** What people see of it on stderr; `config`: what the config says. */
  stderr: LogLevel | 'config' | 'silent';
  /** Whether the file also gets what is of interest to developers only. */
  debug?: boolean;
}

/** The log of what this host's workers do. */
export function logFile({ log }: Pick<Config, 'log'>): string {
  return join(log.path, 'holdfast.log');
}

/**
 * A log that goes to the log folder's file as NDJSON, and to stderr for people. Every line is redacted by value, and names
 * the run it is written for.
 */
export async function openLog(config: Pick<Config, 'log'>, options: LogOptions): Promise<Logger> {
  const { default: pino, multistream, stdTimeFunctions } = await import('pino');
  const { log } = config;
  await privateFolder(log.path);
  const file = new LogFile(logFile(config), log.rotate);
  const level = options.debug ? 'debug' : log.level;
  const stderr = options.stderr === 'config' ? log.level : options.stderr;
  const print = printer(log.format);
  const streams = [{ level, stream: redacted((line) => file.write(line)) }];
  if (stderr !== 'silent')
    streams.push({ level: stderr, stream: redacted((line) => void process.stderr.write(print(line))) });
  const lowest = stderr === 'debug' ? 'debug' : level;
  return pino(
    {
      level: lowest,
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      mixin: () => ({ ...logContext.getStore() }),
      // What a line says of itself counts more than where it was written.
      mixinMergeStrategy: (own, context) => ({ ...context, ...own }),
    },
    multistream(streams),
  );
}

function redacted(write: (line: string) => void): Writable {
  return new Writable({
    decodeStrings: false,
    write(chunk: string | Buffer, _encoding, done) {
      write(secretRegistry.redact(chunk.toString()));
      done();
    },
  });
}

/** How a line is printed on stderr. */
function printer(format: Config['log']['format']): (line: string) => string {
  const journal = inJournal(process.env.JOURNAL_STREAM);
  const pretty = format === 'pretty' || (format === 'auto' && (process.stderr.isTTY || journal));
  return (line) => {
    const entry = parseLine(line);
    if (entry === undefined) return line;
    // The journal has a clock of its own.
    const text = pretty ? lineText(entry, { clock: !journal }) : line;
    return journal ? `<${syslogPriority(entry.level)}>${text}` : text;
  };
}

/** Whether stderr goes to systemd's journal: it says by device and inode which stream does (systemd.exec(5)). */
function inJournal(stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(2);
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}
