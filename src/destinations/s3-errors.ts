import { type ErrorCode, type ErrorDetails, errnoOf, HoldfastError } from '../errors.js';
import { cancelled, isAbort } from './cancelled.js';

interface Meaning extends ErrorDetails {
  code: ErrorCode;
  says: string;
}

const denied: Meaning = {
  code: 'AuthDenied',
  says: 'access denied',
  hint: 'Check the keys and that they may list, read, write and delete in the bucket; keys that may not delete: `deletes: false`.',
};
const keys: Meaning = {
  code: 'AuthDenied',
  says: 'the credentials are refused',
  hint: 'Check the access key, the secret and the region.',
};
const expired: Meaning = {
  code: 'AuthExpired',
  says: 'the credentials have expired',
  hint: 'Renew them where the config points to (`sessionToken`); what waits goes on by itself.',
};
const skewed: Meaning = { code: 'AuthDenied', says: 'the clocks differ too much', hint: "Set this machine's clock." };
const noBucket: Meaning = {
  code: 'DestinationMissing',
  says: 'the bucket does not exist',
  hint: 'Create the bucket, or correct its name.',
};
const slow: Meaning = { code: 'Throttled', says: 'the service asks to slow down' };
const full: Meaning = {
  code: 'DestinationFull',
  says: 'there is no space left',
  hint: 'Raise the quota, or let retention keep fewer snapshots.',
};
const region: Meaning = {
  code: 'DestinationFailed',
  says: 'the bucket is in another region or behind another endpoint',
  hint: 'Correct region and endpoint.',
  retryable: false,
};
const damaged: Meaning = {
  code: 'IntegrityMismatch',
  says: 'the bytes that arrived have another checksum',
  retryable: true,
};
const exists: Meaning = { code: 'ObjectExists', says: 'the object exists already' };

const byName: Readonly<Record<string, Meaning>> = {
  AccessDenied: denied,
  AllAccessDisabled: denied,
  AccountProblem: denied,
  Forbidden: denied,
  Unauthorized: denied,
  InvalidAccessKeyId: keys,
  SignatureDoesNotMatch: keys,
  InvalidToken: keys,
  NotSignedUp: keys,
  CredentialsProviderError: {
    ...keys,
    says: 'no credentials were found',
    hint: "Give keys in the config, or by the SDK's usual ways.",
  },
  ExpiredToken: expired,
  TokenRefreshRequired: expired,
  ExpiredTokenException: expired,
  RequestTimeTooSkewed: skewed,
  NoSuchBucket: noBucket,
  NoSuchKey: { code: 'ObjectMissing', says: 'there is no such object' },
  SlowDown: slow,
  TooManyRequests: slow,
  ThrottlingException: slow,
  RequestLimitExceeded: slow,
  ServiceUnavailable: slow,
  QuotaExceeded: full,
  EntityTooLarge: full,
  InsufficientStorage: full,
  XMinioStorageFull: full,
  PermanentRedirect: region,
  AuthorizationHeaderMalformed: region,
  IllegalLocationConstraintException: region,
  BadDigest: damaged,
  XAmzContentSHA256Mismatch: damaged,
  XAmzContentChecksumMismatch: damaged,
  InvalidDigest: damaged,
  IncompleteBody: { code: 'DestinationFailed', says: 'not all bytes arrived' },
  RequestTimeout: { code: 'DestinationUnreachable', says: 'the upload stalled' },
  InvalidRange: { code: 'IntegrityMismatch', says: 'the object is shorter than it should be' },
  PreconditionFailed: exists,
  // Somebody else is writing the same key: whether it will exist shows when trying again.
  ConditionalRequestConflict: { ...exists, retryable: true },
  InvalidObjectState: {
    code: 'DestinationFailed',
    says: 'the object is archived',
    hint: 'Restore it from the archive tier first.',
    retryable: false,
  },
};

const byStatus: Readonly<Record<number, Meaning>> = {
  301: region,
  401: keys,
  403: denied,
  408: { code: 'DestinationUnreachable', says: 'the upload stalled' },
  412: exists,
  413: full,
  416: { code: 'IntegrityMismatch', says: 'the object is shorter than it should be' },
  429: slow,
  503: slow,
  507: full,
};

