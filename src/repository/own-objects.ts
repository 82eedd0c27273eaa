import { mkdir, open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../errors.js';
import { sha256Hex } from './hash.js';
import type { RepositoryKey } from './seal.js';

/**
 * What a host knows of objects that it can't read again, in files named by the SHA-256 of what is stored: of deletion records
 * the plain bytes, of all others the name that the object was written under (`<sha256>.name`).
 */

const folderOf = (key: RepositoryKey): string | undefined => ('publicKey' in key ? key.own : undefined);

/** Keeps an object's plain bytes; durable when this resolves. */
export async function keepOwn(key: RepositoryKey, stored: Uint8Array, plain: Uint8Array): Promise<void> {
  const folder = folderOf(key);
  if (folder === undefined) return;
  await write(folder, sha256Hex(stored), plain);
}

/** Keeps under which name an object was written, or read with the private key; durable when this resolves. */
export async function keepName(key: RepositoryKey, stored: Uint8Array, name: string): Promise<void> {
  const folder = folderOf(key);
  if (folder !== undefined) await write(folder, `${sha256Hex(stored)}.name`, Buffer.from(name, 'utf8'));
}

/** The name that an object was written under, if its bytes are known here. */
export async function nameOf(key: RepositoryKey, stored: Uint8Array): Promise<string | undefined> {
  return (await read(key, `${sha256Hex(stored)}.name`))?.toString('utf8');
}

async function write(folder: string, name: string, plain: Uint8Array): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = path.join(folder, name);
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
export const readOwn = (key: RepositoryKey, stored: Uint8Array): Promise<Buffer | undefined> =>
  read(key, sha256Hex(stored));

async function read(key: RepositoryKey, name: string): Promise<Buffer | undefined> {
  const folder = folderOf(key);
  if (folder === undefined) return undefined;
  try {
    return await readFile(path.join(folder, name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
