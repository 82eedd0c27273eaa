import { isUtf8 } from 'node:buffer';
import { HoldfastError } from '../errors.js';

/** A path below a restore's target, '/'-separated; a Buffer where it isn't valid UTF-8. */
export type RelativePath = string | Buffer;

export interface SplitPath {
  /** Key of the parent directory: its path, '' for the target itself; after a NUL, as latin1, where it isn't UTF-8. */
  parent: string;
  name: string | Buffer;
}

const slash = 47;

export function unsafe(path: RelativePath, why: string): HoldfastError {
  return new HoldfastError('TargetUnsafe', `will not restore to ${JSON.stringify(path.toString())}: ${why}`, {
    hint: 'restore into a new, empty folder that nobody else can write to',
  });
}

function checkName(name: string, path: RelativePath): void {
  if (name === '' || name === '.' || name === '..') throw unsafe(path, `it has the component ${JSON.stringify(name)}`);
  if (name.includes('\0')) throw unsafe(path, 'it contains a NUL');
  // Windows drops dots and spaces at the end, and reads ':' and '\' as drives, streams and separators.
  if (process.platform === 'win32' && /[\\:]|[. ]$/.test(name)) throw unsafe(path, 'Windows reads that name otherwise');
}

/** Splits off the last component and checks that; parents are checked when they are opened. */
export function splitPath(path: RelativePath): SplitPath {
  if (typeof path === 'string') {
    const at = path.lastIndexOf('/');
    const name = at < 0 ? path : path.slice(at + 1);
    checkName(name, path);
    if (at === 0) throw unsafe(path, 'it is absolute');
    return { parent: at < 0 ? '' : path.slice(0, at), name };
  }
  const at = path.lastIndexOf(slash);
  const name = path.subarray(at + 1);
  checkName(name.toString('latin1'), path);
  if (at === 0) throw unsafe(path, 'it is absolute');
  return { parent: at < 0 ? '' : keyOf(path.subarray(0, at)), name: isUtf8(name) ? name.toString() : name };
}

/** One key per path, whether it came as a string or as bytes. */
export function keyOf(path: RelativePath): string {
  if (typeof path === 'string') return path;
  return isUtf8(path) ? path.toString() : `\0${path.toString('latin1')}`;
}

/** The path behind a key. */
export function pathOfKey(key: string): RelativePath {
  return key.startsWith('\0') ? Buffer.from(key.slice(1), 'latin1') : key;
}

/** A string with a name behind it, as a path. */
export function append(prefix: string | Buffer, name: string | Buffer): string | Buffer {
  if (typeof prefix === 'string' && typeof name === 'string') return prefix + name;
  return Buffer.concat([Buffer.from(prefix), Buffer.from(name)]);
}
