import { createHash, type Hash, randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../errors.js';
import { digestMismatch, type OpenBody, openBody } from './body.js';
import { cancelled, isAbort, withinGrace } from './cancelled.js';
import type { SftpDestinationConfig } from './config.js';
import type { Body, Destination, ObjectInfo, PutOptions } from './destination.js';
import { checkKey, temporaryPrefix } from './keys.js';
import { type FolderContent, walkFolders } from './remote-walk.js';
import { type SftpConnection, sftpStatus, statusOf } from './sftp-connection.js';
import { sftpError } from './sftp-errors.js';
import { FolderHandle, fstat, isFolder, listFolder, lstat, type RemoteStats, remove, spaceOf } from './sftp-files.js';
import { SftpPool, type Weight } from './sftp-pool.js';
import { matchingStart, readRange, readSome, requestBytes, writeFrom } from './sftp-transfer.js';
import { collect, emptyStream, guarded, tooLarge } from './streams.js';
import { TemporaryNames } from './temporary.js';

/** A disk that just refused something and has less than this is full. */
const nearlyFull = 1024 * 1024;
const cleanUpMs = 2000;
/** Objects up to this size take hardly more than their round trips. */
const lightBytes = 256 * 1024;
/** A lock held for longer than this was left behind by a crash. */
const staleLockMs = 60_000;

/** All of them may go over one connection: each is two round trips. */
const foldersAtOnce = 64;

const openNew = 0x02 | 0x08 | 0x20;
const openExisting = 0x01 | 0x02;

interface Entry {
  path: string;
  key: string;
  info: RemoteStats;
}

/** A folder on an SSH server, over SFTP version 3 with OpenSSH's extensions where the server has them. */
export class SftpDestination implements Destination {
  readonly type = 'sftp';
  private readonly pool: SftpPool;
  private readonly label: string;
  private readonly root: string;
  private readonly temporaries = new TemporaryNames();
  /** Folders that are known to exist, so that only their first object pays for that. */
  private readonly folders = new Map<string, Promise<void>>();

  constructor(
    readonly name: string,
    config: SftpDestinationConfig,
  ) {
    this.root = posix.normalize(config.path).replace(/(.)\/$/, '$1');
    this.label = `Destination "${name}" (${config.user}@${config.host}:${this.root})`;
    this.pool = new SftpPool(`Destination "${name}"`, config);
  }

  async ensureRoot(signal?: AbortSignal): Promise<void> {
    await this.run('looking for its folder', signal, async (connection) => {
      if (await isFolder(connection, this.root)) return;
      const above = posix.dirname(this.root);
      if (!(await isFolder(connection, above))) throw this.missing(`${above} does not exist`);
      await this.makeOne(connection, this.root);
    });
  }

  async put(key: string, body: Body, options: PutOptions = {}): Promise<void> {
    checkKey(key);
    // It may fail long before it is waited for.
    options.after?.catch(() => {});
    const opened = await this.guard(`storing ${key}`, options.signal, () => openBody(body));
    try {
      const weight = opened.size <= lightBytes ? 'light' : 'heavy';
      const work = async (connection: SftpConnection): Promise<void> => {
        try {
          await this.store(connection, key, opened, options);
        } catch (error) {
          if (statusOf(error) !== sftpStatus.noSuchFile) throw error;
          // A folder known from before is gone.
          this.folders.clear();
          await this.checkRoot(connection);
          await this.store(connection, key, opened, options);
        }
      };
      await this.run(`storing ${key}`, options.signal, work, weight);
    } finally {
      await opened.close();
    }
  }

  async get(key: string, options: { start?: number; end?: number; signal?: AbortSignal } = {}): Promise<Readable> {
    checkKey(key);
    const { signal } = options;
    const action = `reading ${key}`;
    const label = this.labelOf(key);
    return await this.guard(action, signal, async () => {
      const connection = await this.pool.take(signal);
      const release = (handle?: Buffer): void => {
        if (handle !== undefined) close(connection, handle).catch(() => {});
        this.pool.give(connection);
      };
      const { handle, info } = await this.openObject(connection, key).catch((error: unknown) => {
        release();
        throw error;
      });
      const { start = 0, end = info.size } = options;
      if (end > info.size || start >= end) {
        release(handle);
        if (start === end && end <= info.size) return emptyStream();
        throw new HoldfastError(
          'IntegrityMismatch',
          `${label} ends at byte ${info.size}, before byte ${Math.max(start, end)}`,
        );
      }
      const source = Readable.from(readRange(connection, handle, start, end), {
        objectMode: false,
        highWaterMark: 1 << 20,
      }).once('close', () => release(handle));
      const translate = (error: unknown): HoldfastError => this.translate(action, error, signal);
      return guarded(source, { expected: end - start, label, translate, signal });
    });
  }

  async read(key: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<Buffer> {
    checkKey(key);
    const { maxBytes, signal } = options;
    const label = this.labelOf(key);
    return await this.run(`reading ${key}`, signal, async (connection) => {
      const { handle, info, start } = await this.openObject(connection, key, true);
      try {
        if (info.size > maxBytes) throw tooLarge(label, maxBytes);
        if (start !== undefined && start.length === info.size) return start;
        const source = Readable.from(readRange(connection, handle, 0, info.size), { objectMode: false });
        const translate = (error: unknown): HoldfastError => this.translate(`reading ${key}`, error, signal);
        return await collect(guarded(source, { expected: info.size, label, translate, signal }), label, maxBytes);
      } finally {
        close(connection, handle).catch(() => {});
      }
    });
  }

  async stat(key: string, signal?: AbortSignal): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return await this.run(`looking at ${key}`, signal, async (connection) => {
      const info = await lstat(connection, this.pathOf(key));
      if (info === undefined) await this.checkRoot(connection);
      return info?.kind === 'file' ? { key, size: info.size, modified: info.modified } : undefined;
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    for await (const { key, info } of this.walk(prefix, signal, (name) => !name.startsWith(temporaryPrefix))) {
      if (key.startsWith(prefix)) yield { key, size: info.size, modified: info.modified };
    }
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    checkKey(key);
    await this.run(`deleting ${key}`, signal, async (connection) => {
      if (!(await remove(connection, this.pathOf(key)))) await this.checkRoot(connection);
    });
  }

  /** The modification time of a file made for it (whole seconds). */
  async now(signal?: AbortSignal): Promise<Date> {
    return await this.run('reading the clock', signal, async (connection) => {
      const path = posix.join(this.root, `${temporaryPrefix}${process.pid}-${randomBytes(8).toString('hex')}`);
      const handle = await open(connection, path, openNew).catch((error) => this.rejectAbsent(connection, error));
      const [info] = await Promise.all([fstat(connection, handle), close(connection, handle)]).finally(() =>
        remove(connection, path),
      );
      return info.modified;
    });
  }

  /** By statvfs@openssh.com; undefined where the server lacks it. */
  async space(signal?: AbortSignal): Promise<{ free: number; total: number } | undefined> {
    return await this.run('measuring free space', signal, async (connection) => {
      await this.checkRoot(connection);
      const space = await spaceOf(connection, this.root);
      return space === undefined ? undefined : { free: space.free, total: space.total };
    });
  }

  async sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number> {
    const before = (await this.now(signal)).getTime() - olderThanMs;
    let removed = 0;
    for await (const { path, key, info } of this.walk(prefix, signal, (name) => name.startsWith(temporaryPrefix))) {
      if (info.modified.getTime() >= before || !key.startsWith(prefix)) continue;
      await this.run(`sweeping ${key}`, signal, (connection) => remove(connection, path));
      removed += 1;
    }
    return removed;
  }

  warm(): void {
    this.pool.warm();
  }

  async close(): Promise<void> {
    this.pool.close();
  }

  private pathOf(key: string): string {
    return posix.join(this.root, key);
  }

  private labelOf(key: string): string {
    return `${key} at destination "${this.name}"`;
  }

  /** @param withStart asks for the first bytes, too, in the same round trip as for the size, and for the root in that of the file */
  private async openObject(
    connection: SftpConnection,
    key: string,
    withStart = false,
  ): Promise<{ handle: Buffer; info: RemoteStats; start?: Buffer }> {
    const opening = open(connection, this.pathOf(key), 0x01);
    const root = withStart ? isFolder(connection, this.root) : undefined;
    root?.catch(() => {});
    const handle = await opening.catch(async (error) => {
      if (statusOf(error) !== sftpStatus.noSuchFile) throw error;
      await this.checkRoot(connection, root);
      throw this.objectMissing(key);
    });
    const reading = withStart ? readSome(connection, handle, 0, requestBytes) : undefined;
    reading?.catch(() => {});
    const info = await fstat(connection, handle);
    if (info.kind === 'file') return { handle, info, ...(reading && { start: await reading }) };
    close(connection, handle).catch(() => {});
    throw this.objectMissing(key);
  }

  private async store(connection: SftpConnection, key: string, body: OpenBody, options: PutOptions): Promise<void> {
    const { signal, sha256 } = options;
    const target = this.pathOf(key);
    const folder = posix.dirname(target);
    // Servers work off requests in their order: the folder is there by the time that a file is opened in it.
    const made = this.makeFolder(connection, folder);
    made.catch(() => {});
    const temporary = this.temporaries.take(key, body.size, sha256);
    const path = posix.join(folder, temporary.name);
    let folderHandle = new FolderHandle(connection, folder);
    let left: 'file' | 'nothing' | 'start' = 'file';
    try {
      const openIt = () => this.openTemporary(connection, path, temporary.resumable, body, options);
      const { handle, start, hash } = await openIt().catch(async (error: unknown) => {
        if (statusOf(error) !== sftpStatus.noSuchFile) throw error;
        await made;
        folderHandle.close();
        folderHandle = new FolderHandle(connection, folder);
        return await openIt();
      });
      try {
        const written = await writeFrom(connection, handle, body, start, hash, options);
        if (sha256 !== undefined && hash.digest('hex') !== sha256) throw digestMismatch(key);
        // A server works off the requests for one file in their order, so that these need not wait for the last writes.
        const finished = this.finish(connection, handle, key, body.size);
        finished.catch(() => {});
        await written();
        await finished;
      } catch (error) {
        close(connection, handle).catch(() => {});
        throw error;
      }
      await made;
      await options.after;
      signal?.throwIfAborted();
      if (options.exclusive) {
        await this.publishNew(connection, key, path, target);
        await Promise.all([folderHandle.sync(), remove(connection, path).catch(() => {})]);
      } else {
        await this.publish(connection, path, target, folderHandle);
      }
      left = 'nothing';
    } catch (raw) {
      // Before the temporary file goes, which may be what fills the disk.
      const error = await this.diagnosed(connection, `storing ${key}`, raw);
      // What did arrive is where the next attempt goes on.
      if (temporary.resumable && this.translate('', error, signal).code === 'DestinationUnreachable') left = 'start';
      throw error;
    } finally {
      folderHandle.close();
      temporary.release();
      if (left === 'file') await remove(connection, path).catch(() => {});
    }
  }

  /**
   * Opens the temporary file, where possible that of an earlier upload of the same object. Its bytes are read back and
   * compared with the body's: a crash of either side can leave anything there. Writing goes on at the first difference.
   */
  private async openTemporary(
    connection: SftpConnection,
    path: string,
    resumable: boolean,
    body: OpenBody,
    { signal, onProgress }: PutOptions,
  ): Promise<{ handle: Buffer; start: number; hash: Hash }> {
    const fresh = async () => ({
      handle: await open(connection, path, openNew),
      start: 0,
      hash: createHash('sha256'),
    });
    if (!resumable) return await fresh();
    try {
      return await fresh();
    } catch (error) {
      if (statusOf(error) !== sftpStatus.failure) throw error;
      const there = await lstat(connection, path);
      if (there === undefined) throw error;
      if (there.kind !== 'file' || there.size > body.size) {
        await remove(connection, path);
        return await fresh();
      }
      const handle = await open(connection, path, openExisting);
      const { length, hash } = await matchingStart(connection, handle, body, there.size, signal);
      if (length > 0) onProgress?.(length);
      return { handle, start: length, hash };
    }
  }

  /** Makes the temporary file durable and looks at its size, in one round trip. */
  private async finish(connection: SftpConnection, handle: Buffer, key: string, size: number): Promise<void> {
    const sync = connection.offers('fsync@openssh.com')
      ? connection.call((sftp, answer) => sftp.ext_openssh_fsync(handle, answer))
      : Promise.resolve();
    const [, info] = await Promise.all([sync, fstat(connection, handle), close(connection, handle)]);
    if (info.size !== size) {
      throw new HoldfastError('DestinationFailed', `${this.labelOf(key)}: ${info.size} of ${size} bytes were written`);
    }
  }

  /** Gives the finished file its name, durably. */
  private async publish(connection: SftpConnection, path: string, target: string, folder: FolderHandle): Promise<void> {
    if (connection.offers('posix-rename@openssh.com')) {
      const renamed = connection.call((sftp, answer) => sftp.ext_openssh_rename(path, target, answer));
      // Sent right behind it, it syncs what the rename did.
      await Promise.all([renamed, folder.sync()]);
      return;
    }
    // Version 3's rename refuses to replace. Content that replaces other content is a record that can be written again.
    await rename(connection, path, target).catch(async (error) => {
      if (statusOf(error) !== sftpStatus.failure) throw error;
      await remove(connection, target);
      await rename(connection, path, target);
    });
    await folder.sync();
  }

  /** Gives the finished file its name unless that is taken: link() is atomic about that. */
  private async publishNew(connection: SftpConnection, key: string, path: string, target: string): Promise<void> {
    if (!connection.offers('hardlink@openssh.com')) {
      await this.publishNewUnderLock(connection, key, path, target);
      return;
    }
    try {
      await connection.call((sftp, answer) => sftp.ext_openssh_hardlink(path, target, answer));
    } catch (error) {
      const status = statusOf(error);
      if (status === undefined || status === sftpStatus.noSuchFile) throw error;
      if ((await lstat(connection, target)) !== undefined) throw this.objectExists(key);
      await this.publishNewUnderLock(connection, key, path, target);
    }
  }

  /** For servers and file systems without links: a lock file makes check and rename one step. */
  private async publishNewUnderLock(
    connection: SftpConnection,
    key: string,
    path: string,
    target: string,
  ): Promise<void> {
    const digest = createHash('sha256').update(key).digest('hex').slice(0, 32);
    const lock = posix.join(posix.dirname(target), `${temporaryPrefix}lock-${digest}`);
    for (const began = Date.now(); ; await sleep(50)) {
      const handle = await open(connection, lock, openNew).catch(async (error) => {
        if (statusOf(error) !== sftpStatus.failure || (await lstat(connection, lock)) === undefined) throw error;
        return undefined;
      });
      if (handle !== undefined) {
        await close(connection, handle);
        break;
      }
      if (Date.now() - began > staleLockMs) await remove(connection, lock);
    }
    try {
      if ((await lstat(connection, target)) !== undefined) throw this.objectExists(key);
      await rename(connection, path, target);
    } finally {
      await remove(connection, lock).catch(() => {});
    }
  }

  /** Creates a folder below the root and those between, never the root itself. */
  private makeFolder(connection: SftpConnection, path: string): Promise<void> {
    if (path === this.root) return Promise.resolve();
    const known = this.folders.get(path);
    if (known !== undefined) return known;
    const made = (async () => {
      const above = this.makeFolder(connection, posix.dirname(path));
      // Asked for at once, behind the one above.
      const early = this.makeOne(connection, path);
      early.catch(() => {});
      await above;
      await early.catch(async (error: unknown) => {
        if (statusOf(error) !== sftpStatus.noSuchFile) throw error;
        await this.makeOne(connection, path);
      });
    })();
    this.folders.set(path, made);
    made.catch(() => this.folders.delete(path));
    return made;
  }

  private async makeOne(connection: SftpConnection, path: string): Promise<void> {
    const above = new FolderHandle(connection, posix.dirname(path));
    const made = connection.call((sftp, answer) => sftp.mkdir(path, { mode: 0o700 }, answer));
    // Asked right behind it: version 3 has no status for "it exists already".
    const there = isFolder(connection, path);
    there.catch(() => {});
    await made.catch(async (error: unknown) => {
      if (statusOf(error) !== sftpStatus.failure || !(await there)) throw error;
    });
    await above.sync();
    above.close();
  }

  private walk(
    prefix: string,
    signal: AbortSignal | undefined,
    wanted: (name: string) => boolean,
  ): AsyncGenerator<Entry> {
    const action = `listing ${prefix === '' ? 'everything' : prefix}`;
    const top = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    const read = (folder: string, ended: AbortSignal): Promise<FolderContent<Entry>> =>
      this.run(action, AbortSignal.any(signal === undefined ? [ended] : [signal, ended]), async (connection) => {
        const path = posix.join(this.root, folder).replace(/(.)\/$/, '$1');
        const listing = listFolder(connection, path, signal);
        const root = folder === top ? isFolder(connection, this.root) : undefined;
        root?.catch(() => {});
        const found = await listing;
        if (found === undefined) this.folders.delete(path);
        else if (path !== this.root) this.folders.set(path, Promise.resolve());
        if (found === undefined) {
          await this.checkRoot(connection, root);
          return { files: [], folders: [] };
        }
        return {
          files: found
            .filter(({ name, info }) => info.kind === 'file' && wanted(name))
            .map(({ name, info }) => ({ path: posix.join(path, name), key: folder + name, info })),
          folders: found.filter(({ info }) => info.kind === 'folder').map(({ name }) => `${folder}${name}/`),
        };
      });
    const known = [...this.folders.keys()].map((path) => `${posix.relative(this.root, path)}/`);
    return walkFolders(prefix, read, foldersAtOnce, known);
  }

  /** @param asked whether it is there, when that was asked before */
  private async checkRoot(connection: SftpConnection, asked = isFolder(connection, this.root)): Promise<void> {
    if (!(await asked)) throw this.missing(`${this.root} is not there`);
  }

  private async rejectAbsent(connection: SftpConnection, error: unknown): Promise<never> {
    if (statusOf(error) === sftpStatus.noSuchFile) await this.checkRoot(connection);
    throw error;
  }

  private missing(why: string): HoldfastError {
    return new HoldfastError('DestinationMissing', `${this.label}: ${why}`, {
      hint: 'Mount the disk there, or create the folder if it never existed.',
    });
  }

  private objectMissing(key: string): HoldfastError {
    return new HoldfastError('ObjectMissing', `There is no ${this.labelOf(key)} (${this.root})`);
  }

  private objectExists(key: string): HoldfastError {
    return new HoldfastError('ObjectExists', `There is already a ${this.labelOf(key)} (${this.root})`);
  }

  private translate(action: string, error: unknown, signal?: AbortSignal): HoldfastError {
    if (error instanceof HoldfastError) return error;
    if (isAbort(error) || (signal?.aborted && error === signal.reason))
      return cancelled(`${action} at ${this.label}`, error);
    return sftpError(this.label, action, error);
  }

  /** Version 3 has one status for a full disk, a read-only one and all else: asks the file system which it is. */
  private async diagnosed(connection: SftpConnection, action: string, error: unknown): Promise<unknown> {
    if (statusOf(error) !== sftpStatus.failure) return error;
    const space = await spaceOf(connection, this.root).catch(() => undefined);
    if (space?.readOnly) {
      return new HoldfastError('DestinationReadOnly', `${this.label}: the file system is read-only while ${action}`, {
        hint: 'Mount it writable. A disk with errors is often remounted read-only: look at the system log there.',
        cause: error,
      });
    }
    if (space !== undefined && (space.free < nearlyFull || space.freeFiles === 0)) {
      return new HoldfastError('DestinationFull', `${this.label}: there is no space left while ${action}`, {
        hint: 'Free space there, or let retention keep fewer snapshots.',
        cause: error,
      });
    }
    return error;
  }

  /** A cancelled caller waits for the cleaning up, but not for a server that does not answer. */
  private async guard<T>(action: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await withinGrace(work(), signal, cleanUpMs);
    } catch (error) {
      throw this.translate(action, error, signal);
    }
  }

  private run<T>(
    action: string,
    signal: AbortSignal | undefined,
    work: (connection: SftpConnection) => Promise<T>,
    weight: Weight = 'light',
  ): Promise<T> {
    const diagnosing = async (connection: SftpConnection): Promise<T> => {
      try {
        return await work(connection);
      } catch (error) {
        throw await this.diagnosed(connection, action, error);
      }
    };
    return this.guard(action, signal, () => this.pool.use(diagnosing, signal, weight));
  }
}

function open(connection: SftpConnection, path: string, flags: number): Promise<Buffer> {
  return connection.call<Buffer>((sftp, answer) => sftp.open(path, flags, 0o600, answer));
}

function close(connection: SftpConnection, handle: Buffer): Promise<void> {
  return connection.call((sftp, answer) => sftp.close(handle, answer));
}

function rename(connection: SftpConnection, from: string, to: string): Promise<void> {
  return connection.call((sftp, answer) => sftp.rename(from, to, answer));
}
