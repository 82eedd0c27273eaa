import { HoldfastError } from '../errors.js';
import type { Catalog } from './catalog.js';
import { type DeletionRecord, deletionLimit, parseDeletion } from './deletions.js';
import { indexLimit, parseIndex } from './index-file.js';
import { deletionIdOf, indexIdOf, indexName, snapshotIdOf } from './layout.js';
import { parseRoot, rootHash, rootLimit } from './root.js';
import type { RepositoryKey } from './seal.js';
import type { Store } from './store.js';

export interface SyncResult {
  /** Object names and sizes that the destination holds now. */
  objects: Map<string, number>;
  /** Deletion records, newest last. */
  deletions: DeletionRecord[];
  /** Objects that could not be read, by name. */
  damaged: { name: string; message: string }[];
}

/**
 * Brings the catalog up to what `store` holds now: presence of every object, roots and indexes not yet known.
 * A damaged root or index is named and left out; the others are taken.
 */
export async function syncFrom(
  store: Store,
  key: RepositoryKey | undefined,
  catalog: Catalog,
  signal?: AbortSignal,
  repository: string | undefined = key?.repository,
  /** Leave the catalog's word on which destination holds what: a backup may be adding to it meanwhile. */
  leavePresence = false,
): Promise<SyncResult> {
  const objects = new Map<string, number>();
  for await (const { name, size } of store.list('', signal)) objects.set(name, size);
  const damaged: SyncResult['damaged'] = [];
  const deletions: DeletionRecord[] = [];
  const known = catalog.snapshotIds();
  const indexes = new Set(catalog.indexes());
  for (const name of [...objects.keys()].sort()) {
    const snapshot = snapshotIdOf(name);
    const index = indexIdOf(name);
    try {
      if (snapshot !== undefined && !known.has(snapshot)) {
        const json = await store.readMeta(key, 'snapshot', name, rootLimit, signal);
        const root = parseRoot(json, `${store.name}: ${name}`);
        if (root.id !== snapshot || (repository !== undefined && root.repository !== repository)) {
          throw new HoldfastError('IntegrityMismatch', `${store.name}: ${name} is the root of another snapshot`);
        }
        catalog.putSnapshot({ id: root.id, seq: root.seq, name, sha256: rootHash(json), root });
      } else if (index !== undefined && !indexes.has(index)) {
        const data = await store.readMeta(key, 'index', name, indexLimit, signal);
        catalog.addPacks(index, parseIndex(data, `${store.name}: ${indexName(index)}`));
      } else if (deletionIdOf(name) !== undefined) {
        const json = await store.readMeta(key, 'deletion', name, deletionLimit, signal);
        deletions.push(parseDeletion(json, `${store.name}: ${name}`));
      }
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.retryable) throw error;
      if (error.code !== 'IntegrityMismatch' && error.code !== 'ObjectMissing') throw error;
      damaged.push({ name, message: error.message });
    }
  }
  if (!leavePresence) catalog.setPresence(store.name, objects);
  deletions.sort((a, b) => (a.time < b.time ? -1 : 1));
  return { objects, deletions, damaged };
}

/** Forgets snapshots whose root no listed destination holds any more. */
export function forgetGone(
  catalog: Catalog,
  listed: ReadonlyMap<string, ReadonlyMap<string, number>>,
  all: boolean,
): string[] {
  if (!all) return [];
  const gone: string[] = [];
  for (const row of catalog.snapshots()) {
    if ([...listed.values()].every((objects) => !objects.has(row.name))) {
      catalog.dropSnapshot(row.id);
      gone.push(row.id);
    }
  }
  return gone;
}
