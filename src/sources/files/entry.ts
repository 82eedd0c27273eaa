import { isUtf8 } from 'node:buffer';
import { type BigIntStats, readlinkSync } from 'node:fs';

export type EntryType = 'dir' | 'file' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block';

/** One path as the walk saw it. */
export interface WalkedEntry {
  /** Absolute, '/'-separated. With `raw` present, only for display. */
  path: string;
  /** The path's bytes, where they aren't valid UTF-8. */
  raw?: Buffer;
  type: EntryType;
  /** Permission bits, 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes. */
  size: bigint;
  /** Nanoseconds since 1970, negative before. */
  mtimeNs: bigint;
  ctimeNs: bigint;
  ino: bigint;
  dev: bigint;
  nlink: number;
  /** Devices only. */
  rdev?: bigint;
  /** Symlinks only; `rawTarget` instead where it isn't valid UTF-8. */
  target?: string;
  rawTarget?: Buffer;
}

const S_IFMT = 0o170000;

/** The entry type of a stat's mode, or undefined for what only some systems have. */
export function typeOfMode(mode: number): EntryType | undefined {
  switch (mode & S_IFMT) {
    case 0o100000:
      return 'file';
    case 0o040000:
      return 'dir';
    case 0o120000:
      return 'symlink';
    case 0o010000:
      return 'fifo';
    case 0o140000:
      return 'socket';
    case 0o020000:
      return 'char';
    case 0o060000:
      return 'block';
    default:
      return undefined;
  }
}

/** Builds an entry; reads a symlink's target, so it throws what readlink throws. All entries have one shape, for speed. */
export function makeEntry(path: string, raw: Buffer | undefined, stat: BigIntStats, type: EntryType): WalkedEntry {
  const entry: WalkedEntry = {
    path,
    raw,
    type,
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    size: stat.size,
    mtimeNs: stat.mtimeNs,
    ctimeNs: stat.ctimeNs,
    ino: stat.ino,
    dev: stat.dev,
    nlink: Number(stat.nlink),
    rdev: type === 'char' || type === 'block' ? stat.rdev : undefined,
    target: undefined,
    rawTarget: undefined,
  };
  if (type === 'symlink') {
    const target = readlinkSync(raw ?? path, { encoding: 'buffer' });
    if (isUtf8(target)) entry.target = target.toString();
    else entry.rawTarget = target;
  }
  return entry;
}
