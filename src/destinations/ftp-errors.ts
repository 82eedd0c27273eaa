import { errnoOf, HoldfastError } from '../errors.js';

/** The server's reply code (RFC 959, 4.2), or undefined for other errors. */
export function replyOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || error.name !== 'FTPError' || !('code' in error)) return undefined;
  return typeof error.code === 'number' ? error.code : undefined;
}

/** Whether the server says that nothing has this name, or does not want to say more. */
export function isAbsent(error: unknown): boolean {
  return replyOf(error) === 550 && !isDenied(error);
}

function isDenied(error: unknown): boolean {
  return /permission|denied|not allowed|forbidden|prohibited/i.test(textOf(error));
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const unreachable = { hint: 'Check the network, host and port, and that the passive ports are open too.' };
const untrusted = /^(?:DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|CERT_|ERR_TLS_CERT_)/;

/** What an error of an FTP server or of the connection to it means to a user. */
export function ftpError(label: string, action: string, error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const said = textOf(error);
  const reply = replyOf(error);
  const make = (code: HoldfastError['code'], what: string, details: { hint?: string; retryable?: boolean } = {}) =>
    new HoldfastError(code, `${label}: ${what} while ${action}: ${said}`, { ...details, cause: error });
  if (reply !== undefined) return replied(reply, said, make);
  const code = errnoOf(error) ?? '';
  if (untrusted.test(code)) {
    return make('HostKeyMismatch', `the certificate is not trusted (${code})`, {
      hint: 'Nothing was sent. `caFile` names the authority to trust, `serverName` the name in the certificate, `fingerprint` the certificate itself.',
    });
  }
  if (/listing/i.test(said)) return make('DestinationFailed', 'the listing cannot be read', { retryable: false });
  if (/control characters/i.test(said)) return make('DestinationFailed', 'not a usable name', { retryable: false });
  return make('DestinationUnreachable', 'unreachable', unreachable);
}

const unwritable = { hint: 'Give the user write permission there; else its disk may be read-only or full.' };

/** The server does not make a file or folder and does not say why. */
export function refusesToWrite(label: string, action: string, error: unknown): HoldfastError {
  return new HoldfastError(
    'DestinationReadOnly',
    `${label}: the server refuses to write while ${action}: ${textOf(error)}`,
    {
      ...unwritable,
      cause: error,
    },
  );
}

type Make = (
  code: HoldfastError['code'],
  what: string,
  details?: { hint?: string; retryable?: boolean },
) => HoldfastError;

function replied(reply: number, said: string, make: Make): HoldfastError {
  if (reply === 452 || reply === 552 || /no space|disk full|quota|writing to local file/i.test(said)) {
    return make('DestinationFull', 'there is no space left', {
      hint: 'Free space there, or let retention keep fewer snapshots.',
    });
  }
  if (reply === 421 || reply === 425 || reply === 426)
    return make('DestinationUnreachable', 'the server broke off', unreachable);
  if (reply === 530 || reply === 430 || reply === 332 || reply === 532) {
    return make('AuthDenied', 'the server refuses the login', { hint: 'Check user and password.' });
  }
  if (/read-?only/i.test(said)) {
    return make('DestinationReadOnly', 'the server only lets it be read', { hint: 'Mount its disk writable.' });
  }
  if (reply === 550 || reply === 553) {
    if (/permission|denied|not allowed|forbidden|prohibited/i.test(said))
      return make('AuthDenied', 'permission denied', { hint: 'Give the user read and write permission there.' });
    if (reply === 553) return make('DestinationReadOnly', 'the server refuses to write', unwritable);
  }
  // vsftpd says 500 for its own troubles as well.
  if (reply >= 500 && reply <= 504 && !/OOPS/.test(said)) {
    return make('DestinationFailed', 'the server does not know a command that is needed', {
      hint: 'SIZE, REST STREAM, RNFR, RNTO, DELE and passive mode are needed.',
      retryable: false,
    });
  }
  return make('DestinationFailed', 'failed');
}
