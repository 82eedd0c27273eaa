import { Readable } from 'node:stream';
import { HoldfastError } from '../errors.js';
import type { Attempts } from './attempts.js';
import { type OpenBody, piecesOf } from './body.js';
import type { PutOptions } from './destination.js';
import { Furthest } from './digests.js';
import { type DriveClient, type DriveFile, driveFile, fileFields } from './gdrive-client.js';
import { driveStatus } from './gdrive-errors.js';
import type { DriveFiles } from './gdrive-files.js';
import type { UploadRecords, UploadSlot } from './upload-records.js';

const MiB = 1024 * 1024;
/** Larger objects are uploaded in a session that can be resumed. */
const smallLimit = 4 * MiB;
/** A multiple of 256 KiB, as Google wants every chunk but the last. */
export const chunkSize = 8 * MiB;
const piece = 256 * 1024;
/** Google assembles a large object before it answers its last chunk. */
const answerMs = 120_000;
const fruitless = 4;

/** A file to be made: it bears `name` in `parent` until it is published. */
export interface Upload {
  key: string;
  body: OpenBody;
  /** SHA-256 of the body, hex. */
  sha256: string;
  name: string;
  parent: string;
  options: PutOptions;
}

/** Uploads files, resuming sessions that an earlier process began. */
export class DriveUploads {
  constructor(
    private readonly files: DriveFiles,
    private readonly attempts: Attempts,
    private readonly records: UploadRecords,
  ) {}

  private get client(): DriveClient {
    return this.files.client;
  }

  /**
   * Makes the file and hands it to `publish`, which checks and renames it. After an error that may pass, what was sent
   * is kept for the next attempt; else it is removed.
   */
  async store(upload: Upload, publish: (file: DriveFile) => Promise<void>): Promise<void> {
    if (upload.body.size <= smallLimit) {
      await this.published(await this.storeSmall(upload), publish, false);
      return;
    }
    const slot = this.records.claim(upload.key, upload.sha256);
    try {
      const file = await this.storeLarge(upload, slot);
      await this.published(file, publish, slot !== undefined);
      await slot?.remove();
    } catch (error) {
      if (!mayPass(error, upload.options.signal)) await slot?.remove();
      throw error;
    } finally {
      slot?.release();
    }
  }

  private async published(
    file: DriveFile,
    publish: (file: DriveFile) => Promise<void>,
    resumable: boolean,
  ): Promise<void> {
    try {
      await publish(file);
    } catch (error) {
      const keep = error instanceof AfterRename || (resumable && mayPass(error));
      // What this does not reach, sweep() removes later.
      if (!keep) await this.files.remove('tidying up', file.id).catch(() => {});
      throw error instanceof AfterRename ? error.cause : error;
    }
  }

  /** Gives up uploads that nobody went on with; returns how many. */
  async sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number> {
    let removed = 0;
    for await (const { record, remove } of this.records.abandoned(olderThanMs)) {
      if (!record.key.startsWith(prefix)) continue;
      await this.cancelSession(record.session, signal);
      await remove();
      removed += 1;
    }
    return removed;
  }

  private async storeSmall({ key, body, name, parent, options }: Upload): Promise<DriveFile> {
    const { signal, limiter } = options;
    const action = `storing ${key}`;
    const furthest = new Furthest(options.onProgress);
    const id = await this.files.newId(action, signal);
    return await this.attempts.repeat(action, signal, async (attempt) => {
      try {
        const { data } = await this.client.call(signal, async (call, alive) => {
          const content = this.content(body, 0, body.size, call.signal, limiter, (sent) => {
            alive();
            furthest.reach(sent);
          });
          return await content.send((stream) =>
            this.client.drive.files.create(
              {
                requestBody: { id, name, parents: [parent], mimeType: 'application/octet-stream' },
                media: { mimeType: 'application/octet-stream', body: stream },
                fields: fileFields,
                supportsAllDrives: true,
              },
              call,
            ),
          );
        });
        furthest.reach(body.size);
        return driveFile(data);
      } catch (error) {
        // The answer to an earlier attempt got lost: the file is there.
        const made = attempt > 1 && driveStatus(error) === 409 ? await this.files.get(action, id, signal) : undefined;
        if (made === undefined) throw error;
        return made;
      }
    });
  }

