import { Readable } from 'node:stream';
import type { files } from 'dropbox';
import { HoldfastError } from '../errors.js';
import type { Attempts } from './attempts.js';
import type { OpenBody } from './body.js';
import type { PutOptions } from './destination.js';
import { Furthest } from './digests.js';
import type { DropboxClient } from './dropbox-client.js';
import { correctOffset, dropboxSummary } from './dropbox-errors.js';
import { ContentHash } from './dropbox-hash.js';
import { SizedStream } from './dropbox-http.js';
import type { UploadRecords, UploadSlot } from './upload-records.js';

const MiB = 1024 * 1024;
/** Larger objects are uploaded in a session that can be resumed; what one call sends of them. */
const chunkSize = 8 * MiB;
const piece = 256 * 1024;
const fruitless = 4;

/** An object on its way. */
export interface Upload {
  key: string;
  /** Where it goes, as the API writes it. */
  path: string;
  body: OpenBody;
  /** SHA-256 of the body, hex. */
  sha256: string;
  /** Dropbox's own hash of the body, hex. */
  contentHash: string;
  options: PutOptions;
}

/** Uploads objects; each appears whole and at once, when it is complete. */
export class DropboxUploads {
  /** A namespace takes one change at a time: those of this process queue up here in place of being refused there. */
  private line: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly client: DropboxClient,
    private readonly attempts: Attempts,
    private readonly records: UploadRecords,
    /** What is at a path now. */
    private readonly look: (path: string, signal?: AbortSignal) => Promise<files.FileMetadata | undefined>,
  ) {}

  /** Throws HoldfastError `ObjectExists` where the object must be new and is not. */
  async store(upload: Upload): Promise<files.FileMetadata> {
    if (upload.body.size <= chunkSize) return await this.storeSmall(upload);
    const slot = this.records.claim(upload.key, upload.sha256);
    try {
      const stored = await this.storeLarge(upload, slot);
      await slot?.remove();
      return stored;
    } catch (error) {
      const mayPass = error instanceof HoldfastError && error.retryable && !upload.options.signal?.aborted;
      if (!mayPass) await slot?.remove();
      throw error;
    } finally {
      slot?.release();
    }
  }

  /** Forgets uploads that nobody went on with; Dropbox drops them by itself and counts no space for them. */
  async sweep(prefix: string, olderThanMs: number): Promise<number> {
    let removed = 0;
    for await (const { record, remove } of this.records.abandoned(olderThanMs)) {
      if (!record.key.startsWith(prefix)) continue;
      await remove();
      removed += 1;
    }
    return removed;
  }

  private async storeSmall(upload: Upload): Promise<files.FileMetadata> {
    const { key, body, contentHash, options } = upload;
    const { signal } = options;
    const furthest = new Furthest(options.onProgress);
    const bytes = await body.read(0, body.size);
    const stored = await this.attempts.repeat(`storing ${key}`, signal, (attempt) =>
      this.inLine(async () => {
        try {
          const { result } = await this.client.call(signal, (dropbox, alive) =>
            this.sending(
              bytes,
              options,
              alive,
              (sent) => furthest.reach(sent),
              (contents) => dropbox.filesUpload({ ...commitOf(upload), content_hash: contentHash, contents }),
            ),
          );
          return result;
        } catch (error) {
          return await this.settle(upload, error, attempt > 1);
        }
      }),
    );
    furthest.reach(body.size);
    return stored;
  }

  private async storeLarge(upload: Upload, slot: UploadSlot | undefined): Promise<files.FileMetadata> {
    const { key, sha256, body, options } = upload;
    const { signal } = options;
    const action = `storing ${key}`;
    const furthest = new Furthest(options.onProgress);
    const known = await slot?.read();
    let session = known?.session;
    for (let begun = 0; ; begun++) {
      try {
        let offset = 0;
        const resumed = session !== undefined;
        if (session !== undefined) offset = await this.ask(action, session, known?.offset ?? 0, signal);
        else session = await this.begin(action, signal);
        const id = session;
        const save = (at: number) => slot?.write({ key, sha256, size: body.size, session: id, offset: at });
        if (!resumed) await save(0);
        furthest.reach(offset);
        await this.send(upload, session, offset, furthest, save);
        return await this.finish(upload, session, resumed);
      } catch (error) {
        if (!(error instanceof SessionGone)) throw error;
        await slot?.remove();
        session = undefined;
        // The session ends with the object's being there.
        if (begun > 0) throw new HoldfastError('DestinationFailed', `Dropbox forgot the upload of ${key} twice`);
        const there = await this.look(upload.path, signal);
        if (there !== undefined && there.content_hash === upload.contentHash) {
          furthest.reach(body.size);
          return there;
        }
      }
    }
  }

  private async begin(action: string, signal?: AbortSignal): Promise<string> {
    return await this.attempts.repeat(action, signal, async () => {
      const { result } = await this.client.call(signal, (dropbox) =>
        dropbox.filesUploadSessionStart({ close: false, contents: '' }),
      );
      return result.session_id;
    });
  }

  /** Where a session is: sending nothing to it makes Dropbox tell. Throws SessionGone. */
  private async ask(action: string, session: string, offset: number, signal?: AbortSignal): Promise<number> {
    return await this.attempts.repeat(action, signal, async () => {
      try {
        const cursor = { session_id: session, offset };
        await this.client.call(signal, (dropbox) => dropbox.filesUploadSessionAppendV2({ cursor, contents: '' }));
        return offset;
      } catch (error) {
        const right = correctOffset(error);
        if (right !== undefined) return right;
        throw isGone(error) ? new SessionGone() : error;
      }
    });
  }

  private async send(
    { key, body, options }: Upload,
    session: string,
    offset: number,
    furthest: Furthest,
    save: (at: number) => Promise<void> | undefined,
  ): Promise<void> {
    const { signal } = options;
    let at = offset;
    for (let failures = 0; at < body.size; ) {
      const start = at;
      const bytes = await body.read(start, Math.min(chunkSize, body.size - start));
      const content_hash = new ContentHash().update(bytes).digest();
      const cursor = { session_id: session, offset: start };
      try {
        await this.attempts.run(`storing ${key}`, signal, async () => {
          try {
            await this.client.call(signal, (dropbox, alive) =>
              this.sending(
                bytes,
                options,
                alive,
                (sent) => furthest.reach(start + sent),
                (contents) => dropbox.filesUploadSessionAppendV2({ cursor, close: false, content_hash, contents }),
              ),
            );
            at = start + bytes.length;
          } catch (error) {
            const right = correctOffset(error);
            // An earlier attempt got through without its answer.
            if (right !== undefined && right !== start) at = right;
            else throw isGone(error) ? new SessionGone() : error;
          }
        });
      } catch (error) {
        failures += 1;
        if (!(error instanceof HoldfastError) || failures >= fruitless) throw error;
        await this.attempts.pause(error, failures, signal);
        at = await this.ask(`storing ${key}`, session, start, signal);
      }
      if (at > start) failures = 0;
      if (at > body.size) throw new SessionGone();
      furthest.reach(at);
      await save(at);
    }
  }

  private async finish(upload: Upload, session: string, resumed: boolean): Promise<files.FileMetadata> {
    const { key, body, options } = upload;
    const cursor = { session_id: session, offset: body.size };
    return await this.attempts.repeat(`storing ${key}`, options.signal, (attempt) =>
      this.inLine(async () => {
        try {
          const { result } = await this.client.call(options.signal, (dropbox) =>
            dropbox.filesUploadSessionFinish({ cursor, commit: commitOf(upload), contents: '' }),
          );
          return result;
        } catch (error) {
          if (isGone(error)) throw new SessionGone();
          return await this.settle(upload, error, resumed || attempt > 1);
        }
      }),
    );
  }

  /** After a conflict: the object, if it is there because an earlier attempt of ours put it there. */
  private async settle(upload: Upload, error: unknown, mayBeOurs: boolean): Promise<files.FileMetadata> {
    if (!upload.options.exclusive || !mayBeOurs || !/conflict/.test(dropboxSummary(error))) throw error;
    const there = await this.look(upload.path, upload.options.signal);
    if (there === undefined || there.content_hash !== upload.contentHash) throw error;
    return there;
  }

  private inLine<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.line.then(work, work);
    this.line = turn.catch(() => {});
    return turn;
  }

  /** Sends bytes piece by piece, at the limiter's pace; an error on the way is what this throws. */
  private async sending<T>(
    bytes: Uint8Array,
    { limiter, signal }: PutOptions,
    alive: () => void,
    reached: (sent: number) => void,
    work: (contents: SizedStream | string) => Promise<T>,
  ): Promise<T> {
    if (bytes.length === 0) return await work('');
    const size = limiter?.piece ?? piece;
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += size) {
        const part = bytes.subarray(at, at + size);
        await limiter?.take(part.length, signal);
        signal?.throwIfAborted();
        yield part;
        // The consumer asked for more, so it has taken this one.
        alive();
        reached(at + part.length);
      }
    }
    const stream = Readable.from(pieces(), { objectMode: false });
    try {
      return await work(new SizedStream(stream, bytes.length));
    } finally {
      stream.destroy();
    }
  }
}

/** Dropbox does not know the session any more, or it has become an object. */
class SessionGone extends HoldfastError {
  constructor() {
    super('DestinationFailed', 'The upload session is gone', { retryable: false });
  }
}

function isGone(error: unknown): boolean {
  const summary = dropboxSummary(error);
  return /^(lookup_failed\/)?(not_found|closed|not_closed)\b/.test(summary);
}

function commitOf({ path, options }: Upload): files.CommitInfo {
  const mode: files.WriteMode = options.exclusive ? { '.tag': 'add' } : { '.tag': 'overwrite' };
  return { path, mode, autorename: false, mute: true, strict_conflict: options.exclusive ?? false };
}
