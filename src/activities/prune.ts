import { existsSync } from 'node:fs';
import { HoldfastError } from '../errors.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import type { DeletionRecord } from '../repository/deletions.js';
import { deletionIdOf, deletionName, indexIdOf, indexName, newObjectId, snapshotIdOf } from '../repository/layout.js';
import { findLive, type Liveness, type LostIndex, lostIndexes } from '../repository/liveness.js';
import { isLoss, PackReader } from '../repository/reader.js';
import { planRepack } from '../repository/repack-plan.js';
import type { Root } from '../repository/root.js';
import { canRead, type RepositoryKey } from '../repository/seal.js';
import { type Store, sealMeta } from '../repository/store.js';
import { readDeletion } from '../repository/sync.js';
import type { Warning } from '../workflows/types.js';
import { type SendProgress, supply } from './commit.js';
import { Removal } from './removal.js';
import { type CareContext, repackGroup } from './repack.js';
import { damagedAt, refuseJumpedClocks, rememberDamage, retentionVerdicts, tidiedKey } from './retention-verdicts.js';
import { spoolFiles } from './threads/spool-files.js';

/** No marked object is deleted before this much time has passed by the destination's clock. */
const graceMs = 72 * 3600 * 1000;

export interface PruneOptions {
  /** Look for what nobody needs even if no snapshot goes. */
  thorough?: boolean;
  /** Believe the clocks though they seem to have jumped. */
  trustClock?: boolean;
}

export interface PruneAnswer {
  /** Roots removed. */
  removed: number;
  /** Packs and indexes marked for deletion. */
  marked: number;
  /** Packs and indexes deleted, marked at least 72 h ago. */
  deleted: number;
  /** Stored bytes of the deleted ones. */
  freed: number;
  /** Packs and indexes whose content was put together anew. */
  repacked: number;
  warnings?: Warning[];
}

/**
 * Applies retention at one destination in two phases: roots that no rule keeps go and what only they needed is marked; what
 * was marked 72 h ago and is still not needed is deleted. Nothing is marked, removed or deleted unless every chunk of
 * every snapshot that stays was found to be stored here. What of a snapshot nobody has any more is told; the rest of it
 * stays, and so does what the rules would keep in its place.
 */
