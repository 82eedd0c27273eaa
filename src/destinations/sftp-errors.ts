import { HoldfastError } from '../errors.js';
import { ConnectionLost, sftpStatus, statusOf } from './sftp-connection.js';

const unreachable = {
  hint: 'Check the network, host and port, and that the SSH server runs and starts SFTP.',
};

/** What an error of an SSH connection or SFTP server means to a user. */
export function sftpError(label: string, action: string, error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const status = statusOf(error);
  const said = error instanceof Error ? error.message : String(error);
  switch (status) {
    case sftpStatus.permissionDenied:
      return new HoldfastError('AuthDenied', `${label}: permission denied while ${action}`, {
        hint: 'Give the user read and write permission there.',
        cause: error,
      });
    case sftpStatus.noSuchFile:
      return new HoldfastError('DestinationFailed', `${label}: something vanished while ${action}`, { cause: error });
    case sftpStatus.badMessage:
    case sftpStatus.unsupported:
      return new HoldfastError('DestinationFailed', `${label}: the server refuses ${action}: ${said}`, {
        retryable: false,
        cause: error,
      });
    case undefined:
      break;
    default:
      return new HoldfastError('DestinationFailed', `${label}: failed while ${action}: ${said}`, { cause: error });
  }
  if (error instanceof ConnectionLost) {
    return new HoldfastError('DestinationUnreachable', `${label}: unreachable while ${action}: ${said}`, {
      ...unreachable,
      cause: error,
    });
  }
  return new HoldfastError('DestinationFailed', `${label}: failed while ${action}: ${said}`, { cause: error });
}
