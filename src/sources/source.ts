/**
 * A source is what a job backs up: files, or databases. Sources know nothing of repositories, destinations or Temporal.
 *
 * - Files are walked (`files/walk.ts`) and read (`files/read.ts`) in place, synchronously, in worker threads.
 * - Databases are dumped into a folder of the spool, which is then walked and read like files.
 *
 * Whatever goes wrong with the source as a whole is thrown as a HoldfastError; what goes wrong with a single entry is
 * reported as a problem, and the rest goes on. A snapshot with problems is never reported as a plain success.
 */
export type ProblemCode =
  /** The system refuses to list, stat or open it. */
  | 'Unreadable'
  /** It went away between being seen and being read. */
  | 'Vanished'
  /** It is no longer what it was seen as: another type, another file. */
  | 'Changed'
  /** A path named in the config is a symlink; the link itself is stored, not what it points to. */
  | 'SymlinkSource';

export interface Problem {
  code: ProblemCode;
  /** Absolute, '/'-separated; lossy where `raw` is present. */
  path: string;
  /** The path's bytes, where they aren't valid UTF-8. */
  raw?: Buffer;
  /** For people; without the path. */
  message: string;
}

export type Report = (problem: Problem) => void;
