import { mkdir, open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../errors.js';
import { sha256Hex } from './hash.js';
import type { RepositoryKey } from './seal.js';

/** What a host without the private key wrote and has to read again, in plain, named by the SHA-256 of what is stored. */

const folderOf = (key: RepositoryKey): string | undefined => ('publicKey' in key ? key.own : undefined);

/** Keeps an object's plain bytes; durable when this resolves. */
export async function keepOwn(key: RepositoryKey, stored: Uint8Array, plain: Uint8Array): Promise<void> {
  const folder = folderOf(key);
  if (folder === undefined) return;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = path.join(folder, sha256Hex(stored));
  const temporary = `${file}.${process.pid}.tmp`;
  const handle = await open(temporary, 'w', 0o600);
  try {
    await handle.writeFile(plain);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}

/** An object's plain bytes, if it was written here. */
export async function readOwn(key: RepositoryKey, stored: Uint8Array): Promise<Buffer | undefined> {
  const folder = folderOf(key);
  if (folder === undefined) return undefined;
  try {
    return await readFile(path.join(folder, sha256Hex(stored)));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
