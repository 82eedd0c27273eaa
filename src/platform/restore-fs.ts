import { randomBytes } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { errnoOf, HoldfastError } from '../errors.js';
import { makeNode, type NodeType } from './nodes.js';
import { type Directories, type Directory, openDirectories } from './restore-dirs.js';
import type { RestoreWarning } from './restore-metadata.js';
import {
  applyTo,
  byDescriptor,
  byPath,
  chmodNoFollow,
  type Present,
  type RestoreMetadata,
} from './restore-metadata.js';
import { append, keyOf, pathOfKey, type RelativePath, splitPath, unsafe } from './restore-path.js';

export type { RestoreMetadata, RestoreWarning } from './restore-metadata.js';
export type { RelativePath } from './restore-path.js';

/** A file that `createFile` or `createTemp` made, open for writing. */
export interface NewFile extends Present {
  fd: number;
  path: RelativePath;
}

export interface SafeRootOptions {
  /** How many directories stay open; default 128. */
  openDirectories?: number;
  /** Check paths component by component instead of through /proc, as is done where there is none. */
  checked?: boolean;
}

/** Names of unfinished files begin like this. */
export const tempPrefix = '.holdfast-tmp-';

const noFollow = constants.O_NOFOLLOW ?? 0;
const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | noFollow;
const readFlags = constants.O_RDONLY | noFollow | (constants.O_NONBLOCK ?? 0);
const writeFlags = constants.O_RDWR | noFollow | (constants.O_NONBLOCK ?? 0);

const typeChecks = {
  dir: 'isDirectory',
  file: 'isFile',
  symlink: 'isSymbolicLink',
  fifo: 'isFIFO',
  socket: 'isSocket',
  char: 'isCharacterDevice',
  block: 'isBlockDevice',
} as const;

/**
 * Writes below one directory and nowhere else, whatever the paths say and whoever swaps in symlinks meanwhile. Paths are
 * relative and '/'-separated; empty, `.` and `..` components, NULs, and components that are there but are no real
 * directories throw TargetUnsafe. Other errors are the system's (`ENOENT`, `EEXIST`, `ENOSPC`, ...) with the real path.
 * Synchronous. Close it at the end.
 */
export class SafeRoot {
  private readonly umask = process.umask();
  private readonly tempId = randomBytes(6).toString('hex');
  private tempCount = 0;

  private constructor(
    /** The target's real path. */
    readonly path: string,
    private readonly directories: Directories,
  ) {}

  /** Opens a target directory, made if missing. Symlinks in its own path are followed: the user named it. */
  static open(path: string, options: SafeRootOptions = {}): SafeRoot {
    mkdirSync(path, { recursive: true });
    const real = realpathSync(path);
    // Two paths are in use at a time, and what is being opened is a third.
    const limit = Math.max(4, options.openDirectories ?? 128);
    return new SafeRoot(real, openDirectories(real, limit, options.checked ?? false));
  }

  close(): void {
    this.directories.close();
  }

  /** Makes a directory; one that is there already is fine. Returns whether it was made. */
  mkdir(path: RelativePath, mode = 0o700): boolean {
    return this.at(path, (at) => {
      try {
        mkdirSync(at, mode);
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
        if (!lstatSync(at).isDirectory()) throw unsafe(path, 'it is there, and is no directory');
        return false;
      }
      this.directories.forget(keyOf(path));
      return true;
    });
  }

  /** As {@link mkdir}, with the directories that lead there. */
  mkdirs(path: RelativePath, mode = 0o700): void {
    const missing: RelativePath[] = [];
    let current = path;
    for (;;) {
      try {
        this.mkdir(current, mode);
        break;
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
        const { parent } = splitPath(current);
        if (parent === '') throw error;
        missing.push(current);
        current = pathOfKey(parent);
      }
    }
    for (const below of missing.reverse()) this.mkdir(below, mode);
  }

  /** Makes a new file and opens it for writing; `EEXIST` if anything is there. The caller ends it with {@link finish}. */
  createFile(path: RelativePath, mode = 0o600): NewFile {
    return this.at(path, (at, directory) => this.create(at, path, directory, mode));
  }

  /** Makes a new file under a temporary name beside `path`, for {@link publish}. */
  createTemp(path: RelativePath, mode = 0o600): NewFile {
    const { parent } = splitPath(path);
    for (;;) {
      const name = `${tempPrefix}${this.tempId}-${this.tempCount++}`;
      const temp = parent === '' ? name : append(append(pathOfKey(parent), '/'), name);
      try {
        return this.createFile(temp, mode);
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
      }
    }
  }

  private create(at: string | Buffer, path: RelativePath, directory: Directory, mode: number): NewFile {
    const requested = mode & 0o777;
    const fd = openSync(at, createFlags, requested);
    const expected = requested & ~this.umask;
    let birth = directory.birth;
    if (birth === undefined) {
      // The directory may hand down its group or a default ACL: what is true of one file is true of all in it.
      const stat = fstatSync(fd);
      birth = { uid: stat.uid, gid: stat.gid, plainMode: (stat.mode & 0o7777) === expected };
      directory.birth = birth;
    }
    return { fd, path, uid: birth.uid, gid: birth.gid, mode: birth.plainMode ? expected : undefined };
  }

  /** Applies metadata to a file from `createFile` or `createTemp` and closes it, whatever happens. */
  finish(file: NewFile, metadata: RestoreMetadata): RestoreWarning[] {
    try {
      return applyTo(byDescriptor, file.fd, file, metadata);
    } catch (error) {
      throw this.explain(error, file.path);
    } finally {
      closeSync(file.fd);
    }
  }

