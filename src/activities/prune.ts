import { HoldfastError } from '../errors.js';
import { type DeletionRecord, deletionLimit, parseDeletion } from '../repository/deletions.js';
import {
  deletionIdOf,
  deletionName,
  indexIdOf,
  indexName,
  newObjectId,
  packHashOf,
  packName,
  snapshotIdOf,
} from '../repository/layout.js';
import { applyRetention } from '../repository/retention.js';
import { type Store, sealMeta } from '../repository/store.js';
import type { Warning } from '../workflows/types.js';
import { Removal } from './removal.js';
import type { RunContext } from './run-context.js';

/** No marked object is deleted before this much time has passed by the destination's clock. */
const graceMs = 72 * 3600 * 1000;
// A clock this far from ours is not to be trusted with deletions.
const clockToleranceMs = 3600 * 1000;

export interface PruneAnswer {
  removed: number;
  marked: number;
  deleted: number;
  warnings?: Warning[];
}

/**
 * Applies retention at one destination in two phases: roots that no rule keeps go, what only they referred to is marked;
 * what was marked 72 h ago and is still not referred to is deleted.
 */
export async function pruneDestination(
  context: RunContext,
  destination: string,
  signal: AbortSignal,
): Promise<PruneAnswer> {
  const rules = context.job.retention;
  if (!rules || context.destinationConfig(destination).deletes === false) return { removed: 0, marked: 0, deleted: 0 };
  const store = await context.store(destination);
  const key = await context.key();
  const { catalog } = context;
  const now = await store.destination.now(signal);
  if (Math.abs(now.getTime() - Date.now()) > clockToleranceMs) {
    throw new HoldfastError(
      'DestinationFailed',
      `${destination}: its clock says ${now.toISOString()}, more than an hour from this host's; nothing is removed`,
      {
        hint: 'Set both clocks right; retention goes on with the next run.',
        retryable: false,
      },
    );
  }
  const listed = new Map<string, number>();
  for await (const { name, size } of store.list('', signal)) listed.set(name, size);
  const here = catalog.snapshots().filter((row) => listed.has(row.name));
  const unknown = [...listed.keys()].find((name) => {
    const id = snapshotIdOf(name);
    return id !== undefined && catalog.snapshot(id) === undefined;
  });
  if (unknown !== undefined) {
    throw new HoldfastError(
      'IntegrityMismatch',
      `${destination}: ${store.key(unknown)} cannot be read, so what it needs is not known; nothing is removed`,
      { hint: 'Take it from another destination, or remove it if it is of no use any more.' },
    );
  }
  const newestTime = Math.max(...here.map((row) => Date.parse(row.root.time)));
  if (newestTime > now.getTime() + clockToleranceMs) return { removed: 0, marked: 0, deleted: 0 };
  const verdicts = applyRetention(
    here.map(({ root }) => ({
      id: root.id,
      seq: root.seq,
      time: Date.parse(root.time),
      complete: root.complete,
      pinned: root.pinned === true,
    })),
    rules,
    now.getTime(),
  );
  const goes = new Set(verdicts.filter((verdict) => verdict.reasons.length === 0).map((verdict) => verdict.id));
  const removal = new Removal(store, signal);
  // What is locked cannot go yet, so neither can what it needs.
  for (const row of here) if (goes.has(row.id) && (await removal.isLocked(row.name))) goes.delete(row.id);
  const stays = here.filter((row) => !goes.has(row.id));
  const unread = stays.flatMap((row) => row.root.indexes).find((index) => catalog.packsOf(index).length === 0);
  if (unread !== undefined) {
    throw new HoldfastError(
      'IntegrityMismatch',
      `${destination}: ${indexName(unread)} is damaged or gone, so which packs are needed is not known; nothing is removed`,
      { hint: 'Take it from another destination of the job.' },
    );
  }
  const live = liveObjects(
    context,
    stays.map((row) => row.root.indexes),
  );

  const records: { name: string; record: DeletionRecord }[] = [];
  for (const name of listed.keys()) {
    if (deletionIdOf(name) === undefined) continue;
    records.push({
      name,
      record: parseDeletion(
        await store.readMeta(key, 'deletion', name, deletionLimit, signal),
        `${store.name}: ${name}`,
      ),
    });
  }
  const answer: PruneAnswer = { removed: 0, marked: 0, deleted: 0 };
  answer.deleted = await deleteDue(removal, context, records, live, now);
  // Uploads that a crash left behind; those that are younger may be gone on with.
  await removal.sweep();

  if (goes.size === 0 || !(await removal.isAllowed())) return { ...answer, ...removal.warnings() };
  const already = new Set(
    records.filter(({ record }) => !record.done).flatMap(({ record }) => [...record.packs, ...record.indexes]),
  );
  const packs: string[] = [];
  const indexes: string[] = [];
  const candidates = new Set(here.filter((row) => goes.has(row.id)).flatMap((row) => row.root.indexes));
  for (const name of listed.keys()) {
    const index = indexIdOf(name);
    if (index !== undefined && candidates.has(index) && !live.indexes.has(index) && !already.has(index)) {
      indexes.push(index);
      for (const pack of catalog.packsOf(index))
        if (!live.packs.has(pack.hash) && !already.has(pack.hash)) packs.push(pack.hash);
    }
  }
  const record: DeletionRecord = {
    format: 1,
    id: newObjectId(),
    time: now.toISOString(),
    snapshots: here.filter((row) => goes.has(row.id)).map(({ id, seq, sha256 }) => ({ id, seq, sha256 })),
    packs: [...new Set(packs)],
    indexes,
  };
  await putRecord(store, key, record, signal);
  for (const row of here) {
    if (!goes.has(row.id)) continue;
    if (!(await removal.delete(row.name))) break;
    catalog.dropPresence(destination, row.name);
    if (catalog.holders(row.name).length === 0) catalog.dropSnapshot(row.id);
    answer.removed++;
  }
  answer.marked = record.packs.length + record.indexes.length;
  return { ...answer, ...removal.warnings() };
}

