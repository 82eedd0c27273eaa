import { errnoOf } from '../../errors.js';
import type { Problem, ProblemCode } from '../source.js';

/** What a failed system call on one entry means for the backup. */
export function problemCode(error: unknown): ProblemCode {
  switch (errnoOf(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
    case 'ESTALE':
      return 'Vanished';
    // What O_NOFOLLOW says of a symlink, and open of a socket, where there was a file.
    case 'ELOOP':
    case 'ENXIO':
      return 'Changed';
    default:
      return 'Unreadable';
  }
}

/** `EACCES: permission denied`, without the call and the path that node:fs adds. */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return errnoOf(error) === undefined ? message : message.split(', ')[0]!;
}

/** A problem from a system error. */
export function problemOf(error: unknown, path: string, raw: Buffer | undefined): Problem {
  return { code: problemCode(error), path, ...(raw === undefined ? {} : { raw }), message: reasonOf(error) };
}
