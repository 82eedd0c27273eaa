import { HoldfastError } from '../errors.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import { indexLimit, parseIndex } from '../repository/index-file.js';
import { indexName, snapshotIdOf } from '../repository/layout.js';
import { findLive, type Liveness, liveChunks, type Unresolved } from '../repository/liveness.js';
import { PackReader, scopeOf } from '../repository/reader.js';
import { rootHash, rootLimit } from '../repository/root.js';
import { canRead, type RepositoryKey } from '../repository/seal.js';
import type { Store } from '../repository/store.js';
import type { SyncResult } from '../repository/sync.js';
import type { CheckDestination, Finding } from '../workflows/care-types.js';

/** A finding with the chunks that can't be had for it. */
export interface RawFinding extends Omit<Finding, 'files' | 'moreFiles'> {
  chunks: string[];
}

export interface Inspection {
  destination: CheckDestination;
  findings: RawFinding[];
  live: Liveness;
}

export const rowsAt = (catalog: Catalog, objects: ReadonlyMap<string, number>): SnapshotRow[] =>
  catalog.snapshots().filter((row) => objects.has(row.name));

/** A reader for manifests: every destination serves, whichever is being checked. */
export const readerOf = (
  catalog: Catalog,
  stores: readonly Store[],
  key: RepositoryKey | undefined,
  signal: AbortSignal,
): PackReader =>
  new PackReader({
    key,
    stores,
    holders: (name) => catalog.holders(name),
    sizeOf: (pack) => catalog.packSizes([pack]).get(pack),
    signal,
  });

/** Compares what a destination lists with what its snapshots need and what catalog and indexes know. */
export async function inspect(
  catalog: Catalog,
  reader: PackReader,
  store: Store,
  key: RepositoryKey | undefined,
  { objects, damaged, gone }: SyncResult,
  signal: AbortSignal,
  onProgress: () => void,
): Promise<Inspection> {
  const findings: RawFinding[] = [];
  const name = store.name;
  const add = (kind: Finding['kind'], object: string, message: string, more: Partial<RawFinding> = {}): void => {
    findings.push({ destination: name, kind, object, message, chunks: [], snapshots: [], ...more });
  };
  for (const { name: object, message } of damaged) {
    const id = snapshotIdOf(object);
    add('damaged', object, message, id === undefined ? {} : { snapshots: [id] });
  }
  for (const { id, time } of gone) {
    const taken = time === '' ? '' : ` of ${time}`;
    add('rolledBack', id, `${name}: the snapshot ${id}${taken} was here and is gone, and no prune removed it`, {
      snapshots: [id],
    });
  }
  const rows = rowsAt(catalog, objects);
  const live = await findLive(
    catalog,
    reader,
    rows.map(({ root }) => root),
    { signal, onProgress, tolerant: true },
  );
  for (const index of live.indexes) {
    if (!objects.has(indexName(index))) add('missing', indexName(index), `${name}: ${indexName(index)} is missing`);
  }
  for (const [object, size] of objects) {
    const pack = catalog.packAt(object);
    const known = pack === undefined ? undefined : catalog.packSizes([pack]).get(pack);
    if (pack === undefined || known === undefined || known === size || catalog.isMarked(pack)) continue;
    add('size', object, `${name}: ${object} has ${size} bytes instead of ${known}`, {
      chunks: liveChunks(catalog, pack).map(([id]) => id),
    });
  }
  for (const pack of live.packs.keys()) {
    const object = catalog.objectOf(pack);
    if (objects.has(object)) continue;
    const chunks = liveChunks(catalog, pack).map(([id]) => id);
    add('missing', object, `${name}: ${object} is missing`, { chunks });
  }
  const nowhere: Unresolved[] = [];
  const lost = new Map<string, Unresolved[]>();
  const scopes = new Map(rows.map(({ id, root }) => [id, scopeOf(catalog, root)]));
  const current = new Map(live.roots.map((id, at) => [id, new Set(live.scopes[at])]));
  for (const each of live.unresolved) {
    const places = scopes.get(each.snapshot)?.locate(each.chunk) ?? [];
    if (places.length === 0) nowhere.push(each);
    // A pack that only a superseded index lists was given up in favour of another one.
    const listed = places.filter(({ pack }) =>
      catalog.indexesOf(catalog.packNumber(pack) ?? -1).some((index) => current.get(each.snapshot)?.has(index)),
    );
    for (const { pack } of listed.length > 0 ? listed : places) lost.set(pack, [...(lost.get(pack) ?? []), each]);
  }
  for (const [pack, needs] of lost) {
    const isStored = catalog.holders(catalog.objectOf(pack)).length > 0;
    const said = needs.find(({ message }) => message !== undefined)?.message;
    const message = isStored
      ? (said ?? 'is damaged')
      : `${catalog.objectOf(pack)} is missing, and no other destination has it`;
    add(isStored ? 'damaged' : 'missing', catalog.objectOf(pack), `${name}: ${message}`, summaryOf(needs));
  }
  const [first] = nowhere;
  if (first !== undefined) {
    const message = `${name}: ${nowhere.length} chunks that snapshots need are in no pack that an index lists`;
    add('unresolved', first.chunk, message, summaryOf(nowhere));
  }
  await readMetas(
    catalog,
    store,
    key,
    rows,
    [...live.indexes].filter((index) => objects.has(indexName(index))),
    signal,
    add,
  );
  const packs = [...objects].filter(([object]) => catalog.packAt(object) !== undefined);
  const unneeded = packs.filter(([object]) => !live.packs.has(catalog.packAt(object) ?? ''));
  const destination: CheckDestination = {
    name,
    error: null,
    snapshots: rows.length,
    objects: objects.size,
    bytes: [...objects.values()].reduce((sum, size) => sum + size, 0),
    read: { packs: 0, bytes: 0 },
    unneeded: { packs: unneeded.length, bytes: unneeded.reduce((sum, [, size]) => sum + size, 0) },
    oldestRead: null,
  };
  return { destination, findings, live };
}

