import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { errnoOf, HoldfastError } from '../errors.js';
import type { Store } from '../repository/store.js';
import { fileSize } from './files.js';

/**
 * Stores a pack from the spool.
 *
 * @returns false when the spool has it no more (a destination had it, and room was needed) or has something else under its
 * name, which is removed: whoever holds the pack has to serve it, or else the spool is lost.
 */
export async function putFromSpool(
  store: Store,
  pack: string,
  file: string,
  options: { signal?: AbortSignal; onProgress?: (bytes: number) => void },
  /** Where it goes, for a pack that has a name of its own. */
  object?: string,
): Promise<boolean> {
  try {
    await store.putPack(pack, file, options, object);
    return true;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    if (error.code === 'SpoolLost' && fileSize(file) === undefined) return false;
    if (error.code !== 'IntegrityMismatch' || (await isWhole(pack, file))) throw error;
    await rm(file, { force: true });
    return false;
  }
}

async function isWhole(pack: string, file: string): Promise<boolean> {
  const hash = createHash('sha256');
  try {
    for await (const part of createReadStream(file)) hash.update(part);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'EIO') return false;
    throw error;
  }
  return hash.digest('hex') === pack;
}
