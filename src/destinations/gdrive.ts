import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { HoldfastError } from '../errors.js';
import { Attempts, unlessSilent } from './attempts.js';
import { openBody } from './body.js';
import type { GoogleDriveDestinationConfig } from './config.js';
import type { Body, Destination, ObjectInfo, PutOptions } from './destination.js';
import { digestBody } from './digests.js';
import { byAge, DriveClient, type DriveFile } from './gdrive-client.js';
import { googleCredentials, googleTokens } from './gdrive-credentials.js';
import { driveError } from './gdrive-errors.js';
import { DriveFiles } from './gdrive-files.js';
import { DriveFolders, groupFolders, isFolder, split } from './gdrive-folders.js';
import { AfterRename, DriveUploads } from './gdrive-upload.js';
import { checkKey, checkPrefix, temporaryPrefix } from './keys.js';
import { headerOf } from './service-errors.js';
import { collect, emptyStream, guarded, tooLarge } from './streams.js';
import type { AccessTokens } from './tokens.js';
import { UploadRecords } from './upload-records.js';

const foldersAtOnce = 8;
/** A claim on an exclusive object older than this was left behind by a crash. */
const staleClaimMs = 10 * 60_000;
/** How often the chosen file may be replaced by another while it is being opened. */
const reopenings = 10;

interface Place {
  /** Below the root, '' for the root itself. */
  folder: string;
  name: string;
}

/**
 * A folder of Google Drive. Objects are files in folders, by their names. A drive allows several files of one name:
 * the newest counts, older ones are deleted by the next put or sweep. An object is uploaded under a temporary name,
 * checked and then renamed.
 */
export class GoogleDriveDestination implements Destination {
  readonly type = 'gdrive';
  private readonly label: string;
  private readonly tokens: AccessTokens;
  private readonly client: DriveClient;
  private readonly attempts: Attempts;
  private readonly files: DriveFiles;
  private readonly folders: DriveFolders;
  private readonly uploads: DriveUploads;

  /** @param state the folder that keeps tokens and unfinished uploads. Throws `ConfigInvalid`. */
  constructor(
    readonly name: string,
    private readonly config: GoogleDriveDestinationConfig,
    state: string,
  ) {
    this.label = `Destination "${name}" (Google Drive)`;
    this.tokens = googleTokens(name, config, googleCredentials(name, config), state);
    this.client = new DriveClient(this.label, this.tokens, config.endpoint);
    this.attempts = new Attempts((action, error, signal) => this.translate(action, error, signal));
    this.files = new DriveFiles(this.client, this.attempts, config.driveId, config.trash ?? false);
    this.folders = new DriveFolders(this.files, this.label, config.folderId ?? config.driveId);
    this.uploads = new DriveUploads(this.files, this.attempts, new UploadRecords(state, name));
  }

  async ensureRoot(signal?: AbortSignal): Promise<void> {
    await this.attempts.run('looking for the folder', signal, () => this.folders.ensureRoot(signal));
  }

  async put(key: string, body: Body, options: PutOptions = {}): Promise<void> {
    checkKey(key);
    await options.after;
    const { signal } = options;
    await this.attempts.run(`storing ${key}`, signal, async () => {
      const opened = await openBody(body);
      try {
        const md5 = createHash('md5');
        const sha256 = await digestBody(key, opened, options.sha256, [md5], signal);
        const sums = { md5: md5.digest('hex'), sha256 };
        await this.refound(signal, async () => {
          const place = split(key);
          const parent = await this.folders.make(place.above, signal);
          const at: Place = { folder: place.above, name: place.name };
          if (options.exclusive && (await this.named(at, [at.name], signal)).length > 0) throw this.objectExists(key);
          const name = temporaryName(key, options.exclusive ?? false);
          const upload = { key, body: opened, sha256, name, parent, options };
          await this.uploads.store(upload, async (file) => {
            this.check(key, opened.size, sums, file);
            signal?.throwIfAborted();
            if (options.exclusive) await this.publishNew(key, at, file, signal);
            else await this.publish(key, at, file, signal);
          });
        });
      } finally {
        await opened.close();
      }
    });
  }