function liveObjects(context: RunContext, scopes: string[][]): { packs: Set<string>; indexes: Set<string> } {
  const indexes = new Set(scopes.flat());
  const packs = new Set<string>();
  for (const index of indexes) for (const pack of context.catalog.packsOf(index)) packs.add(pack.hash);
  return { packs, indexes };
}

async function putRecord(
  store: Store,
  key: Awaited<ReturnType<RunContext['key']>>,
  record: DeletionRecord,
  signal: AbortSignal,
): Promise<void> {
  const name = deletionName(record.id);
  const bytes = await sealMeta(key, 'deletion', name, Buffer.from(JSON.stringify(record), 'utf8'));
  await store.destination.put(store.key(name), { bytes }, { signal });
}

async function deleteDue(
  removal: Removal,
  context: RunContext,
  records: { name: string; record: DeletionRecord }[],
  live: { packs: Set<string>; indexes: Set<string> },
  now: Date,
): Promise<number> {
  const { store, signal } = removal;
  let deleted = 0;
  for (const { record } of records) {
    const age = now.getTime() - Date.parse(record.time);
    if (record.done || !(age >= graceMs)) continue;
    const due = [
      ...record.indexes.filter((index) => !live.indexes.has(index)).map(indexName),
      ...record.packs.filter((pack) => !live.packs.has(pack) && packHashOf(packName(pack)) !== undefined).map(packName),
    ];
    let left = 0;
    for (const name of due) {
      if ((await removal.isLocked(name)) || !(await removal.delete(name))) {
        left++;
        continue;
      }
      context.catalog.dropPresence(store.name, name);
      deleted++;
    }
    if (left === 0) await putRecord(store, await context.key(), { ...record, done: now.toISOString() }, signal);
  }
  return deleted;
}
