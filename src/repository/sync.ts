import { HoldfastError } from '../errors.js';
import type { Catalog, GoneSnapshot } from './catalog.js';
import { type DeletionRecord, deletionLimit, parseDeletion } from './deletions.js';
import { indexLimit, parseIndex } from './index-file.js';
import { deletionIdOf, indexIdOf, indexName, snapshotIdOf } from './layout.js';
import { noticeGone } from './rollback.js';
import { parseRoot, rootHash, rootLimit } from './root.js';
import { canRead, type RepositoryKey } from './seal.js';
import type { Store } from './store.js';

export interface SyncResult {
  /** Object names and sizes that the destination holds now. */
  objects: Map<string, number>;
  /** Deletion records, newest last. */
  deletions: DeletionRecord[];
  /** Names of new objects that only the private key can read, on a host that lacks it. */
  sealed: string[];
  /** Objects that could not be read, by name. */
  damaged: { name: string; message: string }[];
  /** Roots that were here and are not any more, with no record that a prune removed them. */
  gone: GoneSnapshot[];
}

/** Names and sizes of all that a repository holds now. */
export async function listObjects(store: Store, signal?: AbortSignal): Promise<Map<string, number>> {
  const objects = new Map<string, number>();
  for await (const { name, size } of store.list('', signal)) objects.set(name, size);
  return objects;
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
  /** What `listObjects` found a moment ago. */
  listed?: Map<string, number>,
): Promise<SyncResult> {
  const objects = listed ?? (await listObjects(store, signal));
  const damaged: SyncResult['damaged'] = [];
  const deletions: DeletionRecord[] = [];
  const sealed: string[] = [];
  const known = catalog.snapshotIds();
  const indexes = new Set(catalog.indexes());
  for (const name of [...objects.keys()].sort()) {
    const snapshot = snapshotIdOf(name);
    const index = indexIdOf(name);
    try {
      const isNew = (snapshot !== undefined && !known.has(snapshot)) || (index !== undefined && !indexes.has(index));
      if (isNew && !canRead(key)) {
        sealed.push(name);
      } else if (snapshot !== undefined && !known.has(snapshot)) {
        const json = await store.readMeta(key, 'snapshot', name, rootLimit, signal);
        const root = parseRoot(json, `${store.name}: ${name}`);
        if (root.id !== snapshot || (repository !== undefined && root.repository !== repository)) {
          throw new HoldfastError('IntegrityMismatch', `${store.name}: ${name} is the root of another snapshot`);
        }
        catalog.putSnapshot({ id: root.id, seq: root.seq, name, sha256: rootHash(json), root }, json.toString('utf8'));
      } else if (index !== undefined && !indexes.has(index)) {
        const data = await store.readMeta(key, 'index', name, indexLimit, signal);
        catalog.addPacks(index, parseIndex(data, `${store.name}: ${indexName(index)}`));
      } else if (deletionIdOf(name) !== undefined) {
        deletions.push(await readDeletion(store, key, catalog, name, objects.get(name) ?? 0, signal));
      }
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.retryable) throw error;
      if (error.code === 'PrivateKeyNeeded') {
        sealed.push(name);
        continue;
      }
      if (error.code !== 'IntegrityMismatch' && error.code !== 'ObjectMissing') throw error;
      damaged.push({ name, message: error.message });
    }
  }
  const gone = noticeGone(catalog, store.name, objects, deletions);
  if (!leavePresence) catalog.setPresence(store.name, objects);
  deletions.sort((a, b) => (a.time < b.time ? -1 : 1));
  const deleted = deletions.filter((record) => record.done !== undefined).flatMap((record) => record.packs);
  catalog.forgetPacks(deleted.filter((pack) => catalog.holders(catalog.objectOf(pack)).length === 0));
  return { objects, deletions, sealed, damaged, gone };
}

/** A deletion record, from the catalog where it was read before. @throws HoldfastError IntegrityMismatch. */
export async function readDeletion(
  store: Store,
  key: RepositoryKey | undefined,
  catalog: Catalog,
  name: string,
  size: number,
  signal?: AbortSignal,
): Promise<DeletionRecord> {
  const known = catalog.deletion(store.name, name, size);
  if (known) return known;
  const json = await store.readMeta(key, 'deletion', name, deletionLimit, signal);
  const record = parseDeletion(json, `${store.name}: ${name}`);
  if (record.id !== deletionIdOf(name)) {
    throw new HoldfastError('IntegrityMismatch', `${store.name}: ${name} is another deletion record`);
  }
  catalog.putDeletion(store.name, name, size, record);
  return record;
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
      catalog.keepLost(row);
      catalog.dropSnapshot(row.id);
      gone.push(row.id);
    }
  }
  return gone;
}