export async function pruneDestination(
  context: CareContext,
  destination: string,
  signal: AbortSignal,
  onProgress: SendProgress = () => undefined,
  options: PruneOptions = {},
): Promise<PruneAnswer> {
  const answer: PruneAnswer = { removed: 0, marked: 0, deleted: 0, freed: 0, repacked: 0 };
  if (context.job.retention === undefined && options.thorough !== true) return answer;
  if (context.destinationConfig(destination).deletes === false) return answer;
  const store = await context.store(destination);
  const key = await context.key();
  const { catalog } = context;
  const listed = new Map<string, number>();
  for await (const { name, size } of store.list('', signal)) listed.set(name, size);
  const here = catalog.snapshots().filter((row) => listed.has(row.name));
  refuseUnknownRoots(context, store, key, listed);
  const now = await store.destination.now(signal);
  if (options.trustClock !== true) refuseJumpedClocks(context.job, destination, here, now);
  const removal = new Removal(store, signal);
  const isHere = new Set(here.map(({ id }) => id));
  const damaged = new Set([...damagedAt(catalog, destination)].filter((id) => isHere.has(id)));
  const chosen = await chooseLeaving(context, removal, here, damaged, now);

  const records: DeletionRecord[] = [];
  for (const [name, size] of listed) {
    if (deletionIdOf(name) !== undefined) records.push(await readDeletion(store, key, catalog, name, size, signal));
  }
  const open = records.filter((record) => record.done === undefined);
  const due = open.filter((record) => now.getTime() - Date.parse(record.time) >= graceMs);
  const tidyKey = tidiedKey(destination);
  const untidy = options.thorough === true || chosen.length > 0 || catalog.get(tidyKey) !== '1';
  // Uploads that a crash left behind; those that are younger may be gone on with.
  await removal.sweep();
  if ((!untidy && due.length === 0) || !(await removal.isAllowed()))
    return withWarnings(answer, damageWarnings(destination, damaged), removal.warnings());
  catalog.set(tidyKey, '');
  catalog.addMarks(open.flatMap((record) => record.packs));

  const others = await otherStores(context, destination);
  const reader = new PackReader({
    key,
    stores: [store, ...others],
    holders: (name) => catalog.holders(name),
    local: (pack) => spoolFiles.pack(context.folder, pack),
    sizeOf: (pack) => catalog.packSizes([pack]).get(pack),
    signal,
  });
  const lost = new Set<string>();
  /** What stays, and what that needs. Of snapshots found damaged now, the rules choose others in their place. */
  const needs = async (): Promise<{ live: Liveness; leaving: SnapshotRow[]; blind: Blind }> => {
    for (let leaving = chosen; ; ) {
      const roots = here.filter((row) => !leaving.includes(row)).map(({ root }) => root);
      const blind = blindnessOf(context, store, key, listed, roots);
      const live = await findLive(catalog, reader, roots, {
        signal,
        onProgress: () => onProgress(0),
        tolerant: isLoss,
        lost,
      });
      const found = [...live.damaged].filter((id) => !damaged.has(id));
      if (found.length === 0) return { live, leaving, blind };
      for (const id of found) damaged.add(id);
      leaving = await chooseLeaving(context, removal, here, damaged, now);
    }
  };
  let { live, leaving, blind } = await needs();
  if (untidy) {
    for (const group of planRepack(catalog, live, canRead(key), lost)) {
      answer.repacked += await repackGroup(context, store, reader, group, lost, signal, onProgress);
    }
    if (answer.repacked > 0 || lost.size > 0) ({ live, leaving, blind } = await needs());
  }
  for (let known = -1; known < lost.size; ) {
    known = lost.size;
    await supplyLive(context, store, key, others, live, lost, signal, onProgress);
    // Another copy may serve in the place of one that nobody has whole.
    if (lost.size > known) ({ live, leaving, blind } = await needs());
  }
  rememberDamage(catalog, destination, live);
  const isKept = keeper(catalog, live, lost, blind);

  for (const record of due) await deleteMarked(context, removal, key, record, isKept, now, answer, onProgress);
  const marked = new Set(
    open.filter((record) => !due.includes(record)).flatMap(({ packs, indexes }) => [...packs, ...indexes]),
  );
  const record: DeletionRecord = {
    format: 1,
    id: newObjectId(),
    time: now.toISOString(),
    snapshots: leaving.map(({ id, seq, sha256 }) => ({ id, seq, sha256 })),
    ...(untidy ? await unneeded(context, store, isKept, marked, signal) : { packs: [], indexes: [] }),
  };
  answer.marked = record.packs.length + record.indexes.length;
  if (answer.marked === 0) record.done = record.time;
  if (answer.marked + leaving.length > 0) {
    // Before anything goes: a root that vanished without a record is an alarm.
    await putRecord(store, key, record, signal);
    catalog.addMarks(record.packs);
  }
  for (const row of leaving) {
    if (!(await removal.delete(row.name))) break;
    catalog.dropPresence(destination, row.name);
    if (catalog.holders(row.name).length === 0) catalog.dropSnapshot(row.id);
    answer.removed++;
  }
  if (untidy) catalog.set(tidyKey, '1');
  return withWarnings(answer, damageWarnings(destination, live.damaged, { live, blind }), removal.warnings());
}

const withWarnings = (answer: PruneAnswer, ...lists: Warning[][]): PruneAnswer =>
  lists.every((list) => list.length === 0) ? answer : { ...answer, warnings: lists.flat() };

/** Which snapshots go: those that no rule keeps, be the damaged ones counted as good or not. */
async function chooseLeaving(
  context: CareContext,
  removal: Removal,
  here: readonly SnapshotRow[],
  damaged: ReadonlySet<string>,
  now: Date,
): Promise<SnapshotRow[]> {
  const verdicts = retentionVerdicts(context.catalog, context.job, here, now.getTime(), damaged);
  const goes = new Set(verdicts.filter((verdict) => verdict.reasons.length === 0).map((verdict) => verdict.id));
  // What is locked cannot go yet, so neither can what it needs.
  for (const row of here) if (goes.has(row.id) && (await removal.isLocked(row.name))) goes.delete(row.id);
  return here.filter((row) => goes.has(row.id));
}

