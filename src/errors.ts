/** Every error a user can meet carries one of these codes; docs/errors.md explains each. */
export const errorCodes = [
  'ConfigInvalid',
  'ConfigNotFound',
  'UsageInvalid',
  'SecretMissing',
  'AuthDenied',
  'InputRefused',
  'SourceMissing',
  'SourceFailed',
  'SpoolLost',
  'SpoolStale',
  'SpoolFull',
  'IntegrityMismatch',
  'RepositoryMismatch',
  'RepositoryOwned',
  'RepositoryRolledBack',
  'PassphraseWrong',
  'DestinationLost',
  'DestinationMissing',
  'DestinationUnreachable',
  'DestinationFull',
  'DestinationReadOnly',
  'DestinationFailed',
  'ObjectExists',
  'ObjectMissing',
  'Throttled',
  'JobBusy',
  'JobUnknown',
  'RunUnknown',
  'SnapshotUnknown',
  'PathUnknown',
  'TargetUnsafe',
  'TargetConflict',
  'TargetFull',
  'TemporalUnavailable',
  'TemporalMissing',
  'AlreadyRunning',
  'WorkerMissing',
  'PlatformUnsupported',
  'Cancelled',
  'Internal',
  'ToolMissing',
  'DumpIncomplete',
  'RestoreFailed',
  'AuthExpired',
] as const;
export type ErrorCode = (typeof errorCodes)[number];

export interface ErrorDetails {
  hint?: string;
  file?: string;
  line?: number;
  key?: string;
  /** Whether trying the same again can help. */
  retryable?: boolean;
  /** For `Throttled`: how long to wait, milliseconds. */
  retryAfterMs?: number;
  cause?: unknown;
}

const retryableCodes: ReadonlySet<ErrorCode> = new Set([
  'DestinationMissing',
  'DestinationUnreachable',
  'DestinationFull',
  'DestinationReadOnly',
  'DestinationFailed',
  'SpoolFull',
  'SourceFailed',
  'DumpIncomplete',
  'Throttled',
  'JobBusy',
  'TemporalUnavailable',
  'Internal',
  'AuthExpired',
]);

/** An error with a stable code, a message for people, and what to do next. */
export class HoldfastError extends Error {
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly file?: string;
  readonly line?: number;
  readonly key?: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'HoldfastError';
    this.code = code;
    this.hint = details.hint;
    this.file = details.file;
    this.line = details.line;
    this.key = details.key;
    this.retryable = details.retryable ?? retryableCodes.has(code);
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** The errno name (`ENOENT`, ...) of a system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}