const summaryOf = (needs: readonly Unresolved[]): Pick<RawFinding, 'chunks' | 'snapshots'> => ({
  chunks: [...new Set(needs.map(({ chunk }) => chunk))],
  snapshots: [...new Set(needs.map(({ snapshot }) => snapshot))],
});

/** Reads every root and needed index from the destination itself: what the catalog knows may come from another one. */
async function readMetas(
  catalog: Catalog,
  store: Store,
  key: RepositoryKey | undefined,
  rows: readonly SnapshotRow[],
  indexes: readonly string[],
  signal: AbortSignal,
  add: (kind: Finding['kind'], object: string, message: string, more?: Partial<RawFinding>) => void,
): Promise<void> {
  const tried = async (object: string, more: Partial<RawFinding>, read: () => Promise<void>): Promise<void> => {
    try {
      await read();
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.retryable || error.code === 'Cancelled') throw error;
      add(error.code === 'ObjectMissing' ? 'missing' : 'damaged', object, error.message, more);
    }
  };
  for (const { id, name, sha256 } of rows) {
    await tried(name, { snapshots: [id] }, async () => {
      if (!canRead(key)) {
        await store.readStored(key, 'snapshot', name, rootLimit, signal);
        return;
      }
      const json = await store.readMeta(key, 'snapshot', name, rootLimit, signal);
      if (rootHash(json) === sha256) return;
      throw new HoldfastError('IntegrityMismatch', `${store.name}: ${name} is another root than it was`);
    });
  }
  for (const index of indexes) {
    await tried(indexName(index), {}, async () => {
      if (!canRead(key)) {
        await store.readStored(key, 'index', indexName(index), indexLimit, signal);
        return;
      }
      const data = await store.readMeta(key, 'index', indexName(index), indexLimit, signal);
      const listed = new Set<string>();
      for (const { pack } of parseIndex(data, `${store.name}: ${indexName(index)}`)) listed.add(pack);
      if (catalog.packsOf(index).every(({ hash }) => listed.has(hash))) return;
      throw new HoldfastError('IntegrityMismatch', `${store.name}: ${indexName(index)} lists other packs than it did`);
    });
  }
}

/**
 * Packs to read now, those read longest ago first: so many percent of the bytes, or what has to be read for everything to
 * have been read once in `withinMs`.
 */
export function choosePacks(
  catalog: Catalog,
  name: string,
  objects: ReadonlyMap<string, number>,
  amount: { percent: number } | { withinMs: number },
  now: number,
): string[] {
  const verified = catalog.verified(name);
  const packs = [...objects]
    .flatMap(([object, size]) => {
      const pack = catalog.packAt(object);
      return pack === undefined || catalog.isMarked(pack) ? [] : [{ pack, size, at: verified.get(pack) ?? 0 }];
    })
    .sort((a, b) => a.at - b.at || (a.pack < b.pack ? -1 : 1));
  const total = packs.reduce((sum, { size }) => sum + size, 0);
  const before = Number(catalog.get(`checked:${name}`) ?? 0);
  // Until the next run as much time may pass as since the last one; a little more, so that nothing is late.
  const elapsed = before > 0 ? Math.max(0, now - before) : dayMs;
  const share = 'percent' in amount ? amount.percent / 100 : Math.min(1, (elapsed * 1.1) / amount.withinMs);
  const budget = total * share;
  const chosen: string[] = [];
  let bytes = 0;
  for (const { pack, size, at } of packs) {
    const isLate = 'withinMs' in amount && at > 0 && now + elapsed - at > amount.withinMs;
    if (bytes >= budget && !isLate) continue;
    chosen.push(pack);
    bytes += size;
  }
  return chosen;
}

const dayMs = 86_400_000;