/** What a root needs that cannot be read is not known: nothing may go. */
function refuseUnknownRoots(
  context: CareContext,
  store: Store,
  key: RepositoryKey | undefined,
  listed: ReadonlyMap<string, number>,
): void {
  const unknown = [...listed.keys()].find((name) => {
    const id = snapshotIdOf(name);
    return id !== undefined && context.catalog.snapshot(id) === undefined;
  });
  if (unknown === undefined) return;
  if (!canRead(key)) refuseSealed(context, store, unknown);
  throw new HoldfastError(
    'IntegrityMismatch',
    `${store.name}: ${store.key(unknown)} cannot be read, so what it needs is not known; nothing is removed`,
    {
      hint: `'holdfast check ${context.jobName} --repair' takes it from another destination where one has it, and else sets it aside.`,
    },
  );
}

function refuseSealed(context: CareContext, store: Store, name: string): never {
  throw new HoldfastError(
    'PrivateKeyNeeded',
    `${store.name}: ${store.key(name)} is unknown to this host's catalog, so what it needs is not known; nothing is removed`,
    { hint: `'holdfast catalog rebuild ${context.jobName} --identity FILE' makes it known.` },
  );
}

/** Indexes that snapshots name and nobody has: what they listed is not known, so it could be any pack of these generations. */
type Blind = Pick<LostIndex, 'generations'> & { names: string[] };

function blindnessOf(
  context: CareContext,
  store: Store,
  key: RepositoryKey | undefined,
  listed: ReadonlyMap<string, number>,
  roots: readonly Root[],
): Blind {
  const lost = lostIndexes(context.catalog, roots);
  const names = lost.map(({ index }) => indexName(index));
  const sealed = names.find((name) => listed.has(name));
  if (sealed !== undefined && !canRead(key)) refuseSealed(context, store, sealed);
  return { names, generations: new Set(lost.flatMap(({ generations }) => [...generations])) };
}

/** Says of a pack's or an index's id whether it has to stay. */
interface Keeper {
  pack(hash: string): boolean;
  index(id: string): boolean;
}

function keeper(catalog: Catalog, live: Liveness, lost: ReadonlySet<string>, blind: Blind): Keeper {
  const isBlind = (generation: string | undefined): boolean =>
    blind.names.length > 0 && (generation === undefined || blind.generations.has(generation));
  const generationOf = (hash: string): string | undefined =>
    catalog.packByNumber(catalog.packNumber(hash) ?? -1)?.generation;
  return {
    pack: (hash) => live.packs.has(hash) || lost.has(hash) || isBlind(generationOf(hash)),
    index: (id) => {
      if (live.indexes.has(id)) return true;
      if (blind.names.length === 0) return false;
      const packs = catalog.packsOf(id);
      return packs.length === 0 || packs.some(({ generation }) => isBlind(generation));
    },
  };
}

function damageWarnings(
  destination: string,
  damaged: ReadonlySet<string>,
  found?: { live: Liveness; blind: Blind },
): Warning[] {
  if (damaged.size === 0) return [];
  const ids = [...damaged];
  const more = ids.length > maxNamed ? ` and ${ids.length - maxNamed} more` : '';
  const message = `${destination}: snapshots ${ids.slice(0, maxNamed).join(', ')}${more} are damaged beyond repair${lossOf(found)}; what is left of them stays`;
  return [{ code: 'SnapshotDamaged', message }];
}

function lossOf(found: { live: Liveness; blind: Blind } | undefined): string {
  if (!found) return '';
  const { live, blind } = found;
  const [index] = blind.names;
  if (index !== undefined) return `: ${index}, which says where their content is, is nowhere any more`;
  return `: what they need is nowhere whole any more, such as chunk ${live.unresolved[0]?.chunk ?? ''}`;
}

const maxNamed = 20;