  async get(key: string, options: { start?: number; end?: number; signal?: AbortSignal } = {}): Promise<Readable> {
    checkKey(key);
    const { signal } = options;
    const action = `reading ${key}`;
    return await this.attempts.run(action, signal, async () => {
      for (let attempt = 1; ; attempt++) {
        const file = await this.chosen(key, signal);
        if (file === undefined) throw await this.objectMissing(key, signal);
        try {
          return await this.open(action, key, file, options);
        } catch (error) {
          // Another writer has replaced it since it was found.
          const isGone = error instanceof HoldfastError && error.code === 'ObjectMissing';
          if (!isGone || attempt >= reopenings) throw error;
        }
      }
    });
  }

  async read(key: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<Buffer> {
    const { maxBytes, signal } = options;
    const label = this.labelOf(key);
    checkKey(key);
    return await this.attempts.repeat(`reading ${key}`, signal, async () => {
      const info = await this.stat(key, signal);
      if (info === undefined) throw await this.objectMissing(key, signal);
      if (info.size > maxBytes) throw tooLarge(label, maxBytes);
      return await collect(await this.get(key, { signal }), label, maxBytes);
    });
  }

  async stat(key: string, signal?: AbortSignal): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return await this.attempts.run(`looking at ${key}`, signal, async () => {
      const file = await this.chosen(key, signal);
      if (file !== undefined) return infoOf(key, file);
      await this.folders.checkRoot(signal);
      return undefined;
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    for await (const { folder, files } of this.walk(prefix, signal)) {
      const newest = new Map<string, DriveFile>();
      for (const file of files) if (!file.name.startsWith(temporaryPrefix)) newest.set(file.name, file);
      for (const [name, file] of newest) {
        const key = keyOf(folder, name);
        if (key.startsWith(prefix)) yield infoOf(key, file);
      }
    }
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    checkKey(key);
    const action = `deleting ${key}`;
    await this.attempts.run(action, signal, () =>
      this.refound(signal, async () => {
        const { above, name } = split(key);
        // Oldest first: the one that counts goes last, so that no older one shows in between.
        for (const { id } of await this.named({ folder: above, name }, [name], signal)) {
          await this.files.remove(action, id, signal);
        }
      }),
    );
  }

  /** From the `Date` header of an answer (whole seconds). */
  async now(signal?: AbortSignal): Promise<Date> {
    const action = 'reading the clock';
    const { headers } = await this.attempts.repeat(action, signal, () => this.about('kind', signal));
    const date = new Date(headerOf(headers, 'date') ?? '');
    if (!Number.isNaN(date.getTime())) return date;
    throw new HoldfastError('DestinationFailed', `${this.label}: answers without a Date`, { retryable: false });
  }

  /** The account's storage, where it is limited; a shared drive's is its organization's. */
  async space(signal?: AbortSignal): Promise<{ free: number; total: number } | undefined> {
    if (this.config.driveId !== undefined) return undefined;
    const { data } = await this.attempts.repeat('asking for free space', signal, () =>
      this.about('storageQuota', signal),
    );
    const total = Number(data.storageQuota?.limit ?? 0);
    if (total === 0) return undefined;
    return { free: Math.max(0, total - Number(data.storageQuota?.usage ?? 0)), total };
  }

  /** Who is logged in, for people. */
  async account(signal?: AbortSignal): Promise<string> {
    const { data } = await this.attempts.repeat('asking who is logged in', signal, () => this.about('user', signal));
    return data.user?.emailAddress ?? data.user?.displayName ?? 'an unknown account';
  }

  async sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number> {
    const before = (await this.now(signal)).getTime() - olderThanMs;
    let removed = await this.attempts.run(`sweeping ${prefix}`, signal, () =>
      this.uploads.sweep(prefix, olderThanMs, signal),
    );
    for await (const { folder, files } of this.walk(prefix, signal)) {
      const newest = new Map(files.map((file) => [file.name, file]));
      for (const file of files) {
        const isLeft = file.name.startsWith(temporaryPrefix) || newest.get(file.name) !== file;
        if (!isLeft || Date.parse(file.created) >= before || !keyOf(folder, file.name).startsWith(prefix)) continue;
        await this.attempts.run(`sweeping ${prefix}`, signal, () => this.files.remove('sweeping', file.id, signal));
        removed += 1;
      }
    }
    return removed;
  }

  async close(): Promise<void> {}

  private about(fields: string, signal?: AbortSignal) {
    return this.client.call(signal, (options) => this.client.drive.about.get({ fields }, options));
  }

  /** Compares what arrived with what was sent. */
  private check(key: string, size: number, sums: { md5: string; sha256: string }, file: DriveFile): void {
    const same =
      file.size === size &&
      (file.md5 !== undefined || file.sha256 !== undefined) &&
      (file.md5 ?? sums.md5) === sums.md5 &&
      (file.sha256 ?? sums.sha256) === sums.sha256;
    if (same) return;
    throw new HoldfastError('IntegrityMismatch', `${this.labelOf(key)}: the bytes that arrived have another checksum`, {
      retryable: true,
    });
  }

  /** Gives a checked file its name and removes those that it replaces. */
  private async publish(key: string, at: Place, file: DriveFile, signal?: AbortSignal): Promise<void> {
    const action = `storing ${key}`;
    await this.files.rename(action, file.id, at.name, signal);
    try {
      const all = await this.namesakes(at, file, signal);
      const newest = all.at(-1);
      for (const other of all) if (other !== newest) await this.files.remove(action, other.id, signal);
    } catch (error) {
      throw error instanceof FolderGone ? error : new AfterRename(error);
    }
  }

  /**
   * Gives a checked file its name if nobody has it. Drive knows no condition for that, so everybody who wants a name
   * first shows a file under the same temporary name: the oldest of these wins, the others step back.
   */
  private async publishNew(key: string, at: Place, file: DriveFile, signal?: AbortSignal): Promise<void> {
    const seen = await this.named(at, [at.name, file.name], signal);
    const isAlive = (other: DriveFile): boolean => Date.parse(file.created) - Date.parse(other.created) < staleClaimMs;
    const rivals = seen.filter((other) => other.name === at.name || (byAge(other, file) < 0 && isAlive(other)));
    if (rivals.some(({ id }) => id !== file.id)) throw this.objectExists(key);
    await this.files.rename(`storing ${key}`, file.id, at.name, signal);
    const [oldest] = await this.namesakes(at, file, signal);
    if (oldest !== undefined && oldest.id !== file.id) throw this.objectExists(key);
  }

  /** The files that bear a name now, oldest first, ours among them. Throws FolderGone when ours went to the trash with its folder. */
  private async namesakes(at: Place, file: DriveFile, signal?: AbortSignal): Promise<DriveFile[]> {
    const all = await this.named(at, [at.name], signal);
    if (all.some(({ id }) => id === file.id)) return all;
    const ours = await this.files.get('looking at what was stored', file.id, signal);
    if (ours?.trashed) throw new FolderGone(`${this.label}: the folder ${at.folder} went to the trash`);
    // A newer one has replaced it already, or the search is late.
    return ours === undefined ? all : [...all, ours].sort(byAge);
  }

  /** The files of these names in every folder of this path, oldest first. */
  private async named(at: Place, names: string[], signal?: AbortSignal): Promise<DriveFile[]> {
    const found: DriveFile[] = [];
    for (const folder of await this.folders.find(at.folder, signal)) {
      found.push(...(await this.files.children(`looking for ${at.name}`, folder, names, signal)));
    }
    return found.filter((file) => !isFolder(file)).sort(byAge);
  }

  /** The file that an object is: the newest of its name. */
  private chosen(key: string, signal?: AbortSignal): Promise<DriveFile | undefined> {
    return this.refound(signal, async () => {
      const { above, name } = split(key);
      return (await this.named({ folder: above, name }, [name], signal)).at(-1);
    });
  }

  private async open(
    action: string,
    key: string,
    file: DriveFile,
    options: { start?: number; end?: number; signal?: AbortSignal },
  ): Promise<Readable> {
    const { start = 0, end = file.size, signal } = options;
    const label = this.labelOf(key);
    if (end > file.size || start > end) {
      const short = `${label} ends at byte ${file.size}, before byte ${Math.max(start, end)}`;
      throw new HoldfastError('IntegrityMismatch', short);
    }
    if (start === end) return emptyStream();
    const whole = start === 0 && end === file.size;
    const range = whole ? undefined : `bytes=${start}-${end - 1}`;
    const { status, stream } = await this.attempts.repeat(action, signal, () =>
      this.client.download(signal, file.id, range),
    );
    if (!whole && status !== 206) {
      stream.on('error', () => {});
      stream.destroy();
      throw new HoldfastError('DestinationFailed', `${this.label}: does not answer ranges`, { retryable: false });
    }
    const translate = (error: unknown): HoldfastError => this.translate(action, error, signal);
    return unlessSilent(guarded(stream, { expected: end - start, label, translate, signal }), stream, this.label);
  }

  /** Every folder below `prefix` with its files, oldest first, several folders at a time. */
  private async *walk(
    prefix: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<{ folder: string; files: DriveFile[] }> {
    checkPrefix(prefix);
    const action = `listing ${prefix === '' ? 'everything' : prefix}`;
    const top = prefix.slice(0, Math.max(prefix.lastIndexOf('/'), 0));
    const ids = await this.attempts.run(action, signal, async () => {
      await this.folders.checkRoot(signal);
      return await this.folders.find(top, signal);
    });
    const waiting = ids.length === 0 ? [] : [{ folder: top, ids }];
    const running = new Map<number, Promise<{ id: number; folder: string; children: DriveFile[] }>>();
    let next = 0;
    const start = (one: { folder: string; ids: string[] }): void => {
      const id = next++;
      const reading = this.attempts.run(action, signal, async () => {
        const all = await Promise.all(one.ids.map((folder) => this.childrenOf(action, folder, signal)));
        return { id, folder: one.folder, children: all.flat().sort(byAge) };
      });
      // When the caller stops early nobody awaits this one.
      reading.catch(() => {});
      running.set(id, reading);
    };
    while (waiting.length > 0 || running.size > 0) {
      while (running.size < foldersAtOnce) {
        const one = waiting.pop();
        if (one === undefined) break;
        start(one);
      }
      const { id, folder, children } = await Promise.race(running.values());
      running.delete(id);
      for (const [name, found] of groupFolders(children)) {
        const path = keyOf(folder, name);
        if (`${path}/`.startsWith(prefix) || prefix.startsWith(`${path}/`)) waiting.push({ folder: path, ids: found });
      }
      yield { folder, files: children.filter((file) => !isFolder(file)) };
    }
  }

  private async childrenOf(action: string, folder: string, signal?: AbortSignal): Promise<DriveFile[]> {
    try {
      return await this.files.children(action, folder, undefined, signal);
    } catch (error) {
      // Deleted since its parent was read: what was in it is gone.
      if (error instanceof HoldfastError && error.code === 'ObjectMissing') return [];
      throw error;
    }
  }

  /** Does `work`, and once more from fresh ids when a folder that was known is gone. */
  private async refound<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const isGone = error instanceof FolderGone || (error instanceof HoldfastError && error.code === 'ObjectMissing');
      if (!isGone) throw error;
      this.folders.forget();
      await this.folders.checkRoot(signal);
      return await work();
    }
  }

  private labelOf(key: string): string {
    return `${key} at destination "${this.name}"`;
  }

  private async objectMissing(key: string, signal?: AbortSignal): Promise<HoldfastError> {
    await this.folders.checkRoot(signal);
    return new HoldfastError('ObjectMissing', `There is no ${this.labelOf(key)} (Google Drive)`);
  }

  private objectExists(key: string): HoldfastError {
    return new HoldfastError('ObjectExists', `${this.label}: there is already a ${key}`);
  }

  private translate(action: string, error: unknown, signal?: AbortSignal): HoldfastError {
    return driveError({ label: this.label, secrets: () => this.tokens.secrets() }, action, error, signal);
  }
}

/** A folder whose id was known is not there any more. */
class FolderGone extends HoldfastError {
  constructor(message: string) {
    super('DestinationFailed', message, { hint: 'Who tidies up the drive?' });
  }
}

function infoOf(key: string, { size, modified }: DriveFile): ObjectInfo {
  return { key, size, modified };
}

function keyOf(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

/** The same for everybody who stores this key, so that rivals find each other and a crash leaves one name to sweep. */
function temporaryName(key: string, exclusive: boolean): string {
  const hash = createHash('sha256').update(key).digest('hex').slice(0, 32);
  return `${temporaryPrefix}${hash}${exclusive ? '-new' : ''}`;
}
