import { closeSync, constants, fstatSync, lstatSync, openSync, statSync } from 'node:fs';
import { errnoOf } from '../errors.js';
import { append, pathOfKey, type RelativePath, splitPath, unsafe } from './restore-path.js';

/** What a file just created in a directory turned out to be, before anybody changed it. */
export interface Birth {
  uid: number;
  gid: number;
  /** Whether the mode was the requested one without the umask: no default ACL, nothing odd. */
  plainMode: boolean;
}

/** A directory below the target, ready to work in. */
export interface Directory {
  /** Put before a name, it makes a path that no symlink swapped in can lead elsewhere. */
  prefix: string | Buffer;
  birth?: Birth;
}

/** Finds directories below the target; refuses to pass through anything but real directories. */
export interface Directories {
  /** Whether what `get` returned stays the same directory whatever happens to its path. */
  readonly pinned: boolean;
  /** Throws TargetUnsafe, or the system's error (`ENOENT`) where there is none. Valid until the next call but one. */
  get(key: string): Directory;
  /** To be called when a directory was removed or made anew. */
  forget(key: string): void;
  close(): void;
}

/** Opens a directory to reach what is in it, without needing permission to list it (Linux). */
const O_PATH = 0o10000000;
const openFlags = O_PATH | (constants.O_DIRECTORY ?? 0) | (constants.O_NOFOLLOW ?? 0);

/** Linux: keeps descriptors open and works through /proc/self/fd, one `open` per directory and no races. */
class PinnedDirectories implements Directories {
  readonly pinned = true;
  private readonly open = new Map<string, Directory & { fd: number }>();
  private readonly root: Directory & { fd: number };
  private lastKey = '';
  private last: Directory & { fd: number };

  constructor(
    path: string,
    private readonly limit: number,
  ) {
    this.root = handle(openSync(path, O_PATH | constants.O_DIRECTORY));
    this.last = this.root;
  }

  get(key: string): Directory {
    if (key === this.lastKey) return this.last;
    const found = this.find(key);
    this.lastKey = key;
    this.last = found;
    return found;
  }

  private find(key: string): Directory & { fd: number } {
    if (key === '') return this.root;
    let found = this.open.get(key);
    if (found !== undefined) {
      this.open.delete(key);
    } else {
      const path = pathOfKey(key);
      const { parent, name } = splitPath(path);
      found = handle(openDirectory(append(this.find(parent).prefix, name), path));
    }
    this.open.set(key, found);
    if (this.open.size > this.limit) this.evict(found);
    return found;
  }

  /** The one in use last stays too: two paths of a link or rename are looked up one after the other. */
  private evict(keep: Directory): void {
    for (const [key, directory] of this.open) {
      if (directory === keep || directory === this.last) continue;
      this.open.delete(key);
      closeSync(directory.fd);
      return;
    }
  }

  forget(key: string): void {
    const found = this.open.get(key);
    if (found === undefined) return;
    this.open.delete(key);
    closeSync(found.fd);
    if (this.last === found) {
      this.last = this.root;
      this.lastKey = '';
    }
  }

  close(): void {
    for (const { fd } of this.open.values()) closeSync(fd);
    this.open.clear();
    closeSync(this.root.fd);
  }
}

function handle(fd: number): Directory & { fd: number } {
  return { fd, prefix: `/proc/self/fd/${fd}/` };
}

function openDirectory(at: string | Buffer, path: RelativePath): number {
  try {
    return openSync(at, openFlags);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOTDIR' || code === 'ELOOP') throw unsafe(path, 'it is there, and is no directory');
    throw error;
  }
}

/** Elsewhere: looks at every component before every use; small races remain. */
class CheckedDirectories implements Directories {
  readonly pinned = false;

  constructor(private readonly path: string) {}

  get(key: string): Directory {
    let prefix: string | Buffer = this.path.endsWith('/') ? this.path : `${this.path}/`;
    if (key === '') return { prefix };
    const parents: (string | Buffer)[] = [];
    for (let rest = key; rest !== ''; ) {
      const { parent, name } = splitPath(pathOfKey(rest));
      parents.push(name);
      rest = parent;
    }
    for (const name of parents.reverse()) {
      const at = append(prefix, name);
      if (!lstatSync(at).isDirectory()) throw unsafe(pathOfKey(key), 'a component is there, and is no directory');
      prefix = append(at, '/');
    }
    return { prefix };
  }

  forget(): void {}

  close(): void {}
}

function hasProc(path: string): boolean {
  if (process.platform !== 'linux') return false;
  const fd = openSync(path, O_PATH | constants.O_DIRECTORY);
  try {
    return statSync(`/proc/self/fd/${fd}/.`).ino === fstatSync(fd).ino;
  } catch {
    return false;
  } finally {
    closeSync(fd);
  }
}

/** `limit`: how many directories stay open; `checked` forces the way of systems without /proc. */
export function openDirectories(path: string, limit: number, checked: boolean): Directories {
  return !checked && hasProc(path) ? new PinnedDirectories(path, limit) : new CheckedDirectories(path);
}