async function otherStores(context: CareContext, destination: string): Promise<Store[]> {
  const others: Store[] = [];
  for (const name of context.job.destinations) {
    if (name === destination) continue;
    try {
      others.push(await context.store(name));
    } catch (error) {
      // One that can't even be opened (its secret is missing) helps nobody, and hinders nobody.
      context.host.log.debug({ err: error, destination: name }, 'not asked for missing packs');
    }
  }
  return others;
}

/** What was chosen to be kept is to be here before anything else is given up. */
async function supplyLive(
  context: CareContext,
  store: Store,
  key: RepositoryKey | undefined,
  others: Store[],
  live: Liveness,
  lost: Set<string>,
  signal: AbortSignal,
  onProgress: SendProgress,
): Promise<void> {
  const listed = new Map<string, number>();
  for await (const { name, size } of store.list('', signal)) listed.set(name, size);
  const spoolFile = (pack: string): string | undefined => {
    const file = spoolFiles.pack(context.folder, pack);
    return existsSync(file) ? file : undefined;
  };
  const onLost = (pack: string): void => void lost.add(pack);
  const suppliers = { spoolFile, others, scratch: context.folder, onLost };
  const packs = [...live.packs.keys()];
  const indexes = [...live.indexes].filter((index) => context.catalog.packsOf(index).length > 0);
  await supply(context.catalog, store, key, listed, packs, indexes, suppliers, signal, onProgress);
}

/** Packs and indexes at the destination that no snapshot needs and no open record marks. */
async function unneeded(
  context: CareContext,
  store: Store,
  isKept: Keeper,
  marked: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<{ packs: string[]; indexes: string[] }> {
  const { catalog, host, jobName } = context;
  const listed: string[] = [];
  for await (const { name } of store.list('', signal)) listed.push(name);
  const indexes = listed.flatMap((name) => indexIdOf(name) ?? []);
  // Packs that no index lists may be on their way to a destination that missed a snapshot.
  const isOwing = host.history.debtors().some(([job]) => job === jobName);
  const inIndexes = new Set(isOwing ? indexes.flatMap((index) => catalog.packsOf(index).map((pack) => pack.hash)) : []);
  const packs = listed.flatMap((name) => catalog.packAt(name) ?? []).filter((pack) => !isOwing || inIndexes.has(pack));
  return {
    packs: packs.filter((pack) => !isKept.pack(pack) && !marked.has(pack)),
    indexes: indexes.filter((index) => !isKept.index(index) && !marked.has(index)),
  };
}

/** The second phase of one record: indexes, then packs; what is needed again is left, what is locked waits. */
async function deleteMarked(
  context: CareContext,
  removal: Removal,
  key: RepositoryKey | undefined,
  record: DeletionRecord,
  isKept: Keeper,
  now: Date,
  answer: PruneAnswer,
  onProgress: SendProgress,
): Promise<void> {
  const { catalog } = context;
  const { store, signal } = removal;
  let left = 0;
  const present = catalog.presence(store.name);
  const remove = async (name: string): Promise<boolean> => {
    if ((await removal.isLocked(name)) || !(await removal.delete(name))) {
      left++;
      return false;
    }
    catalog.dropPresence(store.name, name);
    answer.deleted++;
    answer.freed += present.get(name) ?? 0;
    onProgress(0);
    return true;
  };
  for (const index of record.indexes) {
    if (isKept.index(index)) continue;
    if (!(await remove(indexName(index))) || catalog.holders(indexName(index)).length > 0) continue;
    const packs = catalog.packsOf(index).map((pack) => pack.hash);
    catalog.unlist(index, packs);
  }
  for (const pack of record.packs) {
    if (isKept.pack(pack)) continue;
    if ((await remove(catalog.objectOf(pack))) && catalog.holders(catalog.objectOf(pack)).length === 0)
      catalog.forgetPacks([pack]);
  }
  if (left === 0) await putRecord(store, key, { ...record, done: now.toISOString() }, signal);
}

async function putRecord(
  store: Store,
  key: RepositoryKey | undefined,
  record: DeletionRecord,
  signal: AbortSignal,
): Promise<void> {
  const name = deletionName(record.id);
  const bytes = await sealMeta(key, 'deletion', name, Buffer.from(JSON.stringify(record), 'utf8'));
  await store.destination.put(store.key(name), { bytes }, { signal });
}