  private async storeLarge(upload: Upload, slot: UploadSlot | undefined): Promise<DriveFile> {
    const { key, sha256, body, options } = upload;
    const { signal } = options;
    const action = `storing ${key}`;
    const furthest = new Furthest(options.onProgress);
    const known = await slot?.read();
    let session = known?.session;
    for (let begun = 0; ; begun++) {
      try {
        let state: Progress = { offset: 0 };
        if (session !== undefined) {
          // Only the service knows what arrived before the last process ended.
          state = await this.ask(action, session, body.size, signal);
          if (state.file !== undefined) state.file = await this.stillThere(action, state.file, signal);
        } else {
          const id = await this.files.newId(action, signal);
          session = await this.begin(upload, id, signal);
          await slot?.write({ key, sha256, size: body.size, session, offset: 0, id });
        }
        furthest.reach(state.offset);
        const file = state.file ?? (await this.send(upload, session, state.offset, furthest));
        furthest.reach(body.size);
        return file;
      } catch (error) {
        if (error instanceof SessionGone) {
          await slot?.remove();
          session = undefined;
          if (begun === 0) continue;
          throw new HoldfastError('DestinationFailed', `Google Drive forgot the upload of ${key} twice`);
        }
        if (session !== undefined && (slot === undefined || !mayPass(error, signal))) await this.cancelSession(session);
        throw error;
      }
    }
  }

  /** A file that an earlier process finished, unless somebody removed it since. Throws SessionGone. */
  private async stillThere(action: string, { id }: DriveFile, signal?: AbortSignal): Promise<DriveFile> {
    const file = await this.files.get(action, id, signal);
    if (file === undefined || file.trashed) throw new SessionGone();
    return file;
  }

  /** Begins a session; its URL is all that is needed to send, and stays valid for a week. */
  private async begin({ key, body, name, parent }: Upload, id: string, signal?: AbortSignal): Promise<string> {
    return await this.attempts.repeat(`storing ${key}`, signal, () =>
      this.client.call(signal, async (call) => {
        const query = new URLSearchParams({ uploadType: 'resumable', supportsAllDrives: 'true', fields: fileFields });
        const answer = await this.client.request(call, {
          url: `${call.rootUrl}upload/drive/v3/files?${query}`,
          method: 'POST',
          headers: {
            'X-Upload-Content-Type': 'application/octet-stream',
            'X-Upload-Content-Length': String(body.size),
          },
          data: { id, name, parents: [parent], mimeType: 'application/octet-stream' },
          accept: (status) => status === 200,
        });
        const url = answer.header('location');
        if (url === undefined || !URL.canParse(url))
          throw new HoldfastError('DestinationFailed', 'Google Drive began an upload without saying where');
        return url;
      }),
    );
  }

  /** Asks a session how far it is. Throws SessionGone. */
  private async ask(action: string, session: string, size: number, signal?: AbortSignal): Promise<Progress> {
    return await this.attempts.repeat(action, signal, () =>
      this.client.call(signal, async (call) =>
        this.progressOf(
          await this.client.request(call, {
            url: session,
            method: 'PUT',
            headers: { 'Content-Range': `bytes */${size}`, 'Content-Length': '0' },
            accept: isSessionAnswer,
          }),
        ),
      ),
    );
  }

  /** Sends chunk after chunk from `offset`, each from where the service says it is. */
  private async send(upload: Upload, session: string, offset: number, furthest: Furthest): Promise<DriveFile> {
    const { key, body, options } = upload;
    const { signal, limiter } = options;
    const action = `storing ${key}`;
    let at = offset;
    for (let failures = 0; ; ) {
      let next: Progress;
      try {
        next = await this.attempts.run(action, signal, () => this.sendChunk(upload, session, at, furthest, limiter));
      } catch (error) {
        if (!(error instanceof HoldfastError) || error instanceof SessionGone) throw error;
        failures += 1;
        if (failures >= fruitless) throw error;
        await this.attempts.pause(error, failures, signal);
        next = await this.ask(action, session, body.size, signal);
      }
      if (next.file !== undefined) return next.file;
      if (next.offset > at) failures = 0;
      else if (++failures >= fruitless)
        throw new HoldfastError('DestinationFailed', `Google Drive takes no more of ${key} after ${at} bytes`);
      at = next.offset;
      furthest.reach(at);
    }
  }

