import { type ErrorCode, type ErrorDetails, errnoOf, HoldfastError } from '../errors.js';

interface Meaning extends ErrorDetails {
  code: ErrorCode;
  says: string;
}

const full: Meaning = {
  code: 'DestinationFull',
  says: 'there is no space left',
  hint: 'Free space there, or let retention keep fewer snapshots.',
};
const denied: Meaning = {
  code: 'AuthDenied',
  says: 'permission denied',
  hint: 'Give the user that runs Holdfast read and write permission there.',
};
const away: Meaning = {
  code: 'DestinationUnreachable',
  says: 'the file system does not answer',
  hint: 'Check the mount, the network and the cable.',
};

const meanings: Readonly<Record<string, Meaning>> = {
  ENOSPC: full,
  EDQUOT: { ...full, says: 'the quota is used up' },
  EFBIG: { ...full, says: 'the file is larger than the file system allows' },
  EROFS: {
    code: 'DestinationReadOnly',
    says: 'the file system is read-only',
    hint: 'Mount it writable. A disk with errors is often remounted read-only: look at the system log.',
  },
  EACCES: denied,
  EPERM: denied,
  ESTALE: away,
  ENODEV: away,
  ENXIO: away,
  ENOTCONN: away,
  EHOSTDOWN: away,
  EHOSTUNREACH: away,
  ETIMEDOUT: away,
  EIO: {
    code: 'DestinationFailed',
    says: 'input/output error',
    hint: 'The disk may be failing: look at the system log.',
  },
  ENAMETOOLONG: { code: 'DestinationFailed', says: 'the name is too long for the file system', retryable: false },
  EISDIR: { code: 'DestinationFailed', says: 'there is a folder with that name', retryable: false },
};

/** What an error of the file system at `place` means to a user. */
export function localError(place: string, action: string, error: unknown): HoldfastError {
  const errno = errnoOf(error) ?? '';
  const meaning = meanings[errno];
  if (meaning !== undefined) {
    const { code, says, ...details } = meaning;
    return new HoldfastError(code, `${place}: ${says} while ${action} (${errno})`, { ...details, cause: error });
  }
  const why = errno !== '' ? errno : error instanceof Error ? error.message : String(error);
  return new HoldfastError('DestinationFailed', `${place}: failed while ${action}: ${why}`, { cause: error });
}
