import type { Readable } from 'node:stream';
import type { files } from 'dropbox';
import { HoldfastError } from '../errors.js';
import { Attempts, unlessSilent } from './attempts.js';
import { openBody } from './body.js';
import type { DropboxDestinationConfig } from './config.js';
import type { Body, Destination, ObjectInfo, PutOptions } from './destination.js';
import { digestBody } from './digests.js';
import { DropboxClient } from './dropbox-client.js';
import { dropboxError, dropboxSummary } from './dropbox-errors.js';
import { ContentHash } from './dropbox-hash.js';
import { dropboxTokens } from './dropbox-login.js';
import { DropboxUploads } from './dropbox-upload.js';
import { checkKey, checkPrefix } from './keys.js';
import { collect, emptyStream, guarded, tooLarge } from './streams.js';
import type { AccessTokens } from './tokens.js';
import { UploadRecords } from './upload-records.js';

const pageSize = 2000;
const resets = 3;
/** How long the root, once seen, is taken to be there: Dropbox would make it again silently. */
const rootSeenMs = 60_000;

/**
 * A folder of Dropbox. Objects appear whole, when their upload is committed. Names that differ only by case are one
 * object to Dropbox: a key that differs so from what is there is refused, never taken for it.
 */
export class DropboxDestination implements Destination {
  readonly type = 'dropbox';
  private readonly label: string;
  /** '' is the whole Dropbox. */
  private readonly root: string;
  private readonly tokens: AccessTokens;
  private readonly client: DropboxClient;
  private readonly attempts: Attempts;
  private readonly uploads: DropboxUploads;
  private rootSeen = Number.NEGATIVE_INFINITY;

  /** @param state the folder that keeps tokens and unfinished uploads. */
  constructor(
    readonly name: string,
    private readonly config: DropboxDestinationConfig,
    state: string,
  ) {
    this.root = config.path.replace(/\/+$/, '');
    this.label = `Destination "${name}" (Dropbox ${config.path})`;
    this.tokens = dropboxTokens(name, config, state);
    this.client = new DropboxClient(this.label, this.tokens, config.namespace, config.endpoint);
    this.attempts = new Attempts((action, error, signal) => this.translate(action, error, signal));
    const records = new UploadRecords(state, name);
    this.uploads = new DropboxUploads(this.client, this.attempts, records, (path, signal) => this.look(path, signal));
  }

  async ensureRoot(signal?: AbortSignal): Promise<void> {
    const action = 'looking for its folder';
    await this.attempts.run(action, signal, async () => {
      if (await this.isFolder(this.root, signal)) return;
      const above = this.root.slice(0, this.root.lastIndexOf('/'));
      if (!(await this.isFolder(above, signal))) throw this.missing(above);
      await this.attempts.repeat(action, signal, async () => {
        try {
          await this.client.call(signal, (dropbox) => dropbox.filesCreateFolderV2({ path: this.root }));
        } catch (error) {
          // Somebody else, or an attempt without an answer, has made it.
          if (!/conflict\/folder/.test(dropboxSummary(error))) throw error;
        }
      });
    });
  }

  async put(key: string, body: Body, options: PutOptions = {}): Promise<void> {
    checkKey(key);
    await options.after;
    const { signal } = options;
    await this.attempts.run(`storing ${key}`, signal, async () => {
      const opened = await openBody(body);
      try {
        const hash = new ContentHash();
        const sha256 = await digestBody(key, opened, options.sha256, [hash], signal);
        const contentHash = hash.digest();
        const path = this.pathOf(key);
        if (Date.now() - this.rootSeen > rootSeenMs) await this.checkRoot(signal);
        const there = await this.look(path, signal);
        if (options.exclusive && there !== undefined) throw this.objectExists(key);
        if (there !== undefined && there.name !== lastPart(key)) throw this.differsByCase(key, there.name);
        const stored = await this.uploads.store({ key, path, body: opened, sha256, contentHash, options });
        if (stored.name !== lastPart(key)) throw this.differsByCase(key, stored.name);
        if (stored.size !== opened.size || stored.content_hash !== contentHash) {
          const message = `${this.labelOf(key)}: what was stored has another checksum`;
          throw new HoldfastError('IntegrityMismatch', message, { retryable: true });
        }
      } catch (error) {
        const found = this.translate(`storing ${key}`, error, signal);
        throw found.code === 'ObjectExists' && options.exclusive ? this.objectExists(key) : found;
      } finally {
        await opened.close();
      }
    });
  }

