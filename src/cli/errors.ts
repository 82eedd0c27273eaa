import { type ErrorCode, HoldfastError } from '../errors.js';
import type { ExitCode } from './context.js';

/** `{ error: ... }` of `--json`, before there is a run. */
export interface ErrorDocument {
  error: { code: ErrorCode; message: string; file?: string; line?: number; key?: string; hint?: string };
}

const usage: ReadonlySet<ErrorCode> = new Set(['UsageInvalid', 'ConfigInvalid', 'ConfigNotFound', 'JobUnknown']);

export function exitCodeOf(error: HoldfastError): ExitCode {
  return usage.has(error.code) ? 2 : 1;
}

/** Whatever was thrown, as an error a user can meet. Messages are redacted by the secrets this process has resolved. */
export function toHoldfastError(error: unknown, logFile?: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const message = error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : String(error);
  const log = logFile === undefined ? '' : `The log is ${logFile}. `;
  return new HoldfastError('Internal', `unexpected: ${message.slice(0, 500)}`, {
    hint: `${log}HOLDFAST_DEBUG=1 shows where it happened.`,
    cause: error,
  });
}

export function errorDocument(error: HoldfastError, redact: (text: string) => string): ErrorDocument {
  const { code, file, line, key, hint } = error;
  return {
    error: {
      code,
      message: redact(error.message),
      ...(file === undefined ? {} : { file }),
      ...(line === undefined ? {} : { line }),
      ...(key === undefined ? {} : { key }),
      ...(hint === undefined ? {} : { hint: redact(hint) }),
    },
  };
}

/** The same for people: `error: message`, where it is, `hint: what to do`. */
export function errorText(error: HoldfastError, redact: (text: string) => string): string {
  const { file, line, key, hint } = error;
  const lines = [`error: ${redact(error.message)}`];
  const place = file === undefined ? undefined : `${file}${line === undefined ? '' : `:${line}`}`;
  if (place !== undefined && !error.message.includes(place)) lines.push(`  at ${place}${key ? ` (${key})` : ''}`);
  if (hint !== undefined) lines.push(`hint: ${redact(hint)}`);
  return `${lines.join('\n')}\n`;
}