  private async sendChunk(
    { body, options }: Upload,
    session: string,
    start: number,
    furthest: Furthest,
    limiter: PutOptions['limiter'],
  ): Promise<Progress> {
    const end = Math.min(start + chunkSize, body.size);
    return await this.client.call(
      options.signal,
      async (call, alive) => {
        const content = this.content(body, start, end, call.signal, limiter, (sent) => {
          alive();
          furthest.reach(start + sent);
        });
        return this.progressOf(
          await content.send((stream) =>
            this.client.request(call, {
              url: session,
              method: 'PUT',
              headers: {
                'Content-Range': `bytes ${start}-${end - 1}/${body.size}`,
                'Content-Length': String(end - start),
                'Content-Type': 'application/octet-stream',
              },
              data: stream,
              accept: isSessionAnswer,
            }),
          ),
        );
      },
      answerMs,
    );
  }

  /** Understands a session's answer: 308 with the range it has, the finished file, or that there is no such session. */
  private progressOf(answer: { status: number; header(name: string): string | undefined; data: unknown }): Progress {
    if (answer.status === 404 || answer.status === 410) throw new SessionGone();
    if (answer.status !== 308) {
      const file = driveFile(typeof answer.data === 'string' ? JSON.parse(answer.data) : answer.data);
      return { offset: file.size, file };
    }
    const range = answer.header('range');
    if (range === undefined) return { offset: 0 };
    const last = /^bytes=0-(\d+)$/.exec(range)?.[1];
    if (last === undefined) throw new HoldfastError('DestinationFailed', 'Google Drive named an odd range');
    return { offset: Number(last) + 1 };
  }

  private async cancelSession(session: string, signal?: AbortSignal): Promise<void> {
    const work = this.client.call(signal ?? AbortSignal.timeout(10_000), (call) =>
      // 499 is how Google says that it is cancelled.
      this.client.request(call, { url: session, method: 'DELETE', accept: () => true }),
    );
    // What this does not reach ends by itself after a week and takes no space.
    await work.catch(() => {});
  }

  /** A part of a body as a stream; an error while reading it is what `send` throws. */
  private content(
    body: OpenBody,
    start: number,
    end: number,
    signal: AbortSignal,
    limiter: PutOptions['limiter'],
    sent: (bytes: number) => void,
  ): { send<T>(work: (stream: Readable) => Promise<T>): Promise<T> } {
    async function* pieces(): AsyncGenerator<Uint8Array> {
      let total = 0;
      for await (const bytes of piecesOf(body, start, end, limiter?.piece ?? piece)) {
        await limiter?.take(bytes.length, signal);
        signal.throwIfAborted();
        yield bytes;
        // The consumer asked for more, so it has taken this one.
        total += bytes.length;
        sent(total);
      }
    }
    return {
      async send(work) {
        const stream = Readable.from(pieces(), { objectMode: false });
        let failure: { error: unknown } | undefined;
        stream.on('error', (error) => {
          failure ??= { error };
        });
        try {
          return await work(stream);
        } catch (error) {
          throw failure?.error instanceof HoldfastError ? failure.error : error;
        } finally {
          stream.destroy();
        }
      },
    };
  }
}

/** The file bears its name already: it is whole, and what went wrong is the tidying up. */
export class AfterRename extends Error {
  constructor(override readonly cause: unknown) {
    super('after the rename');
  }
}

/** Whether the next attempt may go on with what this one sent. */
function mayPass(error: unknown, signal?: AbortSignal): boolean {
  if (signal?.aborted || !(error instanceof HoldfastError)) return false;
  return error.code !== 'IntegrityMismatch' && error.retryable;
}

interface Progress {
  offset: number;
  file?: DriveFile;
}

/** The service does not know the session any more. */
class SessionGone extends HoldfastError {
  constructor() {
    super('DestinationFailed', 'The upload session is gone', { retryable: false });
  }
}

function isSessionAnswer(status: number): boolean {
  return status === 200 || status === 201 || status === 308 || status === 404 || status === 410;
}