  async get(key: string, options: { start?: number; end?: number; signal?: AbortSignal } = {}): Promise<Readable> {
    checkKey(key);
    const { start = 0, end, signal } = options;
    const action = `reading ${key}`;
    if (start === end) return emptyStream();
    return await this.attempts.run(action, signal, async () => {
      const whole = start === 0 && end === undefined;
      const range = whole ? undefined : `bytes=${start}-${end === undefined ? '' : end - 1}`;
      const answer = await this.download(key, range, signal);
      const { stream, status, name, size } = answer;
      const problem =
        name !== lastPart(key)
          ? this.objectMissing(key)
          : range !== undefined && status !== 206
            ? new HoldfastError('DestinationFailed', `${this.label}: does not answer ranges`, { retryable: false })
            : end !== undefined && size < end
              ? new HoldfastError('IntegrityMismatch', `${this.labelOf(key)} ends at byte ${size}, before byte ${end}`)
              : undefined;
      if (problem !== undefined) {
        stream.on('error', () => {});
        stream.destroy();
        throw problem;
      }
      const translate = (error: unknown): HoldfastError => this.translate(action, error, signal);
      const expected = (end ?? size) - start;
      return unlessSilent(
        guarded(stream, { expected, label: this.labelOf(key), translate, signal }),
        stream,
        this.label,
      );
    });
  }

