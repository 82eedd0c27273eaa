import { isUtf8 } from 'node:buffer';
import { cString, errnoError, lastErrno, type NativeFunction, type NativeValue, native } from './libc.js';

/** An extended attribute. The name is a Buffer only when it isn't valid UTF-8. */
export type Xattr = readonly [name: string | Buffer, value: Buffer];

const darwin = process.platform === 'darwin';
const XATTR_NOFOLLOW = 1;
const ERANGE = 34;
/** "No such attribute": it went away between listing and reading. */
const ENOATTR = darwin ? 93 : 61;
/** ENOSYS, ENOTSUP, EOPNOTSUPP. */
const unsupported: ReadonlySet<number> = new Set(darwin ? [78, 45, 102] : [38, 95]);

let scratch = Buffer.allocUnsafe(0);

/** macOS adds a position (get and set only) and options; a descriptor needs no NOFOLLOW. */
function extra(position: boolean, fd: boolean): NativeValue[] {
  if (!darwin) return [];
  const options = fd ? 0 : XATTR_NOFOLLOW;
  return position ? [0, options] : [options];
}

/** Runs a call that fills a buffer; returns the length, or -errno. Grows the scratch buffer as long as it is too small. */
function filled(call: (buffer: Buffer) => number | bigint): number {
  if (scratch.length === 0) scratch = Buffer.allocUnsafe(64 * 1024);
  for (;;) {
    const length = Number(call(scratch));
    if (length >= 0) return length;
    const errno = lastErrno();
    if (errno !== ERANGE || scratch.length >= 64 * 1024 * 1024) return -errno;
    scratch = Buffer.allocUnsafe(scratch.length * 4);
  }
}

const listExtraPath = extra(false, false);
const listExtraFd = extra(false, true);

/**
 * The extended attributes of a path (symlinks are not followed) or of an open file; none where the platform or the
 * filesystem has none. Throws errno errors (`EACCES`, `ENOENT`, ...) as node:fs does.
 */
export function listXattrs(target: string | Buffer | number): Xattr[] {
  const fd = typeof target === 'number';
  const list = native(fd ? 'listXattrsFd' : 'listXattrs');
  const get = native(fd ? 'getXattrFd' : 'getXattr');
  if (list === undefined || get === undefined) return [];
  const where = fd ? target : cString(target);
  const length = filled((buffer) => list(where, buffer, buffer.length, ...(fd ? listExtraFd : listExtraPath)));
  if (length === 0 || unsupported.has(-length)) return [];
  if (length < 0) throw errnoError(-length, 'listxattr', target);
  const names = Buffer.from(scratch.subarray(0, length));
  const xattrs: Xattr[] = [];
  for (let start = 0; start < length; ) {
    const end = names.indexOf(0, start);
    const name = names.subarray(start, end);
    const value = read(get, where, target, name);
    if (value !== undefined) xattrs.push([isUtf8(name) ? name.toString() : Buffer.from(name), value]);
    start = end + 1;
  }
  return xattrs;
}

function read(
  get: NativeFunction,
  where: string | Buffer | number,
  target: string | Buffer | number,
  name: Buffer,
): Buffer | undefined {
  const cName = cString(name);
  const rest = extra(true, typeof target === 'number');
  const length = filled((buffer) => get(where, cName, buffer, buffer.length, ...rest));
  if (length === -ENOATTR || unsupported.has(-length)) return undefined;
  if (length < 0) throw errnoError(-length, 'getxattr', target);
  return Buffer.from(scratch.subarray(0, length));
}

/**
 * Sets one extended attribute of a path (symlinks are not followed) or of an open file. Throws errno errors as node:fs
 * does, `ENOTSUP` also where the platform has no extended attributes.
 */
export function setXattr(target: string | Buffer | number, name: string | Buffer, value: Buffer): void {
  const fd = typeof target === 'number';
  const set = native(fd ? 'setXattrFd' : 'setXattr');
  if (set === undefined) throw errnoError(0, 'setxattr', target, 'ENOTSUP');
  const rest = darwin ? extra(true, fd) : [0];
  const failed = set(fd ? target : cString(target), cString(name), value, value.length, ...rest);
  if (failed !== 0) throw errnoError(lastErrno(), 'setxattr', target);
}
