import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { errnoOf } from '../errors.js';
import { hasRightMac } from '../repository/key-mac.js';
import { type KeyFile, keyFileBytes, parseKeyFile } from '../repository/keys.js';
import { keyFileName } from '../repository/layout.js';
import type { RepositoryKey } from '../repository/seal.js';
import type { Store } from '../repository/store.js';
import type { Warning } from '../workflows/types.js';
import { writeDurable } from './durable.js';
import type { Host } from './host.js';

/** The job's key file from the state folder, which is written before any destination's: with the highest revision it counts. */
export function stateKeyFile(host: Pick<Host, 'keyFilePath'>, job: string): KeyFile | undefined {
  const file = host.keyFilePath(job);
  try {
    return parseKeyFile(readFileSync(file), file);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Durable when this returns. */
export function keepKeyFile(host: Host, job: string, file: KeyFile): void {
  mkdirSync(path.dirname(host.keyFilePath(job)), { recursive: true, mode: 0o700 });
  writeDurable(host.keyFilePath(job), keyFileBytes(file));
}

const confirmedKey = (destination: string): string => `key:${destination}`;

export interface SettledKeyFile {
  /** The file that the state folder and this destination hold now. */
  file: KeyFile;
  /** The destination's had to be written. */
  written: boolean;
  warning?: Warning;
}

/**
 * Makes the key file at a destination and the one in the state folder the same: the one with the higher revision counts, if
 * whoever wrote it had the repository key. What an earlier command left half done is finished by this.
 */
export async function settleKeyFile(
  host: Host,
  job: string,
  store: Store,
  there: KeyFile,
  key: RepositoryKey | undefined,
  signal?: AbortSignal,
): Promise<SettledKeyFile> {
  const file = stateKeyFile(host, job) ?? there;
  const catalog = host.catalog(job);
  const confirm = (revision: number): void => catalog.set(confirmedKey(store.name), String(revision));
  if (keyFileBytes(file).equals(keyFileBytes(there))) {
    confirm(file.revision);
    return { file, written: false };
  }
  const aes = key !== undefined && 'key' in key ? key : undefined;
  const isGenuine = aes === undefined ? false : hasRightMac(there, aes);
  if (isGenuine && there.revision > file.revision) {
    keepKeyFile(host, job, there);
    confirm(there.revision);
    return { file: there, written: false };
  }
  // Without the key nothing tells which of the two is right.
  if (file.objects === 'aes' && aes === undefined) return { file, written: false };
  const bytes = keyFileBytes(file);
  await store.destination.put(store.key(keyFileName), { bytes }, signal ? { signal } : {});
  const confirmed = Number(catalog.get(confirmedKey(store.name)) ?? 0);
  confirm(file.revision);
  const where = `${store.name}: ${store.key(keyFileName)}`;
  if (!isGenuine) {
    const message = `${where} was changed by somebody without the key; it was written anew`;
    return { file, written: true, warning: { code: 'IntegrityMismatch', message } };
  }
  if (there.revision < confirmed) {
    const message = `${where} was put back to an older revision (${there.revision} instead of ${confirmed}); it was written anew`;
    return { file, written: true, warning: { code: 'RepositoryRolledBack', message } };
  }
  return { file, written: true };
}
