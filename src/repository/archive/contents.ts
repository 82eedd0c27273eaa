import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { HoldfastError } from '../../errors.js';
import { decompressStream, detectCodec } from '../codec.js';
import type { ChunkPlace } from '../pack-writer.js';
import { openFile, type RepositoryKey } from '../seal.js';
import { Cutter, type OnChunk } from './cutter.js';
import { feedTar } from './tar-contents.js';
import { feedZip } from './zip-contents.js';

export interface ContentsRequest {
  /** The stored form, on this machine. */
  file: string;
  /** Its name in `archives/`. */
  name: string;
  /** For tar archives that are encrypted. */
  key: RepositoryKey | undefined;
  /** For zip files that are. */
  password: string | undefined;
  /** What is wanted, in ascending order of places. */
  places: Iterable<ChunkPlace>;
  onChunk: OnChunk;
  /** Called often: throws when it is to stop. */
  tick: () => void;
}

/**
 * Reads the wanted chunks of an archive; what cannot be had is told without content. A damaged archive is read as far as it goes.
 * @returns what is wrong with the archive itself; undefined when nothing is.
 * @throws HoldfastError SecretMissing, PassphraseWrong, PrivateKeyNeeded.
 */
export async function readContents(request: ContentsRequest): Promise<string | undefined> {
  const { file, name, key, password, tick } = request;
  const cutter = new Cutter(request.places, request.onChunk);
  let problem: string | undefined;
  const plain = `${file}.plain`;
  try {
    if (name.endsWith('.zip')) {
      await feedZip(file, cutter, password, tick, (message) => {
        problem ??= message;
      });
    } else {
      let readable = file;
      if (detectCodec(await firstBytes(file)) === 'none') {
        problem = await openFile(key, 'pack', name, file, plain);
        readable = plain;
      }
      await feedTar(decompressed(readable, name), cutter, tick);
    }
  } catch (error) {
    if (error instanceof HoldfastError && error.code !== 'IntegrityMismatch') throw error;
    if (error instanceof Error && error.name === 'Stopped') throw error;
    problem ??= error instanceof Error ? error.message : String(error);
  } finally {
    await rm(plain, { force: true });
  }
  await cutter.end();
  return problem;
}

async function firstBytes(file: string): Promise<Buffer> {
  const handle = await open(file, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** The tar in a file; it ends where the file is damaged, with an error. */
async function* decompressed(file: string, name: string): AsyncGenerator<Buffer> {
  const input = createReadStream(file, { highWaterMark: 1 << 20 });
  const output = decompressStream(name.endsWith('.gz') ? 'gzip' : 'zstd');
  input.on('error', (error) => output.destroy(error));
  input.pipe(output);
  try {
    for await (const piece of output) yield piece as Buffer;
  } finally {
    input.destroy();
    output.destroy();
  }
}
