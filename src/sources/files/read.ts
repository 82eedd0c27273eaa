import { type BigIntStats, closeSync, constants, fstatSync, openSync } from 'node:fs';
import { errnoOf } from '../../errors.js';
import type { ProblemCode } from '../source.js';
import { problemCode, reasonOf } from './problems.js';

/** Why one file can't be read; to be reported, not to fail the run. */
export class ReadProblem extends Error {
  readonly code: ProblemCode;

  constructor(code: ProblemCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'ReadProblem';
    this.code = code;
  }
}

/** Any error met while reading a file, as a problem. */
export function readProblem(error: unknown): ReadProblem {
  return error instanceof ReadProblem ? error : new ReadProblem(problemCode(error), reasonOf(error), error);
}

// NONBLOCK, so that a FIFO that took a file's place can't hang the reader. Windows has neither of the two.
const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
const noAtime: number = process.platform === 'linux' ? constants.O_NOATIME : 0;

/** Opens for reading without following a symlink, waiting for a FIFO or touching the access time. Throws errno errors. */
export function openQuietly(path: string | Buffer): number {
  if (noAtime !== 0) {
    try {
      return openSync(path, flags | noAtime);
    } catch (error) {
      // Only the owner may ask for it.
      if (errnoOf(error) !== 'EPERM') throw error;
    }
  }
  return openSync(path, flags);
}

/** Opens a regular file and stats what was opened. Throws ReadProblem. The caller closes `fd`. */
export function openForReading(path: string | Buffer): { fd: number; stat: BigIntStats } {
  let fd: number;
  try {
    fd = openQuietly(path);
  } catch (error) {
    throw readProblem(error);
  }
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) throw new ReadProblem('Changed', 'is no longer a regular file');
    return { fd, stat };
  } catch (error) {
    closeSync(fd);
    throw readProblem(error);
  }
}

interface Stamp {
  size: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
}

/** Whether a file's content and metadata stayed the same between two stats. */
export function sameStat(a: Stamp, b: Stamp): boolean {
  return a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs;
}

export type Detect = 'size' | 'mtime' | 'ctime' | 'inode';