const network = /^(ECONN|ENOTFOUND|EAI_|EHOST|ENET|ETIMEDOUT|EPIPE|EADDRNOTAVAIL|ERR_STREAM_PREMATURE_CLOSE|UND_ERR)/;
const certificate = /^(CERT_|ERR_TLS_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/;
const noSpace = /no space|quota exceeded|disk full|storage (is )?full|insufficient storage/i;

export interface S3Context {
  /** Names destination and bucket. */
  label: string;
  /** Values that no message may hold. */
  secrets: readonly string[];
  signal?: AbortSignal;
}

interface Answer {
  status: number;
  retryAfterMs?: number;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Reads what the SDK hangs onto its errors: HTTP status and `Retry-After` (seconds or a date). */
function answerOf(error: unknown): Answer | undefined {
  if (!isRecord(error) || !isRecord(error.$metadata)) return undefined;
  const status = error.$metadata.httpStatusCode;
  if (typeof status !== 'number') return undefined;
  const headers = isRecord(error.$response) && isRecord(error.$response.headers) ? error.$response.headers : {};
  const after = headers['retry-after'];
  if (typeof after !== 'string') return { status };
  const ms = /^\d+$/.test(after.trim()) ? Number(after) * 1000 : Date.parse(after) - Date.now();
  return Number.isFinite(ms) && ms >= 0 ? { status, retryAfterMs: ms } : { status };
}

function networkCodeOf(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    const errno = errnoOf(at);
    if (errno !== undefined && (network.test(errno) || certificate.test(errno))) return errno;
    if (at instanceof AggregateError && at.errors.length > 0) return networkCodeOf(at.errors[0]);
    if (at.name === 'TimeoutError') return 'timeout';
    if (at.message === 'aborted' || at.message === 'socket hang up') return 'connection closed';
  }
  return undefined;
}

/** A service's own words, without secrets, on one line. */
function quote(text: string, secrets: readonly string[]): string {
  let clean = text;
  for (const secret of secrets) clean = clean.replaceAll(secret, '***');
  clean = clean.replace(/\s+/g, ' ').trim();
  return clean.length > 300 ? `${clean.slice(0, 300)}...` : clean;
}

/** What an error of the SDK means to a user. Keeps nothing of the request: that holds signatures and tokens. */
export function s3Error(context: S3Context, action: string, error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const { label, secrets, signal } = context;
  if (signal?.aborted && (isAbort(error) || error === signal.reason)) return cancelled(`${action} at ${label}`);
  const name = error instanceof Error ? error.name : 'Error';
  const said = quote(error instanceof Error ? error.message : String(error), secrets);
  const cause = new Error(`${name}: ${said}`);

  const answer = answerOf(error);
  const line = networkCodeOf(error);
  const bodyFull = answer !== undefined && answer.status >= 400 && noSpace.test(said);
  const meaning = byName[name] ?? (bodyFull ? full : undefined) ?? (answer && byStatus[answer.status]);
  if (meaning !== undefined) {
    const { code, says, ...details } = meaning;
    const extra = code === 'Throttled' ? { retryAfterMs: answer?.retryAfterMs ?? 5000 } : {};
    return new HoldfastError(code, `${label}: ${says} while ${action} (${name}: ${said})`, {
      ...details,
      ...extra,
      cause,
    });
  }
  if (line !== undefined && certificate.test(line)) {
    const hint = "Check the endpoint's name and certificate; a private authority goes into NODE_EXTRA_CA_CERTS.";
    return new HoldfastError('AuthDenied', `${label}: the server's certificate is not trusted (${line})`, {
      hint,
      cause,
    });
  }
  if (line !== undefined) {
    const hint = 'Check the network and the endpoint.';
    return new HoldfastError('DestinationUnreachable', `${label}: not reachable while ${action} (${line})`, {
      hint,
      cause,
    });
  }
  if (name === 'Error' && said === 'Region is missing') {
    return new HoldfastError('ConfigInvalid', `${label}: no region is set`, {
      hint: 'Add `region` to the destination.',
      cause,
    });
  }
  const retryable = answer === undefined || answer.status >= 500 || answer.status < 400;
  return new HoldfastError('DestinationFailed', `${label}: failed while ${action} (${name}: ${said})`, {
    retryable,
    cause,
  });
}

/** The name the service gave its error: `NoSuchKey`, `NotImplemented`, ... */
export function errorName(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

/** The HTTP status of the answer that an error came with. */
export function statusOf(error: unknown): number | undefined {
  return answerOf(error)?.status;
}
