import { HoldfastError } from '../../errors.js';
import { chunkAt, openPack } from '../../repository/reader.js';
import { canRead, type RepositoryKey } from '../../repository/seal.js';
import { threadCatalog } from './catalogs.js';
import { withTarMemory } from './pack-memory.js';
import { Meter, type TaskChannel } from './progress.js';

export interface VerifyTask {
  channel: TaskChannel;
  catalog: string;
  key: RepositoryKey | undefined;
  pack: string;
  /** The stored bytes; their SHA-256 is the pack's name. They are lost afterwards. */
  stored: Uint8Array;
}

/**
 * Decrypts and decompresses a pack and hashes every chunk that an index says is in it. Runs in a worker thread. Where only the
 * private key reads, the hash of the stored bytes, which the caller checked, says all that can be said.
 * @returns what is wrong, and the chunks concerned; undefined when all is well.
 */
export async function verifyTask(task: VerifyTask): Promise<{ message: string; chunks: string[] } | undefined> {
  return canRead(task.key) ? withTarMemory((memory) => verify(task, memory)) : undefined;
}

async function verify(task: VerifyTask, memory: Buffer): Promise<{ message: string; chunks: string[] } | undefined> {
  const meter = new Meter(task.channel);
  const listed = threadCatalog(task.catalog).indexPack(task.pack)?.chunks ?? [];
  const bad: string[] = [];
  let message = '';
  try {
    const tar = await openPack(task.key, task.pack, task.stored, memory);
    for (const [id, at, length] of listed) {
      try {
        chunkAt(tar, task.pack, id, at, length);
        meter.add('read', length);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        if (bad.length === 0) message = error.message;
        bad.push(id);
      }
    }
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'IntegrityMismatch') throw error;
    return { message: error.message, chunks: listed.map(([id]) => id) };
  }
  return bad.length === 0 ? undefined : { message, chunks: bad };
}
