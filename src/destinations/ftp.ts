import { createHash, type Hash, randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FileInfo } from 'basic-ftp';
import { errnoOf, HoldfastError } from '../errors.js';
import { digestMismatch, type OpenBody, openBody, piecesOf, sha256Of } from './body.js';
import { cancelled, isAbort, withinGrace } from './cancelled.js';
import type { FtpDestinationConfig } from './config.js';
import type { Body, Destination, ObjectInfo, PutOptions } from './destination.js';
import type { FtpConnection } from './ftp-connection.js';
import { ftpError, isAbsent, refusesToWrite, replyOf } from './ftp-errors.js';
import { modifiedOf } from './ftp-list.js';
import { type FtpReply, pipelined, refusalOf } from './ftp-pipeline.js';
import { FtpPool } from './ftp-pool.js';
import { plainPath, StatLists } from './ftp-stat-list.js';
import { digestOf, download, nothing, serverDigest, upload } from './ftp-transfer.js';
import { checkKey, temporaryPrefix } from './keys.js';
import { type FolderContent, walkFolders } from './remote-walk.js';
import { collect, emptyStream, guarded, tooLarge } from './streams.js';
import { type TemporaryName, TemporaryNames } from './temporary.js';

const localPiece = 256 * 1024;
const cleanUpMs = 2000;
/** So few that a server has read them before it fails: what is left unread takes the connection, and the reply, along. */
const probeBytes = 16 * 1024;
const probeMs = 10_000;
/** A lock that does not go away for this long was left behind by a crash. */
const staleLockMs = 60_000;
/** Each takes a connection of its own. */
const foldersAtOnce = 8;
/** All of them may go over one connection. */
const foldersByStat = 256;
/** Exclusive objects are small records; those are read back. */
const readBackLimit = 8 * 1024 * 1024;

/** A folder on an FTP server, with TLS or without. Nothing in FTP makes a server sync what it took to its disk. */
export class FtpDestination implements Destination {
  readonly type = 'ftp';
  private readonly pool: FtpPool;
  private readonly label: string;
  private readonly stats: StatLists;
  private readonly temporaries = new TemporaryNames();
  /** Folders that are known to exist, relative to the root, so that only their first object pays for that. */
  private readonly folders = new Map<string, Promise<void>>();
  /** Exclusive puts of one key come one after the other; those of other processes are held off by a lock folder. */
  private readonly turns = new Map<string, Promise<void>>();
  /** Lock folders that could not be removed, and when. */
  private readonly leftLocks = new Map<string, number>();

  constructor(
    readonly name: string,
    private readonly config: FtpDestinationConfig,
  ) {
    this.label = `Destination "${name}" (${config.user}@${config.host}:${config.path})`;
    this.pool = new FtpPool(`Destination "${name}"`, config);
    this.stats = new StatLists(this.pool);
  }

  async ensureRoot(signal?: AbortSignal): Promise<void> {
    await this.run('looking for its folder', signal, async (connection) => {
      const { root } = connection;
      if (await isFolder(connection, root)) return;
      const above = posix.dirname(root);
      if (!(await isFolder(connection, above))) throw this.missing(`${above} does not exist`);
      await makeChain(connection, [root]);
    });
  }

