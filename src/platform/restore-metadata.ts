import { chmodSync, closeSync, constants, fchmodSync, fchownSync, fstatSync, lchownSync, openSync } from 'node:fs';
import { errnoOf } from '../errors.js';
import { setTimes, setTimesFd } from './times.js';
import { setXattr, type Xattr } from './xattrs.js';

/** What to give a restored entry; what is undefined stays as it is. */
export interface RestoreMetadata {
  type: 'dir' | 'file' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block';
  /** Permission bits, 0o7777. */
  mode?: number;
  uid?: number;
  gid?: number;
  /** Nanoseconds since 1970; the access time becomes the same. */
  mtimeNs?: bigint;
  xattrs?: readonly Xattr[];
}

export interface RestoreWarning {
  code: 'OwnerNotRestored' | 'XattrNotRestored' | 'ModeNotRestored' | 'TimesNotRestored';
  message: string;
}

/** An entry's present state, so that nothing is set that already is. `mode` undefined: not known. */
export interface Present {
  mode: number | undefined;
  uid: number;
  gid: number;
}

/** The calls for one way of naming an entry: by descriptor, or by a safe path. */
export interface MetadataCalls<T> {
  chown(entry: T, uid: number, gid: number): void;
  setXattr(entry: T, name: string | Buffer, value: Buffer): void;
  chmod(entry: T, mode: number): void;
  setTimes(entry: T, mtimeNs: bigint): void;
}

export const byDescriptor: MetadataCalls<number> = {
  chown: fchownSync,
  setXattr,
  chmod: fchmodSync,
  setTimes: (fd, mtimeNs) => setTimesFd(fd, mtimeNs, mtimeNs),
};

/** Never follows a symlink at the end of the path. */
export const byPath: MetadataCalls<string | Buffer> = {
  chown: lchownSync,
  setXattr,
  chmod: chmodNoFollow,
  setTimes: (path, mtimeNs) => setTimes(path, { atimeNs: mtimeNs, mtimeNs }),
};

const O_PATH = 0o10000000;

/** chmod of anything but a symlink; there `ELOOP`. */
export function chmodNoFollow(path: string | Buffer, mode: number): void {
  const linux = process.platform === 'linux';
  if (process.platform === 'win32') {
    chmodSync(path, mode);
    return;
  }
  const flags = linux
    ? O_PATH | constants.O_NOFOLLOW
    : constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const fd = openSync(path, flags);
  try {
    if (fstatSync(fd).isSymbolicLink()) {
      throw Object.assign(new Error('ELOOP: is a symlink, chmod'), { code: 'ELOOP', syscall: 'chmod' });
    }
    if (linux) chmodSync(`/proc/self/fd/${fd}`, mode);
    else fchmodSync(fd, mode);
  } finally {
    closeSync(fd);
  }
}

/** These say that the entry or the disk is gone, not that an attribute can't be had. */
const fatal = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EBADF', 'EIO', 'EROFS']);

const none: RestoreWarning[] = [];
const setIdBits = 0o6000;

/**
 * Owner, xattrs, mode, times, in the only order that works: chown clears setuid, xattrs need write permission, and all
 * of it changes times. Without its owner a file gets no setuid or setgid bit. What the system refuses is a warning.
 */
export function applyTo<T>(
  calls: MetadataCalls<T>,
  entry: T,
  present: Present,
  metadata: RestoreMetadata,
): RestoreWarning[] {
  let warnings = none;
  const attempt = (code: RestoreWarning['code'], what: string, call: () => void): boolean => {
    try {
      call();
      return true;
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined || fatal.has(errno)) throw error;
      if (warnings === none) warnings = [];
      warnings.push({ code, message: `${what} (${errno})` });
      return false;
    }
  };

  const uid = metadata.uid ?? present.uid;
  const gid = metadata.gid ?? present.gid;
  const otherOwner = uid !== present.uid || gid !== present.gid;
  const owned =
    !otherOwner || attempt('OwnerNotRestored', `can't give it to ${uid}:${gid}`, () => calls.chown(entry, uid, gid));

  const xattrs = metadata.xattrs ?? [];
  // Only who may write to it may set them, even by a descriptor; the mode is set right below.
  if (
    xattrs.length > 0 &&
    metadata.mode !== undefined &&
    metadata.type !== 'symlink' &&
    !((present.mode ?? 0) & 0o200)
  ) {
    attempt('ModeNotRestored', "can't make it writable for its xattrs", () => calls.chmod(entry, 0o600));
  }
  for (const [name, value] of xattrs) {
    attempt('XattrNotRestored', `can't set ${name.toString()}`, () => calls.setXattr(entry, name, value));
  }

  if (metadata.mode !== undefined && metadata.type !== 'symlink') {
    const wanted = metadata.mode & 0o7777;
    const mode = owned ? wanted : wanted & ~setIdBits;
    if (mode !== wanted && otherOwner) {
      warnings.push({ code: 'ModeNotRestored', message: 'setuid and setgid left out, since the owner is another' });
    }
    // An owner's change or an ACL may have changed the mode.
    if (mode !== present.mode || otherOwner || xattrs.length > 0) {
      attempt('ModeNotRestored', `can't set the mode ${mode.toString(8)}`, () => calls.chmod(entry, mode));
    }
  }

  const { mtimeNs } = metadata;
  if (mtimeNs !== undefined) {
    attempt('TimesNotRestored', "can't set the times", () => calls.setTimes(entry, mtimeNs));
  }
  return warnings;
}
