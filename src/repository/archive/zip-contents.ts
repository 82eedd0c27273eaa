import { type FileHandle, open } from 'node:fs/promises';
import type { Reader } from '@zip.js/zip.js';
import { HoldfastError } from '../../errors.js';
import type { Cutter } from './cutter.js';

const typeMask = 0o170000;
const symlink = 0o120000;

/**
 * Feeds the contents of a zip file's regular files, one behind the other, to the cutter. Names are not even looked at; files
 * of which nothing is wanted are passed over.
 * @throws HoldfastError IntegrityMismatch for what is no zip file, SecretMissing where it takes a password.
 */
export async function feedZip(
  file: string,
  cutter: Cutter,
  password: string | undefined,
  tick: () => void,
  onDamage: (message: string) => void,
): Promise<void> {
  const { configure, ZipReader, Reader } = await import('@zip.js/zip.js');
  configure({ useWebWorkers: false });
  const handle = await open(file, 'r');
  const zip = new ZipReader(await fileReader(Reader, handle), {
    // Names lead nowhere here, so that none is unsafe; contents count by their hashes.
    strictness: 'tolerant',
    checkOverlappingEntry: false,
    ...(password === undefined ? {} : { password }),
  });
  try {
    let position = 0;
    for await (const entry of zip.getEntriesGenerator()) {
      if (cutter.done) return;
      tick();
      if (entry.directory || ((entry.externalFileAttributes >>> 16) & typeMask) === symlink) continue;
      const begin = position;
      position += entry.uncompressedSize;
      if (!cutter.wants(position)) continue;
      if (entry.encrypted && password === undefined)
        throw new HoldfastError('SecretMissing', 'the archive is encrypted, and the config has no password for it', {
          key: 'archive.password',
        });
      let at = begin;
      const sink = new WritableStream<Uint8Array>({
        async write(bytes) {
          tick();
          // Longer than it says: what follows would be taken for other files' contents.
          const piece = Buffer.from(bytes).subarray(0, Math.max(0, position - at));
          await cutter.feed(at, piece);
          at += piece.length;
        },
      });
      await entry.getData(sink).catch((error: unknown) => {
        if (error instanceof HoldfastError) throw error;
        const reason = error instanceof Error ? error.message : String(error);
        if (/password/i.test(reason)) {
          throw new HoldfastError('PassphraseWrong', 'the archive was encrypted with another password', {
            hint: 'Put the password of that time into `archive.password` for this restore.',
          });
        }
        onDamage(`a file in it cannot be read: ${reason}`);
      });
    }
  } finally {
    await zip.close().catch(() => undefined);
    await handle.close();
  }
}

/** Reads ranges of a file as they are asked for. */
async function fileReader(Base: typeof Reader, handle: FileHandle): Promise<Reader<unknown>> {
  const { size } = await handle.stat();
  class FileReader extends Base<unknown> {
    override async init(): Promise<void> {
      this.size = size;
    }
    override async readUint8Array(index: number, length: number): Promise<Uint8Array> {
      const wanted = Math.max(0, Math.min(length, size - index));
      const bytes = new Uint8Array(wanted);
      let done = 0;
      while (done < wanted) {
        const { bytesRead } = await handle.read(bytes, done, wanted - done, index + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return bytes.subarray(0, done);
    }
  }
  const reader = new FileReader(undefined);
  reader.size = size;
  return reader;
}
