import { fstatSync, futimesSync, lstatSync, lutimesSync, statSync, utimesSync } from 'node:fs';
import { cString, errnoError, lastErrno, native } from './libc.js';

const darwin = process.platform === 'darwin';
const AT_FDCWD = darwin ? -2 : -100;
const AT_SYMLINK_NOFOLLOW = darwin ? 0x20 : 0x100;
const UTIME_OMIT = darwin ? -2n : (1n << 30n) - 2n;
const second = 1_000_000_000n;

// Two struct timespec; calls are synchronous, so one serves all.
const timespecs = new BigInt64Array(4);

function fill(at: 0 | 2, ns: bigint | undefined): void {
  if (ns === undefined) {
    timespecs[at] = 0n;
    timespecs[at + 1] = UTIME_OMIT;
    return;
  }
  let seconds = ns / second;
  let rest = ns % second;
  if (rest < 0n) {
    seconds -= 1n;
    rest += second;
  }
  timespecs[at] = seconds;
  timespecs[at + 1] = rest;
}

// node:fs turns negative numbers into the present time, but takes a Date before 1970 (milliseconds only).
function nodeTime(ns: bigint): number | Date {
  return ns < 0n ? new Date(Number(ns / 1_000_000n)) : Number(ns) / 1e9;
}

export interface Times {
  /** Access time, nanoseconds since 1970; left as it is when undefined. */
  atimeNs?: bigint;
  /** Modification time, nanoseconds since 1970, negative before. */
  mtimeNs: bigint;
}

/** Sets a path's times, exact to the nanosecond where `abilities().nsTimes`. Throws errno errors as node:fs does. */
export function setTimes(path: string | Buffer, times: Times, followSymlinks = false): void {
  const utimensat = native('utimensat');
  if (utimensat !== undefined) {
    fill(0, times.atimeNs);
    fill(2, times.mtimeNs);
    const failed = utimensat(AT_FDCWD, cString(path), timespecs, followSymlinks ? 0 : AT_SYMLINK_NOFOLLOW);
    if (failed !== 0) throw errnoError(lastErrno(), 'utimensat', path);
    return;
  }
  const stat = followSymlinks ? statSync : lstatSync;
  const atimeNs = times.atimeNs ?? stat(path, { bigint: true }).atimeNs;
  (followSymlinks ? utimesSync : lutimesSync)(path, nodeTime(atimeNs), nodeTime(times.mtimeNs));
}

/** As {@link setTimes}, for an open file. */
export function setTimesFd(fd: number, atimeNs: bigint | undefined, mtimeNs: bigint): void {
  const futimens = native('futimens');
  if (futimens !== undefined) {
    fill(0, atimeNs);
    fill(2, mtimeNs);
    if (futimens(fd, timespecs) !== 0) throw errnoError(lastErrno(), 'futimens', fd);
    return;
  }
  futimesSync(fd, nodeTime(atimeNs ?? fstatSync(fd, { bigint: true }).atimeNs), nodeTime(mtimeNs));
}