  /** Creates, fills and finishes a small file. On an error nothing is left of it. */
  writeFile(path: RelativePath, content: readonly Uint8Array[], metadata: RestoreMetadata): RestoreWarning[] {
    const file = this.createFile(path, metadata.mode);
    try {
      for (const part of content) writeAll(file.fd, part);
    } catch (error) {
      closeSync(file.fd);
      this.unlink(path);
      throw this.explain(error, path);
    }
    return this.finish(file, metadata);
  }

  /** Gives a temporary file its name. With `replace` it takes the place of a file or symlink there, else `EEXIST`. */
  publish(temp: RelativePath, path: RelativePath, replace: boolean): void {
    this.two(temp, path, (from, to) => {
      if (replace) {
        renameSync(from, to);
      } else {
        linkSync(from, to);
        unlinkSync(from);
      }
    });
  }

  /** Opens a regular file that is there for reading, or for both, with its stat. TargetUnsafe for anything else. The caller closes it. */
  openFile(path: RelativePath, forWriting = false): { fd: number; stat: BigIntStats } {
    return this.at(path, (at) => {
      let fd: number;
      try {
        fd = openSync(at, forWriting ? writeFlags : readFlags);
      } catch (error) {
        if (errnoOf(error) === 'ELOOP') throw unsafe(path, 'it is a symlink');
        throw error;
      }
      const stat = fstatSync(fd, { bigint: true });
      if (stat.isFile()) return { fd, stat };
      closeSync(fd);
      throw unsafe(path, 'it is there, and is no regular file');
    });
  }

  /** Undefined when nothing is there. */
  lstat(path: RelativePath): BigIntStats | undefined {
    try {
      return this.at(path, (at) => lstatSync(at, { bigint: true }));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  readlink(path: RelativePath): Buffer {
    return this.at(path, (at) => readlinkSync(at, { encoding: 'buffer' }));
  }

  /** The names in a directory; '' is the target itself. */
  list(path: RelativePath): Buffer[] {
    try {
      return readdirSync(append(this.directories.get(keyOf(path)).prefix, '.'), { encoding: 'buffer' });
    } catch (error) {
      throw this.explain(error, path);
    }
  }

  /** The link's target is stored as it is, never followed here. */
  symlink(target: string | Buffer, path: RelativePath): void {
    this.at(path, (at) => symlinkSync(target, at));
  }

  /** A hardlink to a file below the same root. */
  link(existing: RelativePath, path: RelativePath): void {
    this.two(existing, path, (from, to) => {
      // Only Linux is known to link a symlink itself.
      if (!this.directories.pinned && lstatSync(from).isSymbolicLink()) throw unsafe(existing, 'it is a symlink');
      linkSync(from, to);
    });
  }

  makeNode(path: RelativePath, type: NodeType, mode: number, rdev?: bigint): void {
    this.at(path, (at) => makeNode(at, type, mode, rdev));
  }

  chmod(path: RelativePath, mode: number): void {
    this.at(path, (at) => chmodNoFollow(at, mode));
  }

  chown(path: RelativePath, uid: number, gid: number): void {
    this.at(path, (at) => byPath.chown(at, uid, gid));
  }

  /** Sets both times; nanoseconds since 1970. */
  setTimes(path: RelativePath, mtimeNs: bigint): void {
    this.at(path, (at) => byPath.setTimes(at, mtimeNs));
  }

  setXattr(path: RelativePath, name: string | Buffer, value: Buffer): void {
    this.at(path, (at) => byPath.setXattr(at, name, value));
  }

  unlink(path: RelativePath): void {
    this.at(path, (at) => unlinkSync(at));
  }

  rmdir(path: RelativePath): void {
    this.at(path, (at) => rmdirSync(at));
    this.directories.forget(keyOf(path));
  }

  /** Applies metadata to what is there; for directories, once nothing more is written in them. */
  applyMetadata(path: RelativePath, metadata: RestoreMetadata): RestoreWarning[] {
    const warnings = this.at(path, (at) => {
      const stat = lstatSync(at);
      if (!stat[typeChecks[metadata.type]]()) throw unsafe(path, `it is there, and is no ${metadata.type}`);
      return applyTo(byPath, at, { mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid }, metadata);
    });
    // It may hand down another group or ACL from now on.
    if (metadata.type === 'dir') this.directories.forget(keyOf(path));
    return warnings;
  }

  private at<T>(path: RelativePath, work: (at: string | Buffer, directory: Directory) => T): T {
    try {
      const { parent, name } = splitPath(path);
      const directory = this.directories.get(parent);
      return work(append(directory.prefix, name), directory);
    } catch (error) {
      throw this.explain(error, path);
    }
  }

  private two(first: RelativePath, second: RelativePath, work: (from: string | Buffer, to: string | Buffer) => void) {
    return this.at(first, (from) => this.at(second, (to) => work(from, to)));
  }

  /** System errors name /proc paths; people need the real one. */
  private explain(error: unknown, path: RelativePath): unknown {
    const code = errnoOf(error);
    if (!(error instanceof Error) || error instanceof HoldfastError || error instanceof ExplainedError) return error;
    if (code === undefined) return error;
    const where = `${this.path}/${path.toString()}`;
    return new ExplainedError(
      `${error.message.replace(/,? [a-z]+ '.*$/s, '')} at ${JSON.stringify(where)}`,
      code,
      error,
    );
  }
}

class ExplainedError extends Error {
  constructor(
    message: string,
    readonly code: string,
    cause: Error,
  ) {
    super(message, { cause });
    this.name = 'Error';
  }
}

function writeAll(fd: number, part: Uint8Array): void {
  for (let done = 0; done < part.length; ) done += writeSync(fd, part, done, part.length - done);
}
