import type { Catalog, GoneSnapshot } from './catalog.js';
import type { DeletionRecord } from './deletions.js';
import { indexIdOf, pinIdOf, snapshotIdOf } from './layout.js';
import type { Store } from './store.js';
import type { SyncResult } from './sync.js';

/**
 * Compares what a destination lists now with what it listed last: roots that vanished without a deletion record that
 * names them are kept in the catalog until they are back or explained. To be called before the listing replaces the old one.
 */
export function noticeGone(
  catalog: Catalog,
  destination: string,
  objects: ReadonlyMap<string, number>,
  deletions: readonly DeletionRecord[],
): GoneSnapshot[] {
  const explained = new Set(deletions.flatMap((record) => record.snapshots.map(({ id }) => id)));
  const listed = new Set([...objects.keys()].flatMap((name) => snapshotIdOf(name) ?? []));
  for (const name of catalog.presence(destination).keys()) {
    const id = snapshotIdOf(name);
    if (id === undefined || objects.has(name)) continue;
    const row = catalog.snapshot(id);
    catalog.addGone({
      destination,
      id,
      seq: row?.seq ?? 0,
      time: row?.root.time ?? '',
      noticed: new Date().toISOString(),
    });
  }
  for (const row of catalog.gone()) {
    if (row.destination === destination && (listed.has(row.id) || explained.has(row.id)))
      catalog.dropGone(destination, row.id);
  }
  return catalog.gone().filter((row) => row.destination === destination);
}

/** A place where the chain of roots does not hold. */
export interface ChainGap {
  /** The root that names another as preceding it. */
  id: string;
  seq: number;
  previous: string;
  kind: 'missing' | 'replaced';
}

/**
 * Follows `previous` from root to root: one that is not known, and that no deletion record names, was removed; one whose
 * SHA-256 differs was replaced. `roots` are those of all destinations, `deletions` too.
 */
export function chainGaps(catalog: Catalog, deletions: readonly DeletionRecord[]): ChainGap[] {
  const known = new Map(catalog.snapshots().map((row) => [row.id, row.sha256]));
  const removed = new Map(
    deletions.flatMap((record) => record.snapshots.map(({ id, sha256 }) => [id, sha256] as const)),
  );
  const gaps: ChainGap[] = [];
  for (const { id, seq, root } of catalog.snapshots()) {
    if (!root.previous) continue;
    const sha256 = known.get(root.previous.id) ?? removed.get(root.previous.id);
    if (sha256 === root.previous.sha256) continue;
    gaps.push({ id, seq, previous: root.previous.id, kind: sha256 === undefined ? 'missing' : 'replaced' });
  }
  return gaps;
}

/** What a rollback looks like to people: one sentence for each destination that lost roots, one for each gap. */
export function rollbackMessages(gone: readonly GoneSnapshot[], gaps: readonly ChainGap[]): string[] {
  const messages: string[] = [];
  for (const destination of new Set(gone.map((row) => row.destination))) {
    const rows = gone.filter((row) => row.destination === destination);
    const names = rows.slice(0, 20).map(({ id, time }) => (time === '' ? id : `${id} (${time})`));
    const more = rows.length > names.length ? ` and ${rows.length - names.length} more` : '';
    messages.push(
      `${destination}: ${rows.length === 1 ? 'a snapshot that was' : `${rows.length} snapshots that were`} there ${rows.length === 1 ? 'is' : 'are'} gone, and no prune removed ${rows.length === 1 ? 'it' : 'them'}: ${names.join(', ')}${more}`,
    );
  }
  const lost = new Set(gone.map(({ id }) => id));
  for (const { id, previous, kind } of gaps) {
    if (lost.has(previous)) continue;
    messages.push(
      kind === 'missing'
        ? `the snapshot ${previous}, which ${id} followed, is gone, and no prune removed it`
        : `the snapshot ${previous}, which ${id} followed, is not the one it was: its root was replaced`,
    );
  }
  return messages;
}

/**
 * Traces of snapshots that a host which never saw this destination before can find: an index written after the newest root
 * that no root needs and no deletion record names, and pins of snapshots that are not there. The one may come from a run that
 * was cut off between index and root, too; whoever removes all that a snapshot consists of leaves nothing to be found.
 */
export async function traces(
  catalog: Catalog,
  store: Store,
  { objects, deletions, sealed }: SyncResult,
  signal?: AbortSignal,
): Promise<string[]> {
  // What the private key alone can read is not known to be unneeded.
  if (sealed.length > 0) return [];
  const rows = catalog.snapshots();
  const known = new Set(rows.map(({ id }) => id));
  const needed = catalog.expand(rows.flatMap(({ root }) => root.indexes));
  const removed = new Set(
    deletions.flatMap(({ indexes, snapshots }) => [...indexes, ...snapshots.map(({ id }) => id)]),
  );
  const messages: string[] = [];
  const unneeded = [...objects.keys()].filter((name) => {
    const id = indexIdOf(name);
    return id !== undefined && !needed.has(id) && !removed.has(id) && catalog.supersededBy(id).length === 0;
  });
  const newest = rows.find(({ name }) => objects.has(name));
  const since = newest && unneeded.length > 0 ? await store.stat(newest.name, signal) : undefined;
  for (const name of unneeded) {
    const written = (await store.stat(name, signal))?.modified;
    if (written === undefined || (since !== undefined && written <= since.modified)) continue;
    messages.push(
      `${store.name}: ${name}, written ${written.toISOString()}, belongs to no snapshot and is newer than all of them: a run was cut off there, or somebody removed its snapshot`,
    );
  }
  for (const name of objects.keys()) {
    const id = pinIdOf(name);
    if (id === undefined || known.has(id) || removed.has(id)) continue;
    messages.push(
      `${store.name}: the snapshot ${id} is pinned and is not here: another destination has it, or somebody removed it`,
    );
  }
  return messages;
}
