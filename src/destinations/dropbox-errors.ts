import { type ErrorCode, type ErrorDetails, HoldfastError } from '../errors.js';
import { cancelled } from './cancelled.js';
import { headerOf, isRecord, lineProblem, quote, retryAfterMs, textAt } from './service-errors.js';

interface Meaning extends ErrorDetails {
  code: ErrorCode;
  says: string;
}

const slow: Meaning = { code: 'Throttled', says: 'Dropbox asks to slow down' };
const full: Meaning = {
  code: 'DestinationFull',
  says: 'the Dropbox is full',
  hint: 'Free space, buy more, or let retention keep fewer snapshots.',
};
const denied: Meaning = {
  code: 'AuthDenied',
  says: 'access denied',
  hint: "Check the app's permissions in the Dropbox App Console; after changing them run `holdfast login` again.",
};
const name: Meaning = { code: 'DestinationFailed', says: 'Dropbox does not take this name', retryable: false };

/** By the tags that Dropbox strings together in `error_summary`, the first that fits. */
const byTag: readonly (readonly [tag: RegExp, meaning: Meaning])[] = [
  [/too_many_(requests|write_operations)/, slow],
  [/insufficient_space|insufficient_quota/, full],
  [/missing_scope/, { ...denied, says: 'the app lacks a permission' }],
  [
    /no_write_permission|no_permission|cant_/,
    {
      code: 'DestinationReadOnly',
      says: 'the folder may only be read',
      hint: 'Give the account the right to edit the folder.',
    },
  ],
  [/restricted_content|access_error|user_suspended|invalid_account_type|paper_access_denied/, denied],
  [/(expired|invalid)_access_token/, { ...denied, says: 'the access token is refused' }],
  [
    /content_hash_mismatch/,
    { code: 'IntegrityMismatch', says: 'the bytes that arrived have another checksum', retryable: true },
  ],
  [/malformed_path|disallowed_name/, name],
  [/conflict/, { code: 'ObjectExists', says: 'there is already something of this name' }],
  [/not_found/, { code: 'ObjectMissing', says: 'it is not there' }],
  [/not_file|not_folder/, { code: 'ObjectMissing', says: 'it is not an object' }],
  [/invalid_root/, { code: 'DestinationMissing', says: 'the namespace is not there', hint: 'Correct `namespace`.' }],
];

const byStatus: Readonly<Record<number, Meaning>> = {
  401: denied,
  403: denied,
  408: { code: 'DestinationUnreachable', says: 'the upload stalled' },
  416: { code: 'IntegrityMismatch', says: 'the object is shorter than it should be' },
  429: slow,
};

export interface DropboxContext {
  /** Names the destination. */
  label: string;
  /** Values that no message may hold. */
  secrets: () => readonly string[];
}

/** The HTTP status of the answer that an error came with. */
export function dropboxStatus(error: unknown): number | undefined {
  const status = isRecord(error) && textAt(error, 'name') === 'DropboxResponseError' ? error.status : undefined;
  return typeof status === 'number' ? status : undefined;
}

/** The tags of what is wrong: `path/not_found/..`. */
export function dropboxSummary(error: unknown): string {
  return (isRecord(error) ? textAt(error.error, 'error_summary') : undefined) ?? '';
}

/** Where an upload session is, when it was sent something for another place. */
export function correctOffset(error: unknown): number | undefined {
  const body = isRecord(error) && isRecord(error.error) ? error.error.error : undefined;
  for (const at of [body, isRecord(body) ? body.lookup_failed : undefined]) {
    if (textAt(at, '.tag') === 'incorrect_offset' && isRecord(at) && typeof at.correct_offset === 'number')
      return at.correct_offset;
  }
  return undefined;
}

function waitOf(error: unknown): number {
  const body = isRecord(error) && isRecord(error.error) ? error.error.error : undefined;
  const told = isRecord(body) && typeof body.retry_after === 'number' ? body.retry_after * 1000 : undefined;
  const header = isRecord(error) ? headerOf(error.headers, 'retry-after') : undefined;
  return Math.max(told ?? 0, retryAfterMs(header) ?? 0) || 1000;
}

/** What an error of Dropbox's client means to a user. Keeps nothing of the request: that holds tokens. */
export function dropboxError(
  context: DropboxContext,
  action: string,
  error: unknown,
  signal?: AbortSignal,
): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const { label } = context;
  if (signal?.aborted) return cancelled(`${action} at ${label}`);
  const status = dropboxStatus(error);
  const summary = dropboxSummary(error);
  const body = isRecord(error) ? error.error : undefined;
  const words = summary || (typeof body === 'string' ? body : error instanceof Error ? error.message : String(error));
  const said = quote(words, context.secrets());
  const cause = new Error(status === undefined ? said : `${status} ${said}`);
  const meaning =
    (status !== undefined && status < 500 ? byTag.find(([tag]) => tag.test(summary))?.[1] : undefined) ??
    (status === undefined ? undefined : byStatus[status]);
  if (meaning !== undefined) {
    const { code, says, ...details } = meaning;
    return new HoldfastError(code, `${label}: ${says} while ${action} (${said})`, {
      ...details,
      ...(code === 'Throttled' ? { retryAfterMs: waitOf(error) } : {}),
      cause,
    });
  }
  const line = lineProblem(error);
  if (line?.kind === 'certificate') {
    return new HoldfastError('AuthDenied', `${label}: the server's certificate is not trusted (${line.code})`, {
      hint: 'A private authority goes into NODE_EXTRA_CA_CERTS.',
      cause,
    });
  }
  if (line !== undefined) {
    return new HoldfastError('DestinationUnreachable', `${label}: not reachable while ${action} (${line.code})`, {
      hint: 'Check the network.',
      cause,
    });
  }
  if (status === 503 && isRecord(error) && headerOf(error.headers, 'retry-after') !== undefined) {
    return new HoldfastError('Throttled', `${label}: Dropbox asks to wait while ${action}`, {
      retryAfterMs: waitOf(error),
      cause,
    });
  }
  const retryable = status === undefined || status >= 500;
  return new HoldfastError('DestinationFailed', `${label}: failed while ${action} (${status ?? 'Error'}: ${said})`, {
    retryable,
    cause,
  });
}