  async read(key: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<Buffer> {
    const { maxBytes, signal } = options;
    checkKey(key);
    return await this.attempts.repeat(`reading ${key}`, signal, async () => {
      const info = await this.stat(key, signal);
      if (info === undefined) throw this.objectMissing(key);
      if (info.size > maxBytes) throw tooLarge(this.labelOf(key), maxBytes);
      return await collect(await this.get(key, { signal }), this.labelOf(key), maxBytes);
    });
  }

  async stat(key: string, signal?: AbortSignal): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return await this.attempts.run(`looking at ${key}`, signal, async () => {
      const found = await this.look(this.pathOf(key), signal);
      if (found?.name === lastPart(key)) return infoOf(key, found);
      await this.checkRoot(signal);
      return undefined;
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    const action = `listing ${prefix === '' ? 'everything' : prefix}`;
    const top = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    await this.attempts.run(action, signal, () => this.checkRoot(signal));
    const seen = new Set<string>();
    for (let reset = 0; ; reset++) {
      try {
        for await (const { key, file } of this.pages(action, top, signal)) {
          if (seen.has(key)) continue;
          seen.add(key);
          if (key.startsWith(prefix)) yield infoOf(key, file);
        }
        return;
      } catch (error) {
        if (!(error instanceof ListingReset) || reset >= resets) throw error;
      }
    }
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    checkKey(key);
    const action = `deleting ${key}`;
    await this.attempts.run(action, signal, async () => {
      const path = this.pathOf(key);
      const found = await this.look(path, signal);
      if (found === undefined) await this.checkRoot(signal);
      if (found?.name !== lastPart(key)) return;
      await this.attempts.repeat(action, signal, async () => {
        try {
          await this.client.call(signal, (dropbox) => dropbox.filesDeleteV2({ path }));
        } catch (error) {
          if (!/^path_lookup\/not_found/.test(dropboxSummary(error))) throw error;
        }
      });
    });
  }

  /** From the `Date` header of an answer (whole seconds). */
  async now(signal?: AbortSignal): Promise<Date> {
    const { date } = await this.attempts.repeat('reading the clock', signal, () =>
      this.client.call(signal, (dropbox) => dropbox.usersGetSpaceUsage()),
    );
    if (!Number.isNaN(date.getTime())) return date;
    throw new HoldfastError('DestinationFailed', `${this.label}: answers without a Date`, { retryable: false });
  }

  async space(signal?: AbortSignal): Promise<{ free: number; total: number } | undefined> {
    const { result } = await this.attempts.repeat('asking for free space', signal, () =>
      this.client.call(signal, (dropbox) => dropbox.usersGetSpaceUsage()),
    );
    const { allocation, used } = result;
    if (allocation['.tag'] === 'individual') {
      return { free: Math.max(0, allocation.allocated - used), total: allocation.allocated };
    }
    if (allocation['.tag'] !== 'team') return undefined;
    return { free: Math.max(0, allocation.allocated - allocation.used), total: allocation.allocated };
  }

  /** Who is logged in, for people. */
  async account(signal?: AbortSignal): Promise<string> {
    const { result } = await this.attempts.repeat('asking who is logged in', signal, () =>
      this.client.call(signal, (dropbox) => dropbox.usersGetCurrentAccount()),
    );
    return result.email;
  }

  async sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number> {
    checkPrefix(prefix);
    return await this.attempts.run(`sweeping ${prefix}`, signal, () => this.uploads.sweep(prefix, olderThanMs));
  }

  async close(): Promise<void> {
    this.client.close();
  }

  private async download(key: string, range: string | undefined, signal?: AbortSignal) {
    const action = `reading ${key}`;
    try {
      return await this.attempts.repeat(action, signal, () => this.client.download(signal, this.pathOf(key), range));
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'ObjectMissing') throw error;
      await this.checkRoot(signal);
      throw this.objectMissing(key);
    }
  }

  /** The file at a path, whatever its case; undefined where there is none. */
  private async look(path: string, signal?: AbortSignal): Promise<files.FileMetadata | undefined> {
    const found = await this.metadata(path, signal);
    return found?.['.tag'] === 'file' ? found : undefined;
  }

  private async isFolder(path: string, signal?: AbortSignal): Promise<boolean> {
    // The whole Dropbox is always there and has no metadata.
    return path === '' || (await this.metadata(path, signal))?.['.tag'] === 'folder';
  }

  private async metadata(path: string, signal?: AbortSignal) {
    try {
      return await this.attempts.repeat(`looking at ${path}`, signal, async () => {
        const { result } = await this.client.call(signal, (dropbox) => dropbox.filesGetMetadata({ path }));
        return result;
      });
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ObjectMissing') return undefined;
      throw error;
    }
  }

  /** Everything below a folder (`''` or ending in a slash), from a fresh cursor. Throws ListingReset. */
  private async *pages(
    action: string,
    top: string,
    signal?: AbortSignal,
  ): AsyncGenerator<{ key: string; file: files.FileMetadataReference }> {
    const path = this.root + (top === '' ? '' : `/${top.slice(0, -1)}`);
    const depth = path === '' ? 0 : path.split('/').length - 1;
    /** How folders are really written: in an entry's path only the last part is. */
    const written = new Map<string, string>();
    let cursor: string | undefined;
    for (;;) {
      const page = await this.page(action, path, cursor, signal);
      if (page === undefined) return;
      for (const entry of page.entries) if (entry['.tag'] === 'folder') written.set(entry.path_lower ?? '', entry.name);
      for (const entry of page.entries) {
        if (entry['.tag'] !== 'file' || entry.path_lower === undefined || entry.path_display === undefined) continue;
        const lower = entry.path_lower.split('/');
        const shown = entry.path_display.split('/').slice(depth + 1);
        const parts = shown.map((part, at) => written.get(lower.slice(0, depth + at + 2).join('/')) ?? part);
        yield { key: top + [...parts.slice(0, -1), entry.name].join('/'), file: entry };
      }
      if (!page.has_more) return;
      cursor = page.cursor;
    }
  }

  private async page(
    action: string,
    path: string,
    cursor: string | undefined,
    signal?: AbortSignal,
  ): Promise<files.ListFolderResult | undefined> {
    return await this.attempts.repeat(action, signal, async () => {
      try {
        const { result } = await this.client.call(signal, (dropbox) =>
          cursor === undefined
            ? dropbox.filesListFolder({ path, recursive: true, limit: pageSize })
            : dropbox.filesListFolderContinue({ cursor }),
        );
        return result;
      } catch (error) {
        const summary = dropboxSummary(error);
        if (cursor !== undefined && /^reset/.test(summary)) throw new ListingReset();
        if (cursor === undefined && /^path\/not_(found|folder)/.test(summary)) return undefined;
        throw error;
      }
    });
  }

  private async checkRoot(signal?: AbortSignal): Promise<void> {
    if (!(await this.isFolder(this.root, signal))) throw this.missing(this.root);
    this.rootSeen = Date.now();
  }

  private pathOf(key: string): string {
    return `${this.root}/${key}`;
  }

  private labelOf(key: string): string {
    return `${key} at destination "${this.name}"`;
  }

  private missing(path: string): HoldfastError {
    this.rootSeen = Number.NEGATIVE_INFINITY;
    return new HoldfastError('DestinationMissing', `${this.label}: the folder ${path} is not there`, {
      hint: 'Make the folder in Dropbox, or correct `path`. An app with access to its own folder only sees that as `/`.',
    });
  }

  private objectMissing(key: string): HoldfastError {
    return new HoldfastError('ObjectMissing', `There is no ${this.labelOf(key)} (${this.config.path})`);
  }

  private objectExists(key: string): HoldfastError {
    return new HoldfastError('ObjectExists', `${this.label}: there is already a ${key}`);
  }

  private differsByCase(key: string, there: string): HoldfastError {
    const message = `${this.labelOf(key)} differs only by case from ${there}, which is there: Dropbox keeps one of them`;
    return new HoldfastError('DestinationFailed', message, {
      retryable: false,
      hint: 'Give one of them another name.',
    });
  }

  private translate(action: string, error: unknown, signal?: AbortSignal): HoldfastError {
    return dropboxError({ label: this.label, secrets: () => this.tokens.secrets() }, action, error, signal);
  }
}

/** A listing's cursor was dropped by the service: it begins anew. */
class ListingReset extends HoldfastError {
  constructor() {
    super('DestinationFailed', 'The listing was interrupted by the service', { retryable: false });
  }
}

function lastPart(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

function infoOf(key: string, { size, server_modified }: files.FileMetadata): ObjectInfo {
  return { key, size, modified: new Date(server_modified) };
}
