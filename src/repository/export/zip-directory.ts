import { type FileHandle, open, rm } from 'node:fs/promises';
import path from 'node:path';
import { writeAll } from '../../destinations/local-files.js';
import type { ArchiveSink } from './member.js';

const pieceBytes = 1 << 20;

/**
 * The central directory of a zip file that is being written: it comes last and has a record for every member, so that those
 * of a million files wait in a file without a name instead of in memory.
 */
export class ZipDirectory {
  entries = 0;
  bytes = 0;
  private waiting: Buffer[] = [];
  private waitingBytes = 0;
  private handle: FileHandle | undefined;

  constructor(private readonly folder: string) {}

  async add(record: Buffer): Promise<void> {
    this.entries++;
    this.bytes += record.length;
    this.waiting.push(record);
    this.waitingBytes += record.length;
    if (this.waitingBytes >= pieceBytes) await this.flush();
  }

  async writeTo(sink: ArchiveSink): Promise<void> {
    const { handle } = this;
    for (let at = 0; handle !== undefined; ) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(pieceBytes), 0, pieceBytes, at);
      if (bytesRead === 0) break;
      at += bytesRead;
      await sink.write(buffer.subarray(0, bytesRead));
    }
    if (this.waitingBytes > 0) await sink.write(Buffer.concat(this.waiting));
  }

  async close(): Promise<void> {
    await this.handle?.close();
  }

  private async flush(): Promise<void> {
    if (this.handle === undefined) {
      const file = path.join(
        this.folder,
        `.zip-directory-${process.pid}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`,
      );
      this.handle = await open(file, 'wx+', 0o600);
      await rm(file);
    }
    await writeAll(this.handle, Buffer.concat(this.waiting));
    this.waiting = [];
    this.waitingBytes = 0;
  }
}
