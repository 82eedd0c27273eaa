import { type ErrorCode, type ErrorDetails, HoldfastError } from '../errors.js';
import { cancelled } from './cancelled.js';
import { headerOf, isRecord, lineProblem, quote, retryAfterMs, textAt } from './service-errors.js';

interface Meaning extends ErrorDetails {
  code: ErrorCode;
  says: string;
}

const slow: Meaning = { code: 'Throttled', says: 'Google asks to slow down' };
const full: Meaning = {
  code: 'DestinationFull',
  says: "the account's storage is full",
  hint: 'Free space (Drive, Gmail and Photos share it; the trash counts too), buy more, or let retention keep fewer snapshots. A service account has no storage of its own: use a shared drive.',
};
const denied: Meaning = {
  code: 'AuthDenied',
  says: 'access denied',
  hint: 'Check that the account may write to the folder, and which scope the login was given.',
};
const reserved: Meaning = {
  code: 'DestinationReadOnly',
  says: 'the account may not change this',
  hint: 'Give it the role of a contributor (shared drive: content manager) on the folder.',
};

const byReason: Readonly<Record<string, Meaning>> = {
  rateLimitExceeded: slow,
  userRateLimitExceeded: slow,
  sharingRateLimitExceeded: slow,
  dailyLimitExceeded: { ...slow, retryAfterMs: 15 * 60_000 },
  quotaExceeded: slow,
  storageQuotaExceeded: full,
  teamDriveFileLimitExceeded: { ...full, says: 'the shared drive holds as many files as it may' },
  numChildrenInNonRootLimitExceeded: { ...full, says: 'the folder holds as many files as it may' },
  uploadTooLarge: { ...full, says: 'the object is too large for Google Drive' },
  insufficientFilePermissions: reserved,
  fileNotDownloadable: denied,
  teamDriveMembershipRequired: denied,
  insufficientPermissions: denied,
  insufficientParentPermissions: reserved,
  forbidden: denied,
  appNotAuthorizedToFile: {
    ...denied,
    says: 'the login covers only what Holdfast made itself, and this is not among it',
    hint: 'Leave `folderId` out, or set `scope: drive` and run `holdfast login` again.',
  },
  domainPolicy: { ...denied, says: "the organization's policy forbids it" },
  accessNotConfigured: {
    ...denied,
    says: 'the Google Drive API is not enabled for this client',
    hint: 'Enable the Google Drive API in the Google Cloud console, in the project of the client.',
  },
  cannotDownloadAbusiveFile: { ...denied, says: 'Google takes the file for malware' },
};

const byStatus: Readonly<Record<number, Meaning>> = {
  401: {
    code: 'AuthDenied',
    says: 'the access token is refused',
    hint: 'Run `holdfast login`; for a service account, check that its key is still valid.',
  },
  403: denied,
  404: { code: 'ObjectMissing', says: 'it is not there' },
  408: { code: 'DestinationUnreachable', says: 'the upload stalled' },
  416: { code: 'IntegrityMismatch', says: 'the object is shorter than it should be' },
  429: slow,
};

export interface DriveContext {
  /** Names the destination. */
  label: string;
  /** Values that no message may hold. */
  secrets: () => readonly string[];
}

/** The HTTP status of the answer that an error came with. */
export function driveStatus(error: unknown): number | undefined {
  const response = isRecord(error) ? error.response : undefined;
  const status = isRecord(response) ? response.status : undefined;
  return typeof status === 'number' ? status : undefined;
}

/** Google's own name for what is wrong: `notFound`, `storageQuotaExceeded`, ... */
export function driveReason(error: unknown): string | undefined {
  const problem = problemOf(error);
  const errors = isRecord(problem) && Array.isArray(problem.errors) ? problem.errors : [];
  return textAt(errors[0], 'reason');
}

function problemOf(error: unknown): unknown {
  const response = isRecord(error) ? error.response : undefined;
  let data = isRecord(response) ? response.data : undefined;
  if (typeof data === 'string') {
    // Where a stream was asked for, the client leaves an error's body as text.
    try {
      data = JSON.parse(data);
    } catch {
      return undefined;
    }
  }
  return isRecord(data) ? data.error : undefined;
}

function headersOf(error: unknown): unknown {
  const response = isRecord(error) ? error.response : undefined;
  return isRecord(response) ? response.headers : undefined;
}

/** What an error of Google's client means to a user. Keeps nothing of the request: that holds tokens and session URLs. */
export function driveError(context: DriveContext, action: string, error: unknown, signal?: AbortSignal): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const { label } = context;
  if (signal?.aborted) return cancelled(`${action} at ${label}`);
  const secrets = context.secrets();
  const status = driveStatus(error);
  const reason = driveReason(error);
  const words = textAt(problemOf(error), 'message') ?? (error instanceof Error ? error.message : String(error));
  // Session URLs are as good as passwords.
  const said = quote(words.replace(/https?:\/\/\S+/g, '(URL)'), secrets);
  const cause = new Error([status, reason, said].filter((part) => part !== undefined).join(' '));
  const meaning =
    (reason === undefined ? undefined : byReason[reason]) ?? (status === undefined ? undefined : byStatus[status]);
  if (meaning !== undefined) {
    const { code, says, ...details } = meaning;
    const wait = retryAfterMs(headerOf(headersOf(error), 'retry-after')) ?? details.retryAfterMs;
    return new HoldfastError(code, `${label}: ${says} while ${action} (${reason ?? status}: ${said})`, {
      ...details,
      // Not told how long: then with growing pauses.
      ...(code === 'Throttled' && wait !== undefined ? { retryAfterMs: wait } : {}),
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
    const hint = 'Check the network.';
    return new HoldfastError('DestinationUnreachable', `${label}: not reachable while ${action} (${line.code})`, {
      hint,
      cause,
    });
  }
  const wait = status === 503 ? retryAfterMs(headerOf(headersOf(error), 'retry-after')) : undefined;
  if (wait !== undefined) {
    return new HoldfastError('Throttled', `${label}: Google asks to wait while ${action}`, {
      retryAfterMs: wait,
      cause,
    });
  }
  const retryable = status === undefined || status >= 500;
  return new HoldfastError('DestinationFailed', `${label}: failed while ${action} (${status ?? 'Error'}: ${said})`, {
    retryable,
    cause,
  });
}
