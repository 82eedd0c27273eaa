import path from 'node:path';
import type { XattrPair } from '../entry.js';

/** Names in a restore's scratch folder. */
export const planFiles = {
  /** Stored bytes of a manifest pack. */
  manifestPack: (scratch: string, pack: string) => path.join(scratch, 'manifest', pack),
  plan: (scratch: string) => path.join(scratch, 'plan.json'),
  /** What one of the threads that plan side by side has written. */
  part: (scratch: string, part: number) => path.join(scratch, `plan-${part}`),
  made: (scratch: string) => path.join(scratch, 'made.json'),
  dirs: (part: string) => path.join(part, 'dirs'),
  // These lie in a part.
  /** Directories that lock their owner out, again. */
  late: (part: string) => path.join(part, 'late'),
  /** Symlinks, devices, FIFOs and hardlinks. */
  links: (part: string) => path.join(part, 'links'),
  /** Files that come from several packs. */
  large: (part: string) => path.join(part, 'large'),
  pack: (part: string, number: number) => path.join(part, 'packs', String(number)),
  /** What a slice of packs has done so far, a line per pack. */
  journal: (scratch: string, slice: number) => path.join(scratch, `journal-${slice}`),
  finished: (scratch: string) => path.join(scratch, 'finished.json'),
} as const;

export type Overwrite = 'never' | 'changed' | 'always';

/** A path below the target: a string, or base64 of bytes that are not UTF-8. */
export type StoredPath = string | { b: string };
export const storePath = (value: string | Buffer): StoredPath =>
  typeof value === 'string' ? value : { b: value.toString('base64') };
export const loadPath = (value: StoredPath): string | Buffer =>
  typeof value === 'string' ? value : Buffer.from(value.b, 'base64');

/** Metadata as it will be set; ids absent where the owner stays as it comes. */
export interface PlannedMetadata {
  mode: number;
  uid?: number;
  gid?: number;
  /** Nanoseconds, decimal. */
  mtime: string;
  xattrs?: XattrPair[];
}

export interface PlannedDir {
  path: StoredPath;
  /** Absent for directories that only lead to source paths. */
  meta?: PlannedMetadata;
  /** It was there before the restore. */
  there?: true;
  /** Its owner may not enter it: its metadata come after all others'. */
  late?: true;
}

/** How a file meets what is at its place. */
export const Place = {
  /** In a directory that this restore makes: created under its own name. */
  fresh: 0,
  /** In a directory that was there: written beside, then moved to its name. */
  free: 1,
  /** A file of the same size with another mtime is there: kept when its content is the same. */
  compare: 2,
  /** What is there is to be replaced. */
  replace: 3,
} as const;
export type Place = (typeof Place)[keyof typeof Place];

/** [id, offset in the pack's tar, length, offset in the file] */
export type PlannedChunk = [id: string, at: number, length: number, to: number];

/** A line of a pack's plan: a file that is whole in it, or the pieces of a large one. */
export interface PlannedFile {
  path: StoredPath;
  size: number;
  chunks: PlannedChunk[];
  place: Place;
  meta: PlannedMetadata;
}
export interface PlannedPieces {
  /** Line number in `large`, times the number of parts, plus the part. */
  large: number;
  temp: StoredPath;
  chunks: PlannedChunk[];
}

export interface PlannedLarge {
  path: StoredPath;
  temp: StoredPath;
  size: number;
  place: Place;
  meta: PlannedMetadata;
  /** Packs it needs, by number. */
  packs: number[];
}

export interface PlannedLink {
  kind: 'symlink' | 'fifo' | 'char' | 'block' | 'hardlink';
  path: StoredPath;
  /** A symlink's target as it is, or a hardlink's first name below the target. */
  target?: StoredPath;
  rdev?: string;
  /** A hardlink's size, to be sure that the first name is the right file. */
  size?: number;
  there: boolean;
  meta: PlannedMetadata;
}

export interface PlannedPack {
  /** SHA-256 of the stored bytes; empty for files without content. */
  pack: string;
  /** Where its lines are: part, and number there. */
  at: [part: number, number: number][];
  files: number;
  bytes: number;
}

/** Something that was not restored, by its source path. */
export interface Failure {
  path: string;
  message: string;
}

export interface RestoreWarningCount {
  code: string;
  message: string;
  path?: string;
  count: number;
}

/** The plan's summary; written last, so that it proves the rest. */
export interface RestorePlan {
  /** Part of every temporary name. */
  id: string;
  snapshot: string;
  target: string;
  overwrite: Overwrite;
  indexes: string[];
  /** Nanoseconds since 1970 when planning began. */
  startedNs: string;
  packs: PlannedPack[];
  /** Number of parts. */
  parts: number;
  dirs: number;
  /** Directories with metadata to be set after the others'. */
  late: number;
  links: number;
  large: number;
  /** Regular files the snapshot has within the wanted paths, hardlinks included. */
  files: number;
  bytes: number;
  /** Bytes to be written, at most. */
  needed: number;
  tally: Tally;
}

/** Counts of one step; lists are cut, counts are not. */
export interface Tally {
  /** Regular files, hardlinks included; those that were there already, too. */
  restored: number;
  /** Differing files that were kept. */
  skipped: number;
  /** Differing symlinks and special files that were kept. */
  skippedOther: number;
  failed: number;
  /** Directories, links and special files that could not be made. */
  failedOther: number;
  bytes: number;
  failures: Failure[];
  warnings: RestoreWarningCount[];
}

/** Which of `of` equal shares of a list: from 0. */
export interface Share {
  number: number;
  of: number;
}
export const shareOf = ({ number, of }: Share, count: number): { from: number; to: number } => ({
  from: Math.floor((count * number) / of),
  to: Math.floor((count * (number + 1)) / of),
});