  async put(key: string, body: Body, options: PutOptions = {}): Promise<void> {
    checkKey(key);
    // It may fail long before it is waited for.
    options.after?.catch(() => {});
    const action = `storing ${key}`;
    const opened = await this.guard(action, options.signal, () => openBody(body));
    try {
      const work = (): Promise<void> => this.store(action, key, opened, options);
      await (options.exclusive ? this.inTurn(key, work) : work());
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
      let given = false;
      try {
        const size = await this.sizeOf(connection, key);
        const { start = 0, end = size } = options;
        if (end > size || start > end) {
          throw new HoldfastError(
            'IntegrityMismatch',
            `${label} ends at byte ${size}, before byte ${Math.max(start, end)}`,
          );
        }
        if (start === end) return emptyStream();
        const { stream, done } = download(connection, pathOf(connection, key), start, end, size);
        given = true;
        void done.then(() => this.pool.give(connection));
        const translate = (error: unknown): HoldfastError => this.translate(action, error, signal);
        return guarded(stream, { expected: end - start, label, translate, signal });
      } finally {
        if (!given) this.pool.give(connection);
      }
    });
  }

  async read(key: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<Buffer> {
    checkKey(key);
    const { maxBytes, signal } = options;
    const label = this.labelOf(key);
    const action = `reading ${key}`;
    return await this.run(action, signal, async (connection) => {
      const size = await this.sizeOf(connection, key);
      if (size > maxBytes) throw tooLarge(label, maxBytes);
      if (size === 0) return Buffer.alloc(0);
      const { stream, done } = download(connection, pathOf(connection, key), 0, size, size);
      const translate = (error: unknown): HoldfastError => this.translate(action, error, signal);
      try {
        return await collect(guarded(stream, { expected: size, label, translate, signal }), label, maxBytes);
      } finally {
        await done;
      }
    });
  }

  async stat(key: string, signal?: AbortSignal): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return await this.run(`looking at ${key}`, signal, async (connection) => {
      const size = await this.sizeIfThere(connection, key);
      if (size === undefined) return undefined;
      const modified = await modificationTime(connection, pathOf(connection, key));
      return { key, size, modified: modified ?? new Date(0) };
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    for await (const info of this.walk(prefix, signal, (name) => !name.startsWith(temporaryPrefix))) {
      if (info.key.startsWith(prefix)) yield info;
    }
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    checkKey(key);
    await this.run(`deleting ${key}`, signal, async (connection) => {
      if (!(await remove(connection, pathOf(connection, key)))) await this.checkRoot(connection);
    });
  }

  /** The modification time of a file made for it (whole seconds); this machine's where the server has no MDTM. */
  async now(signal?: AbortSignal): Promise<Date> {
    return await this.run('reading the clock', signal, async (connection) => {
      const path = posix.join(connection.root, `${temporaryPrefix}${process.pid}-${randomBytes(8).toString('hex')}`);
      await upload(connection, 'STOR', path, nothing()).catch((error: unknown) => this.rejectAbsent(connection, error));
      try {
        return (await modificationTime(connection, path)) ?? new Date();
      } finally {
        await remove(connection, path);
      }
    });
  }

  async space(): Promise<undefined> {
    return undefined;
  }

  async sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number> {
    const before = (await this.now(signal)).getTime() - olderThanMs;
    let removed = 0;
    for await (const { key } of this.walk(prefix, signal, (name) => name.startsWith(temporaryPrefix))) {
      if (!key.startsWith(prefix)) continue;
      const gone = await this.run(`sweeping ${key}`, signal, async (connection) => {
        const path = pathOf(connection, key);
        const modified = await modificationTime(connection, path);
        return modified !== undefined && modified.getTime() < before && (await remove(connection, path));
      });
      if (gone) removed += 1;
    }
    return removed;
  }

  warm(): void {
    this.pool.warm();
  }

  async close(): Promise<void> {
    this.pool.close();
  }

  private labelOf(key: string): string {
    return `${key} at destination "${this.name}"`;
  }

  /** Sends the object under a temporary name, then gives it its own. Between the two, while it waits for `after`, no connection is held. */
  private async store(action: string, key: string, body: OpenBody, options: PutOptions): Promise<void> {
    const { signal, after } = options;
    const temporary = this.temporaries.take(key, body.size, options.sha256);
    const step = (work: (connection: FtpConnection, path: string) => Promise<void>): Promise<void> =>
      this.run(action, signal, (connection) => this.step(connection, key, temporary, work, signal));
    const send = (connection: FtpConnection, path: string): Promise<void> =>
      this.arrive(connection, key, path, temporary.resumable, body, options);
    const name = (connection: FtpConnection, path: string): Promise<void> =>
      options.exclusive
        ? this.publishNew(connection, key, path, body, signal)
        : publish(connection, path, pathOf(connection, key));
    try {
      if (after === undefined) {
        await step(async (connection, path) => {
          await send(connection, path);
          await name(connection, path);
        });
        return;
      }
      await step(send);
      await after.catch(async (error: unknown) => {
        await this.run('cleaning up', signal, (connection) =>
          remove(connection, temporaryPath(connection, key, temporary)),
        ).catch(() => {});
        throw error;
      });
      await step(name);
    } finally {
      temporary.release();
    }
  }

  /** One step of storing an object. When it fails, the temporary file goes, or stays for the next attempt to go on with. */
  private async step(
    connection: FtpConnection,
    key: string,
    temporary: TemporaryName,
    work: (connection: FtpConnection, path: string) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void> {
    const path = temporaryPath(connection, key, temporary);
    try {
      await work(connection, path);
    } catch (raw) {
      // Before the temporary file goes, which may be what fills the disk.
      const error = await this.reasonFor(raw, posix.dirname(path), signal);
      // What did arrive is where the next attempt goes on.
      const { code } = this.translate('', error, signal);
      const goesOn = temporary.resumable && code === 'DestinationUnreachable' && !signal?.aborted;
      if (!goesOn) await this.cleanUp(connection, path);
      throw error;
    }
  }

  private async arrive(
    connection: FtpConnection,
    key: string,
    path: string,
    resumable: boolean,
    body: OpenBody,
    options: PutOptions,
  ): Promise<void> {
    const folder = posix.dirname(key);
    await this.ensureFolder(connection, folder);
    const { start, hash } = resumable
      ? await this.resumeAt(connection, path, body, options)
      : { start: 0, hash: createHash('sha256') };
    await this.send(connection, key, path, folder, body, start, hash, options);
    await this.verify(connection, key, path, body, hash, options);
  }

  /** How much of an earlier upload of the same object is there: all of it is read back and compared, else it goes. */
  private async resumeAt(
    connection: FtpConnection,
    path: string,
    body: OpenBody,
    { signal, onProgress }: PutOptions,
  ): Promise<{ start: number; hash: Hash }> {
    const nothing = { start: 0, hash: createHash('sha256') };
    const size = await fileSize(connection, path);
    if (size === undefined || size === 0) return nothing;
    if (size <= body.size) {
      const found = await digestOf(connection, path, size, signal);
      const hash = await hashOf(body, size, signal);
      if (found.equals(hash.copy().digest())) {
        onProgress?.(size);
        return { start: size, hash };
      }
    }
    await remove(connection, path);
    return nothing;
  }

  private async send(
    connection: FtpConnection,
    key: string,
    path: string,
    folder: string,
    body: OpenBody,
    start: number,
    hash: Hash,
    options: PutOptions,
  ): Promise<void> {
    const { signal, sha256 } = options;
    const transfer = async (): Promise<void> => {
      // Made for each try: the library ends a stream that failed.
      const source =
        body.size === 0
          ? nothing()
          : Readable.from(pieces(body, start, hash, options), { objectMode: false, highWaterMark: localPiece });
      await upload(connection, start > 0 ? 'APPE' : 'STOR', path, source);
    };
    if (start === 0 || start < body.size) {
      try {
        await transfer();
      } catch (error) {
        signal?.throwIfAborted();
        const reply = replyOf(error);
        if (reply !== 550 && reply !== 553) throw error;
        // A folder known from before may be gone.
        this.folders.clear();
        await this.checkRoot(connection);
        if (folder !== '.' && (await isFolder(connection, posix.join(connection.root, folder)))) throw error;
        await this.ensureFolder(connection, folder);
        await transfer();
      }
    }
    signal?.throwIfAborted();
    if (sha256 !== undefined && hash.copy().digest('hex') !== sha256) throw digestMismatch(key);
  }

  /** Whether the server has what was sent, as well as the config and the server allow. */
  private async verify(
    connection: FtpConnection,
    key: string,
    path: string,
    body: OpenBody,
    hash: Hash,
    { signal }: PutOptions,
  ): Promise<void> {
    const size = await fileSize(connection, path);
    if (size !== body.size) {
      throw new HoldfastError('DestinationFailed', `${this.labelOf(key)}: ${size ?? 0} of ${body.size} bytes arrived`);
    }
    const { verify, tls } = this.config;
    if (verify === 'size' || size === 0) return;
    const expected = hash.copy().digest();
    const told = verify === 'auto' ? await serverDigest(connection, path) : undefined;
    if (told === undefined && verify === 'auto' && tls !== 'off') return;
    const found = told ?? (await digestOf(connection, path, size, signal));
    if (!found.equals(expected)) {
      throw new HoldfastError('IntegrityMismatch', `${this.labelOf(key)}: other bytes are stored than were sent`, {
        hint: 'Something on the way changes what is sent. Use `tls: explicit`.',
        retryable: true,
      });
    }
  }

  /** Gives the finished file its name unless that is taken. FTP's one step that only one can take is making a folder. */
  private async publishNew(
    connection: FtpConnection,
    key: string,
    path: string,
    body: OpenBody,
    signal?: AbortSignal,
  ): Promise<void> {
    const target = pathOf(connection, key);
    const digest = createHash('sha256').update(key).digest('hex').slice(0, 32);
    const lock = posix.join(posix.dirname(target), `${temporaryPrefix}lock-${digest}`);
    // One that a broken connection left here is this process's own, unless somebody has broken it since.
    const left = this.leftLocks.get(lock) ?? 0;
    this.leftLocks.delete(lock);
    if (Date.now() - left < staleLockMs) await connection.client.sendIgnoringError(`RMD ${lock}`);
    try {
      for (const began = Date.now(); !(await tryLock(connection, lock)); await sleep(50, undefined, { signal })) {
        if (Date.now() - began > staleLockMs) await connection.client.sendIgnoringError(`RMD ${lock}`);
      }
    } catch (error) {
      // It may have been made all the same.
      if (connection.client.closed) this.leftLocks.set(lock, Date.now());
      throw error;
    }
    try {
      if ((await fileSize(connection, target)) !== undefined) throw this.objectExists(key);
      await rename(connection, path, target);
      if (body.size > readBackLimit || body.size === 0) return;
      const found = await digestOf(connection, target, body.size, signal);
      if (!found.equals(await sha256Of(body, 0, body.size, signal))) throw this.objectExists(key);
    } finally {
      await this.unlock(connection, lock);
    }
  }

  private async unlock({ client }: FtpConnection, lock: string): Promise<void> {
    try {
      await client.sendIgnoringError(`RMD ${lock}`);
    } catch {
      this.leftLocks.set(lock, Date.now());
    }
  }

  private async inTurn(key: string, work: () => Promise<void>): Promise<void> {
    const before = this.turns.get(key) ?? Promise.resolve();
    const mine = before.then(work);
    const settled = mine.catch(() => {});
    this.turns.set(key, settled);
    try {
      await mine;
    } finally {
      if (this.turns.get(key) === settled) this.turns.delete(key);
    }
  }

  /** A full disk may show only as a broken data connection, before the reply that explains it: a small file gets the reply. */
  private async reasonFor(error: unknown, folder: string, signal?: AbortSignal): Promise<unknown> {
    const errno = errnoOf(error);
    if (signal?.aborted || (errno !== 'ECONNRESET' && errno !== 'EPIPE')) return error;
    const path = posix.join(folder, `${temporaryPrefix}${process.pid}-${randomBytes(8).toString('hex')}`);
    const probe = async (connection: FtpConnection): Promise<unknown> => {
      try {
        await upload(connection, 'STOR', path, Readable.from([Buffer.alloc(probeBytes)], { objectMode: false }));
        return error;
      } catch (later) {
        return replyOf(later) === undefined ? error : later;
      }
    };
    // Where the line is dead, too, nobody is to wait for that.
    const patience = AbortSignal.timeout(probeMs);
    const patient = signal === undefined ? patience : AbortSignal.any([signal, patience]);
    try {
      return await this.pool.use(probe, patient);
    } catch {
      return error;
    } finally {
      await this.pool.use((connection) => remove(connection, path), patient).catch(() => {});
    }
  }

  /** A stopped transfer takes its connection along: another one removes what it left. */
  private async cleanUp(connection: FtpConnection, path: string): Promise<void> {
    const work = connection.client.closed
      ? this.pool.use((other) => remove(other, path), AbortSignal.timeout(cleanUpMs))
      : remove(connection, path);
    await work.catch(() => {});
  }

  /** @param folder a key's folder; '.' is the root, which is never made here */
  private ensureFolder(connection: FtpConnection, folder: string): Promise<void> {
    if (folder === '.') return Promise.resolve();
    const known = this.folders.get(folder);
    if (known !== undefined) return known;
    const made = this.makeFolders(connection, folder).catch(async (error: unknown) => {
      if (!isAbsent(error)) throw error;
      await this.checkRoot(connection);
      throw refusesToWrite(this.label, `making the folder ${folder}`, error);
    });
    this.folders.set(folder, made);
    made.catch(() => this.folders.delete(folder));
    return made;
  }

  /** Makes a folder and those above it that are not known to be there, in one round trip. */
  private async makeFolders(connection: FtpConnection, folder: string): Promise<void> {
    const missing: string[] = [];
    for (let one = folder; one !== '.' && !this.folders.has(one); one = posix.dirname(one)) missing.unshift(one);
    const above = this.folders.get(posix.dirname(missing[0] ?? folder));
    await above;
    await makeChain(
      connection,
      missing.map((one) => pathOf(connection, one)),
    );
    for (const one of missing) if (!this.folders.has(one)) this.folders.set(one, Promise.resolve());
  }

  private walk(
    prefix: string,
    signal: AbortSignal | undefined,
    wanted: (name: string) => boolean,
  ): AsyncGenerator<ObjectInfo> {
    const action = `listing ${prefix === '' ? 'everything' : prefix}`;
    const top = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    const read = async (folder: string, ended: AbortSignal): Promise<FolderContent<ObjectInfo>> => {
      const until = AbortSignal.any(signal === undefined ? [ended] : [signal, ended]);
      const told = await this.guard(action, until, () => this.stats.list(folder));
      const found = told ?? (await this.run(action, until, (connection) => this.listFolder(connection, folder, top)));
      if (found === undefined) return { files: [], folders: [] };
      if (folder !== '') this.folders.set(folder.replace(/\/$/, ''), Promise.resolve());
      return {
        files: found
          .filter((info) => info.isFile && wanted(info.name))
          .map((info) => ({
            key: folder + info.name,
            size: info.size,
            modified: modifiedOf(info),
          })),
        folders: found.filter((info) => info.isDirectory).map(({ name }) => `${folder}${name}/`),
      };
    };
    const known = [...this.folders.keys()].map((folder) => `${folder}/`);
    return walkFolders(prefix, read, this.stats.usable ? foldersByStat : foldersAtOnce, known);
  }

  /** What is in a folder, over a data connection; undefined where it is not there. */
  private async listFolder(connection: FtpConnection, folder: string, top: string): Promise<FileInfo[] | undefined> {
    const path = posix.join(connection.root, folder);
    // That the others are there was seen in the folders above; without that, some servers list nothing where nothing is.
    const listable = folder !== top && plainPath.test(path);
    if (!listable && !(await isFolder(connection, path))) {
      this.folders.delete(folder.replace(/\/$/, ''));
      await this.checkRoot(connection);
      return undefined;
    }
    // Else in the folder, as its name could be taken for a pattern or an option.
    const found = await connection.client.list(listable ? path : '').catch((error: unknown) => {
      if (!listable || !isAbsent(error)) throw error;
      return [];
    });
    // It is there, and STAT did not say so.
    if (found.length > 0 && plainPath.test(path)) this.stats.usable = false;
    return found;
  }

  private async sizeOf(connection: FtpConnection, key: string): Promise<number> {
    const size = await this.sizeIfThere(connection, key);
    if (size !== undefined) return size;
    throw new HoldfastError('ObjectMissing', `There is no ${this.labelOf(key)} (${connection.root})`);
  }

  /** Undefined where there is no such object in a root that is there, which is asked in the same round trip. */
  private async sizeIfThere(connection: FtpConnection, key: string): Promise<number | undefined> {
    const commands = [`SIZE ${pathOf(connection, key)}`, `CWD ${connection.root}`];
    const [size, root] = await pipelined(connection, commands);
    if (size === undefined || root === undefined) return undefined;
    const refusal = refusalOf(size);
    if (refusal === undefined) return sizeIn(size);
    if (!isAbsent(refusal)) throw refusal;
    const noRoot = refusalOf(root);
    if (noRoot === undefined) return undefined;
    throw isAbsent(noRoot) ? this.missing(`${connection.root} is not there`) : noRoot;
  }

  private async checkRoot(connection: FtpConnection): Promise<void> {
    if (!(await isFolder(connection, connection.root))) throw this.missing(`${connection.root} is not there`);
  }

  private async rejectAbsent(connection: FtpConnection, error: unknown): Promise<never> {
    const reply = replyOf(error);
    if (reply === 550 || reply === 553) await this.checkRoot(connection);
    throw error;
  }

  private missing(why: string): HoldfastError {
    return new HoldfastError('DestinationMissing', `${this.label}: ${why}`, {
      hint: 'Mount the disk there, or create the folder if it never existed.',
    });
  }

  private objectExists(key: string): HoldfastError {
    return new HoldfastError('ObjectExists', `There is already a ${this.labelOf(key)}`);
  }

  private translate(action: string, error: unknown, signal?: AbortSignal): HoldfastError {
    if (error instanceof HoldfastError) return error;
    if (isAbort(error) || (signal?.aborted && error === signal.reason))
      return cancelled(`${action} at ${this.label}`, error);
    return ftpError(this.label, action, error);
  }

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
    work: (connection: FtpConnection) => Promise<T>,
  ): Promise<T> {
    return this.guard(action, signal, () => this.pool.use(work, signal));
  }
}

function pathOf(connection: FtpConnection, key: string): string {
  return posix.join(connection.root, key);
}

function temporaryPath(connection: FtpConnection, key: string, { name }: TemporaryName): string {
  return posix.join(connection.root, posix.dirname(key), name);
}

/** Undefined where there is no file of this name. */
async function fileSize({ client }: FtpConnection, path: string): Promise<number | undefined> {
  try {
    return await client.size(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function sizeIn({ text }: FtpReply): number {
  const size = Number.parseInt(text.slice(4), 10);
  if (Number.isNaN(size)) throw new Error(`the server's answer to SIZE is no number: ${text}`);
  return size;
}

/** Undefined where the server cannot say, or the file is gone. */
async function modificationTime({ client }: FtpConnection, path: string): Promise<Date | undefined> {
  try {
    return await client.lastMod(path);
  } catch (error) {
    if (replyOf(error) !== undefined) return undefined;
    throw error;
  }
}

/** Makes it the working directory as well. */
async function isFolder({ client }: FtpConnection, path: string): Promise<boolean> {
  try {
    await client.cd(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

/** Makes folders, each in the one before it, where they are not there yet. The last one is the working directory then. */
async function makeChain(connection: FtpConnection, paths: readonly string[]): Promise<void> {
  const made = paths.map((path) => `MKD ${path}`);
  // There is no reply of its own for "it exists already".
  const replies = await pipelined(connection, [...made, `CWD ${paths.at(-1)}`]);
  const refusals = replies.map(refusalOf);
  const absent = refusals.pop();
  if (absent !== undefined) throw refusals.find((one) => one && !isAbsent(one)) ?? refusals.at(-1) ?? absent;
}

async function tryLock(connection: FtpConnection, path: string): Promise<boolean> {
  try {
    await connection.client.send(`MKD ${path}`);
    return true;
  } catch (error) {
    if (replyOf(error) === undefined) throw error;
    if (!(await isFolder(connection, path))) {
      // It went away in between, or folders cannot be made here.
      await isFolder(connection, posix.dirname(path));
      if (!isAbsent(error)) throw error;
    }
    return false;
  }
}

/** Whether the file was there. */
async function remove(connection: FtpConnection, path: string): Promise<boolean> {
  try {
    await connection.client.remove(path);
    return true;
  } catch (error) {
    if (replyOf(error) !== 550) throw error;
    if ((await fileSize(connection, path)) !== undefined) throw error;
    return false;
  }
}

async function publish(connection: FtpConnection, path: string, target: string): Promise<void> {
  try {
    await rename(connection, path, target);
  } catch (error) {
    // Some servers do not replace. What is replaced is a record that can be written again.
    if (replyOf(error) === undefined || (await fileSize(connection, target)) === undefined) throw error;
    await remove(connection, target);
    await rename(connection, path, target);
  }
}

/** Both of its commands in one round trip: where the first one is refused, the server refuses the second one as well. */
async function rename(connection: FtpConnection, path: string, target: string): Promise<void> {
  for (const reply of await pipelined(connection, [`RNFR ${path}`, `RNTO ${target}`])) {
    const refusal = refusalOf(reply);
    if (refusal !== undefined) throw refusal;
  }
}

async function* pieces(
  body: OpenBody,
  start: number,
  hash: Hash,
  { limiter, signal, onProgress }: PutOptions,
): AsyncGenerator<Uint8Array> {
  for await (const piece of piecesOf(body, start, body.size, limiter?.piece ?? localPiece)) {
    signal?.throwIfAborted();
    await limiter?.take(piece.length, signal);
    hash.update(piece);
    yield piece;
    onProgress?.(piece.length);
  }
}

async function hashOf(body: OpenBody, size: number, signal?: AbortSignal): Promise<Hash> {
  const hash = createHash('sha256');
  for await (const piece of piecesOf(body, 0, size, 1 << 20)) {
    signal?.throwIfAborted();
    hash.update(piece);
  }
  return hash;
}
