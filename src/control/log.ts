import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { Logger } from 'pino';
import { secretRegistry } from '../config/redact.js';
import { privateFolder, rotateLog } from '../worker/temporal/state.js';

const maxBytes = 10 << 20;

export type LogLevel = 'debug' | 'info' | 'warn' | 'silent';

/** The log of what this host's workers do. */
export function logFile(stateDir: string): string {
  return join(stateDir, 'logs', 'holdfast.log');
}

/**
 * A log that goes to the state folder's file, as NDJSON and redacted, and from `stderr` on also to people.
 *
 * @param options.debug whether the file also gets what is of interest to developers only.
 */
export async function openLog(stateDir: string, options: { stderr: LogLevel; debug?: boolean }): Promise<Logger> {
  const { default: pino, multistream, destination } = await import('pino');
  const file = logFile(stateDir);
  await privateFolder(join(stateDir, 'logs'));
  await rotateLog(file, maxBytes);
  const level = options.debug ? 'debug' : 'info';
  // Synchronous, so that nothing is lost when the process is killed.
  const sink = destination({ dest: file, append: true, sync: true, mode: 0o600 });
  const streams = [{ level, stream: redacted((line) => void sink.write(line)) }];
  const people = { level: options.stderr, stream: redacted((line) => void process.stderr.write(forPeople(line))) };
  return pino(
    { level, base: { pid: process.pid } },
    multistream(options.stderr === 'silent' ? streams : [...streams, { ...people, level: options.stderr }]),
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

const levelNames: Readonly<Record<number, string>> = { 20: 'debug: ', 40: 'warning: ', 50: 'error: ', 60: 'error: ' };

/** One NDJSON line as `03:00:00 warning: message (job=site)`. */
export function forPeople(line: string): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line);
  } catch {
    return line;
  }
  const { level, time, pid: _pid, msg, err, ...rest } = entry;
  const clock = new Date(Number(time)).toTimeString().slice(0, 8);
  const reason = typeof err === 'object' && err !== null && 'message' in err ? `: ${String(err.message)}` : '';
  const details = Object.entries(rest)
    .filter(([, value]) => typeof value === 'string' || typeof value === 'number')
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(' ');
  return `${clock} ${levelNames[Number(level)] ?? ''}${String(msg ?? '')}${reason}${details === '' ? '' : ` (${details})`}\n`;
}
