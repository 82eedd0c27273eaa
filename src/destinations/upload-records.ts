import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../errors.js';
import { readPrivate, removePrivate, writePrivate } from './private-file.js';
import { isRecord } from './service-errors.js';

/** An upload that a service keeps half done. What it holds (`session`) gives the right to go on with it: a secret. */
export interface UploadRecord {
  key: string;
  /** SHA-256 of the whole object, hex. */
  sha256: string;
  size: number;
  session: string;
  /** Bytes the service had when this was written; it knows better itself. */
  offset: number;
  /** The id the finished object will have, where that is known beforehand. */
  id?: string;
}

/** Unfinished uploads of one destination, kept across restarts: one 0600 file each in `state/uploads/<destination>`. */
export class UploadRecords {
  private readonly folder: string;
  private readonly busy = new Set<string>();

  constructor(state: string, destination: string) {
    this.folder = join(state, 'uploads', destination);
  }

  /**
   * The upload of these bytes to this key, for one caller at a time.
   *
   * @returns undefined while another put of this process goes on with it.
   */
  claim(key: string, sha256: string): UploadSlot | undefined {
    const name = createHash('sha256').update(`${key}\n${sha256}`).digest('hex').slice(0, 40);
    if (this.busy.has(name)) return undefined;
    this.busy.add(name);
    const file = join(this.folder, `${name}.json`);
    return {
      async read() {
        const found = await readPrivate(file);
        return isUploadRecord(found) && found.key === key && found.sha256 === sha256 ? found : undefined;
      },
      write: (record) => writePrivate(file, JSON.stringify(record)),
      remove: () => removePrivate(file),
      release: () => void this.busy.delete(name),
    };
  }

  /** Every record that nobody uses now and that is older than `olderThanMs`, and how to remove it. */
  async *abandoned(olderThanMs: number): AsyncGenerator<{ record: UploadRecord; remove(): Promise<void> }> {
    const names = await readdir(this.folder).catch((error) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    for (const name of names) {
      const file = join(this.folder, name);
      if (!name.endsWith('.json') || this.busy.has(name.slice(0, -5))) continue;
      const written = await stat(file).catch(() => undefined);
      if (written === undefined || Date.now() - written.mtimeMs < olderThanMs) continue;
      const record = await readPrivate(file);
      if (isUploadRecord(record)) yield { record, remove: () => removePrivate(file) };
      else await removePrivate(file);
    }
  }
}

/** Where one upload's record is kept. */
export interface UploadSlot {
  read(): Promise<UploadRecord | undefined>;
  write(record: UploadRecord): Promise<void>;
  remove(): Promise<void>;
  release(): void;
}

function isUploadRecord(value: unknown): value is UploadRecord {
  return (
    isRecord(value) &&
    typeof value.key === 'string' &&
    typeof value.sha256 === 'string' &&
    typeof value.size === 'number' &&
    typeof value.session === 'string' &&
    typeof value.offset === 'number' &&
    (value.id === undefined || typeof value.id === 'string')
  );
}
