import { createHash, randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type FileHandle, link, lstat, mkdir, open, readdir, rename, stat, statfs, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { errnoOf, HoldfastError } from '../errors.js';
import { digestMismatch, openBody, piecesOf } from './body.js';
import { cancelled, isAbort } from './cancelled.js';
import type { LocalDestinationConfig } from './config.js';
import type { Body, Destination, ObjectInfo, PutOptions } from './destination.js';
import { checkKey, checkPrefix, temporaryPrefix } from './keys.js';
import { localError } from './local-errors.js';
import { syncFolder, writeAll } from './local-files.js';
import { isMountPoint } from './local-mount.js';
import { collect, emptyStream, guarded, tooLarge } from './streams.js';

const copyPiece = 4 * 1024 * 1024;
const foldersAtOnce = 8;
const statsAtOnce = 64;
/** A lock older than this was left behind by a crash. */
const staleLockMs = 10 * 60_000;

const absent: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR']);
const cannotLink: ReadonlySet<string> = new Set([
  'EXDEV',
  'EPERM',
  'EACCES',
  'EMLINK',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EINVAL',
]);

interface Entry {
  path: string;
  key: string;
  info: Stats;
}

/** A folder on this machine: a disk, an external drive, a mounted share. */
export class LocalDestination implements Destination {
  readonly type = 'local';
  private readonly root: string;
  /** Folders that are known to exist and to be durable, so that only their first object pays for that. */
  private readonly folders = new Map<string, Promise<void>>();
  /** The file system that the last object read was on. Without the disk that was mounted, its folder may still be there. */
  private device: number | undefined;

  constructor(
    readonly name: string,
    private readonly config: LocalDestinationConfig,
  ) {
    this.root = resolve(config.path);
  }

  async ensureRoot(signal?: AbortSignal): Promise<void> {
    await this.run('looking for its folder', signal, async () => {
      await this.checkMount();
      this.device = undefined;
      if (await isFolder(this.root)) return;
      const above = dirname(this.root);
      const mayCreateAbove = this.config.mountPoint !== undefined;
      if (!mayCreateAbove && !(await isFolder(above))) throw this.missing(`${above} does not exist`);
      await mkdir(this.root, { recursive: mayCreateAbove, mode: 0o700 }).catch((error) => {
        if (errnoOf(error) !== 'EEXIST') throw error;
      });
      await syncFolder(above);
    });
  }

  async put(key: string, body: Body, options: PutOptions = {}): Promise<void> {
    checkKey(key);
    await options.after;
    await this.run(`storing ${key}`, options.signal, async () => {
      await this.checkDevice();
      try {
        await this.store(key, body, options);
      } catch (error) {
        if (!absent.has(errnoOf(error) ?? '')) throw error;
        // A folder known from before is gone: another disk, or somebody tidied up.
        this.folders.clear();
        await this.checkDevice();
        await this.store(key, body, options);
      }
    });
  }

  async get(key: string, options: { start?: number; end?: number; signal?: AbortSignal } = {}): Promise<Readable> {
    checkKey(key);
    const { signal } = options;
    const action = `reading ${key}`;
    return await this.run(action, signal, async () => {
      const handle = await open(this.pathOf(key), 'r').catch((error) => this.rejectAbsent(key, error));
      try {
        const info = await handle.stat();
        if (!info.isFile()) throw this.objectMissing(key);
        // Where something is found that was stored, more may be.
        this.device = info.dev;
        const { start = 0, end = info.size } = options;
        if (end > info.size || start > end) {
          throw new HoldfastError(
            'IntegrityMismatch',
            `${this.label(key)} ends at byte ${info.size}, before byte ${Math.max(start, end)}`,
          );
        }
        if (start === end) {
          await handle.close();
          return emptyStream();
        }
        const source = handle.createReadStream({ start, end: end - 1, highWaterMark: 1 << 20 });
        const translate = (error: unknown): HoldfastError => this.translate(action, error, signal);
        return guarded(source, { expected: end - start, label: this.label(key), translate, signal });
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }

  async read(key: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<Buffer> {
    const info = await this.stat(key, options.signal);
    if (info === undefined) throw this.objectMissing(key);
    if (info.size > options.maxBytes) throw tooLarge(this.label(key), options.maxBytes);
    return await collect(await this.get(key, { signal: options.signal }), this.label(key), options.maxBytes);
  }

  async stat(key: string, signal?: AbortSignal): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return await this.run(`looking at ${key}`, signal, async () => {
      try {
        const info = await lstat(this.pathOf(key));
        return info.isFile() ? { key, size: info.size, modified: info.mtime } : undefined;
      } catch (error) {
        if (!absent.has(errnoOf(error) ?? '')) throw error;
        await this.checkRoot();
        return undefined;
      }
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    for await (const { key, info } of this.walk(prefix, signal, (name) => !name.startsWith(temporaryPrefix))) {
      if (key.startsWith(prefix)) yield { key, size: info.size, modified: info.mtime };
    }
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    checkKey(key);
    await this.run(`deleting ${key}`, signal, async () => {
      await this.checkRoot();
      await unlink(this.pathOf(key)).catch((error) => {
        if (!absent.has(errnoOf(error) ?? '')) throw error;
      });
    });
  }

  async now(signal?: AbortSignal): Promise<Date> {
    return await this.run('reading the clock', signal, async () => new Date());
  }

  async space(signal?: AbortSignal): Promise<{ free: number; total: number } | undefined> {
    return await this.run('measuring free space', signal, async () => {
      await this.checkRoot();
      const { bavail, blocks, bsize } = await statfs(this.root);
      return { free: bavail * bsize, total: blocks * bsize };
    });
  }

  async sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number> {
    const before = Date.now() - olderThanMs;
    let removed = 0;
    for await (const { path, key, info } of this.walk(prefix, signal, (name) => name.startsWith(temporaryPrefix))) {
      // ctime, because a linked spool file keeps its old mtime.
      if (info.ctimeMs >= before || !key.startsWith(prefix)) continue;
      await this.run(`sweeping ${key}`, signal, async () => {
        await unlink(path).catch((error) => {
          if (errnoOf(error) !== 'ENOENT') throw error;
        });
      });
      removed += 1;
    }
    return removed;
  }

  async close(): Promise<void> {}

  /** Makes a hard link; apart so that tests can stand in for file systems without them. */
  protected link(from: string, to: string): Promise<void> {
    return link(from, to);
  }

  /** Writes to a temporary file; apart so that tests can stand in for full disks. */
  protected writePiece(handle: FileHandle, piece: Uint8Array): Promise<void> {
    return writeAll(handle, piece);
  }

  private pathOf(key: string): string {
    return join(this.root, ...key.split('/'));
  }

  private label(key: string): string {
    return `${key} at destination "${this.name}"`;
  }

  private async store(key: string, body: Body, options: PutOptions): Promise<void> {
    const target = this.pathOf(key);
    const folder = dirname(target);
    await this.makeFolder(folder);
    const temporary = join(folder, `${temporaryPrefix}${process.pid}-${randomBytes(8).toString('hex')}`);
    try {
      const size = await this.write(key, temporary, body, options);
      options.signal?.throwIfAborted();
      const written = await lstat(temporary);
      if (written.size !== size) {
        throw new HoldfastError(
          'DestinationFailed',
          `${this.label(key)}: ${written.size} of ${size} bytes were written`,
        );
      }
      if (options.exclusive) await this.publishNew(key, temporary, target);
      else await rename(temporary, target);
    } finally {
      // Left over after a failure, after link(), and when both names were one file already: rename() then does nothing.
      await unlink(temporary).catch(() => {});
    }
    await syncFolder(folder);
  }

  /** Fills the temporary file durably; returns the size it has to have. */
  private async write(key: string, temporary: string, body: Body, options: PutOptions): Promise<number> {
    const { signal, limiter, onProgress, sha256 } = options;
    const source = await openBody(body);
    try {
      if ('file' in body && (await this.tryLink(body.file, temporary))) {
        onProgress?.(source.size);
        return source.size;
      }
      const hash = sha256 === undefined ? undefined : createHash('sha256');
      const handle = await open(temporary, 'wx', 0o600);
      try {
        for await (const piece of piecesOf(source, 0, source.size, limiter?.piece ?? copyPiece)) {
          signal?.throwIfAborted();
          await limiter?.take(piece.length, signal);
          hash?.update(piece);
          await this.writePiece(handle, piece);
          onProgress?.(piece.length);
        }
        if (hash !== undefined && hash.digest('hex') !== sha256) throw digestMismatch(key);
        signal?.throwIfAborted();
        await handle.sync();
      } finally {
        await handle.close();
      }
      return source.size;
    } finally {
      await source.close();
    }
  }

  private async tryLink(file: string, temporary: string): Promise<boolean> {
    try {
      // One more name is enough: two destinations on one disk must not share the bytes that may go bad.
      if ((await stat(file)).nlink > 1) return false;
      await this.link(file, temporary);
      return true;
    } catch (error) {
      if (cannotLink.has(errnoOf(error) ?? '')) return false;
      throw error;
    }
  }

  /** Gives the finished file its name unless that is taken, atomically: link() refuses where rename() replaces. */
  private async publishNew(key: string, temporary: string, target: string): Promise<void> {
    try {
      await this.link(temporary, target);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') throw this.objectExists(key);
      if (!cannotLink.has(errnoOf(error) ?? '')) throw error;
      await this.publishNewUnderLock(key, temporary, target);
    }
  }

  /** For file systems without hard links (FAT, some shares): a lock file makes check and rename one step. */
  private async publishNewUnderLock(key: string, temporary: string, target: string): Promise<void> {
    const lock = join(dirname(target), `${temporaryPrefix}lock-${Buffer.from(key).toString('hex').slice(-64)}`);
    const held = await lstat(lock).catch(() => undefined);
    if (held !== undefined && Date.now() - held.mtimeMs > staleLockMs) await unlink(lock).catch(() => {});
    try {
      await (await open(lock, 'wx', 0o600)).close();
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      throw new HoldfastError('DestinationFailed', `${this.label(key)} is being created by another writer`);
    }
    try {
      if ((await lstat(target).catch(() => undefined)) !== undefined) throw this.objectExists(key);
      await rename(temporary, target);
    } finally {
      await unlink(lock).catch(() => {});
    }
  }

  /** Creates a folder below the root and those between, never the root itself. */
  private makeFolder(path: string): Promise<void> {
    if (path === this.root) return Promise.resolve();
    const known = this.folders.get(path);
    if (known !== undefined) return known;
    const made = (async () => {
      const above = dirname(path);
      await this.makeFolder(above);
      await mkdir(path, { mode: 0o700 }).catch((error) => {
        if (errnoOf(error) !== 'EEXIST') throw error;
      });
      await syncFolder(above);
    })();
    this.folders.set(path, made);
    made.catch(() => this.folders.delete(path));
    return made;
  }

  /** Every file below `prefix` whose name is wanted, folder by folder, several folders at a time. */
  private async *walk(
    prefix: string,
    signal: AbortSignal | undefined,
    wanted: (name: string) => boolean,
  ): AsyncGenerator<Entry> {
    checkPrefix(prefix);
    const action = `listing ${prefix === '' ? 'everything' : prefix}`;
    await this.run(action, signal, () => this.checkRoot());
    const waiting = [prefix.slice(0, prefix.lastIndexOf('/') + 1)];
    const running = new Map<number, Promise<{ id: number; files: Entry[]; folders: string[] }>>();
    let next = 0;
    const start = (folder: string): void => {
      const id = next++;
      const reading = this.run(action, signal, async () => ({
        id,
        ...(await this.readFolder(folder, signal, wanted)),
      }));
      // When the caller stops early nobody awaits this one.
      reading.catch(() => {});
      running.set(id, reading);
    };
    while (waiting.length > 0 || running.size > 0) {
      while (running.size < foldersAtOnce && waiting.length > 0) start(waiting.pop() ?? '');
      const { id, files, folders } = await Promise.race(running.values());
      running.delete(id);
      waiting.push(...folders.filter((folder) => folder.startsWith(prefix) || prefix.startsWith(folder)));
      yield* files;
    }
  }

  /** @param folder '' or a key ending in '/' */
  private async readFolder(
    folder: string,
    signal: AbortSignal | undefined,
    wanted: (name: string) => boolean,
  ): Promise<{ files: Entry[]; folders: string[] }> {
    const path = join(this.root, ...folder.split('/'));
    const found = await readdir(path, { withFileTypes: true }).catch(async (error) => {
      if (!absent.has(errnoOf(error) ?? '')) throw error;
      await this.checkRoot();
      return [];
    });
    const folders = found.filter((entry) => entry.isDirectory()).map((entry) => `${folder}${entry.name}/`);
    const names = found.filter((entry) => entry.isFile() && wanted(entry.name)).map((entry) => entry.name);
    const files: Entry[] = [];
    for (let at = 0; at < names.length; at += statsAtOnce) {
      signal?.throwIfAborted();
      const some = names.slice(at, at + statsAtOnce).map(async (name): Promise<Entry | undefined> => {
        const file = join(path, name);
        // One that vanished in between is not listed.
        const info = await lstat(file).catch((error) => {
          if (errnoOf(error) !== 'ENOENT') throw error;
          return undefined;
        });
        return info?.isFile() ? { path: file, key: folder + name, info } : undefined;
      });
      for (const entry of await Promise.all(some)) if (entry !== undefined) files.push(entry);
    }
    return { files, folders };
  }

  private async checkMount(): Promise<void> {
    const { mountPoint } = this.config;
    if (mountPoint === undefined || (await isMountPoint(mountPoint))) return;
    throw this.missing(`nothing is mounted at ${mountPoint}`);
  }

  private async checkRoot(): Promise<void> {
    await this.checkMount();
    if (!(await isFolder(this.root))) throw this.missing(`${this.root} is not there`);
  }

  /**
   * Before anything is written: whoever unmounts the disk in the middle of a backup must not have the rest of it put into
   * the folder below.
   */
  private async checkDevice(): Promise<void> {
    await this.checkRoot();
    const { dev } = await stat(this.root);
    this.device ??= dev;
    if (dev === this.device) return;
    this.folders.clear();
    throw this.missing(`another file system is at ${this.root} than before`);
  }

  /** For an ENOENT: the object is missing, or the whole destination is. */
  private async rejectAbsent(key: string, error: unknown): Promise<never> {
    if (!absent.has(errnoOf(error) ?? '')) throw error;
    await this.checkRoot();
    throw this.objectMissing(key);
  }

  private missing(why: string): HoldfastError {
    const hint =
      this.config.presence === 'optional'
        ? 'Plug the drive in and mount it; what it missed is caught up then.'
        : 'Mount the disk, or create the folder if it never existed.';
    return new HoldfastError('DestinationMissing', `Destination "${this.name}": ${why}`, { hint });
  }

  private objectMissing(key: string): HoldfastError {
    return new HoldfastError('ObjectMissing', `There is no ${this.label(key)} (${this.root})`);
  }

  private objectExists(key: string): HoldfastError {
    return new HoldfastError('ObjectExists', `There is already a ${this.label(key)} (${this.root})`);
  }

  private translate(action: string, error: unknown, signal?: AbortSignal): HoldfastError {
    if (error instanceof HoldfastError) return error;
    const label = `Destination "${this.name}" (${this.root})`;
    if (isAbort(error) || (signal?.aborted && error === signal.reason))
      return cancelled(`${action} at ${label}`, error);
    return localError(label, action, error);
  }

  private async run<T>(action: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await work();
    } catch (error) {
      throw this.translate(action, error, signal);
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (absent.has(errnoOf(error) ?? '')) return false;
    throw error;
  }
}
