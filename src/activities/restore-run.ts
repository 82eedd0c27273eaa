import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, HoldfastError } from '../errors.js';
import { bootId } from '../platform/boot.js';
import { SafeRoot } from '../platform/restore-fs.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import { packName, snapshotIdOf } from '../repository/layout.js';
import { type PackProblem, PackReader, scopeOf } from '../repository/reader.js';
import { checkSpace, joinPlans, partsFor } from '../repository/restore/join-plans.js';
import {
  loadPath,
  type PlannedFile,
  type PlannedLarge,
  type PlannedPieces,
  planFiles,
  type RestorePlan,
  type Share,
  type Tally,
} from '../repository/restore/plan-files.js';
import { packLines, planLines } from '../repository/restore/plan-lines.js';
import { addTally, newTally, warn } from '../repository/restore/tally.js';
import { removeIfThere, type WriteResult } from '../repository/restore/write-pack.js';
import type { Root } from '../repository/root.js';
import type { RepositoryKey } from '../repository/seal.js';
import { resolveHolding, resolveSnapshot } from '../repository/snapshots.js';
import type { Store } from '../repository/store.js';
import { dumpPath } from '../sources/dump-paths.js';
import type { RestoreDocument, RestoreInput } from '../workflows/restore-types.js';
import type { Warning } from '../workflows/types.js';
import { openHydrated, withContent } from './hydrate.js';
import { packSlots } from './pack-slots.js';
import { readJson, writeJson } from './threads/line-writer.js';
import type { TaskGroup } from './threads/pool.js';
import { planOf } from './threads/restore-task.js';

/** A job's repository, open for reading. */
export interface RestoreRepository {
  catalog: Catalog;
  /** Reachable destinations in the order to ask them. */
  stores: readonly Store[];
  key: RepositoryKey | undefined;
  /** Destinations that did not answer, damaged indexes and the like. */
  warnings: readonly Warning[];
  /** A pack's local copy, asked first; it need not exist. */
  local?: (pack: string) => string;
  /** The password of the job's zip files, where the config has one. */
  archivePassword?: () => Promise<string | undefined>;
}

/** Runs tasks in worker threads; in tests, in place. */
export type TaskRunner = Pick<TaskGroup, 'run'>;

export interface RestoreStep {
  input: RestoreInput;
  run: string;
  /** The run's scratch folder. */
  scratch: string;
  tasks: TaskRunner;
  signal: AbortSignal;
}

export interface RestorePlanAnswer {
  snapshot: string;
  packs: number;
  /** Into how many slices the packs are divided. */
  slices: number;
  files: number;
  bytes: number;
  done: { restored: number; skipped: number; failed: number };
}

export interface RestoreCounts {
  restored: number;
  skipped: number;
  failed: number;
  bytes: number;
}

/** Packs being fetched or written at once, per slice. */
const inFlight = 2;
const slicesAtMost = 400;
const packsPerSlice = 32;

/** Two slices at least where there is more than a handful: two are worked on at a time. */
function sliceCount(packs: number): number {
  if (packs <= 4) return 1;
  const size = Math.max(packsPerSlice, Math.ceil(packs / slicesAtMost));
  return Math.max(2, Math.ceil(packs / size));
}

/** Chooses the snapshot, reads its manifest, writes the plan, makes the directories. */
export async function planStep(
  step: RestoreStep,
  repository: RestoreRepository,
  patient: boolean,
): Promise<RestorePlanAnswer> {
  const { input, scratch } = step;
  const { catalog } = repository;
  mkdirSync(path.join(scratch, 'manifest'), { recursive: true, mode: 0o700 });
  if (!path.isAbsolute(input.target)) {
    throw new HoldfastError('UsageInvalid', `expected an absolute target, found ${JSON.stringify(input.target)}`);
  }
  const early = newTally();
  for (const { code, message } of repository.warnings) warn(early, code, message);
  const known = readJson<RestorePlan>(planFiles.plan(scratch));
  refuseUnreadable(repository);
  const snapshot = known?.snapshot ?? chooseSnapshot(catalog, input, early);
  const row = rowOf(catalog, snapshot);
  noteNewer(repository, row, input.snapshot, early);
  const warnOf = (code: string, message: string): void => warn(early, code, message);
  const here = await withContent({ ...step, warn: warnOf }, repository, row, input.paths);
  try {
    return await planFrom(step, here, patient, snapshot, known, early);
  } finally {
    if (here !== repository) here.catalog.close();
  }
}

/** @throws HoldfastError IntegrityMismatch where there are snapshots, and none of them can be read. */
export function refuseUnreadable({ catalog, warnings }: Pick<RestoreRepository, 'catalog' | 'warnings'>): void {
  if (catalog.snapshotIds().size > 0) return;
  const unread = warnings.find(({ path: name }) => name !== undefined && snapshotIdOf(name) !== undefined);
  if (unread === undefined) return;
  throw new HoldfastError('IntegrityMismatch', `no snapshot there can be read: ${unread.message}`, {
    hint: 'Is holdfast.json the one of this repository? The state folder of the host keeps a copy of it in keys/.',
    retryable: false,
  });
}

/** Says that a newer snapshot can't be read where the latest was asked for: then less than all is done. */
export function noteNewer(
  { catalog, warnings }: Pick<RestoreRepository, 'catalog' | 'warnings'>,
  row: SnapshotRow,
  reference: string,
  tally: Tally,
): void {
  if (reference !== 'latest') return;
  for (const { path: name = '' } of warnings) {
    const id = snapshotIdOf(name);
    if (id === undefined || catalog.snapshot(id) !== undefined || name < row.name) continue;
    warn(tally, 'SnapshotOlder', `the snapshot ${id} can't be read; this is the one of ${row.root.time} (${row.id})`);
    tally.skippedOther++;
  }
}

async function planFrom(
  step: RestoreStep,
  repository: RestoreRepository,
  patient: boolean,
  snapshot: string,
  known: RestorePlan | undefined,
  early: Tally,
): Promise<RestorePlanAnswer> {
  const { input, scratch, tasks } = step;
  const about = { catalog: repository.catalog.file, snapshot, paths: input.paths };
  if (!known) {
    const reader = readerOf(step, repository, early);
    const bad = new Set<string>();
    for (;;) {
      const packs = await tasks.run('restoreNeedsTask', { ...about, bad: [...bad] });
      const before = bad.size;
      for (const pack of packs) {
        const file = planFiles.manifestPack(scratch, pack);
        if (existsSync(file)) continue;
        try {
          const stored = await reader.fetch(pack);
          writeFileSync(`${file}.tmp`, stored, { mode: 0o600 });
          renameSync(`${file}.tmp`, file);
        } catch (error) {
          if (!isLost(error, patient)) throw error;
          bad.add(pack);
        }
      }
      // What one pack lost another may have.
      if (bad.size === before) break;
    }
    writeJson(path.join(scratch, 'early.json'), early);
  }
  const plan = known ?? (await planAll(step, repository, snapshot));
  if (!existsSync(planFiles.made(scratch))) {
    const made = newTally();
    for (const tally of await shared((share) => tasks.run('restoreMakeTask', { scratch, share })))
      addTally(made, tally);
    if (plan.large > 0) await tasks.run('restoreLargeTask', { scratch });
    writeJson(planFiles.made(scratch), made);
  }
  rmSync(path.join(scratch, 'manifest'), { recursive: true, force: true });
  return {
    snapshot,
    packs: plan.packs.length,
    slices: plan.packs.length === 0 ? 0 : sliceCount(plan.packs.length),
    files: plan.files,
    bytes: plan.bytes,
    done: { restored: plan.tally.restored, skipped: plan.tally.skipped, failed: plan.tally.failed },
  };
}

/** The snapshot that is asked for; of a database the newest one that has it, when the newest of all is. */
function chooseSnapshot(catalog: Catalog, { snapshot, database }: RestoreInput, early: Tally): string {
  if (database === undefined) return resolveSnapshot(catalog, snapshot).id;
  const { source, name } = database;
  const wanted = dumpPath(source, name);
  const row = resolveHolding(catalog, snapshot, { source, path: wanted }, `the database ${name} of ${source}`);
  const newest = catalog.snapshots()[0];
  if (snapshot === 'latest' && newest !== undefined && newest.id !== row.id) {
    warn(
      early,
      'SnapshotOlder',
      `the newest snapshot has no dump of ${name}; this is the one of ${row.root.time} (${row.id})`,
    );
  }
  return row.id;
}

/** Plans in as many threads as the manifest is worth. */
async function planAll(step: RestoreStep, { catalog, key }: RestoreRepository, snapshot: string): Promise<RestorePlan> {
  const { input, scratch, tasks } = step;
  const root = rootOf(catalog, snapshot);
  const about = {
    catalog: catalog.file,
    snapshot,
    paths: input.paths,
    target: input.target,
    overwrite: input.overwrite,
  };
  const parts = await shared(
    (share) => tasks.run('restorePlanTask', { ...about, scratch, key, share }),
    partsFor(root, input.paths),
  );
  const plan = joinPlans(parts);
  checkSpace(input.target, plan.needed);
  writeJson(planFiles.plan(scratch), plan);
  return plan;
}

const rootOf = (catalog: Catalog, snapshot: string): Root => rowOf(catalog, snapshot).root;

function rowOf(catalog: Catalog, snapshot: string): SnapshotRow {
  const row = catalog.snapshot(snapshot);
  if (row) return row;
  throw new HoldfastError('SnapshotUnknown', `snapshot ${snapshot} is not in the catalog`);
}

/** Divides a step between threads; waits for all of them whatever happens. */
async function shared<T>(run: (share: Share) => Promise<T>, of = 2): Promise<T[]> {
  const ended = await Promise.allSettled(Array.from({ length: of }, (_, number) => run({ number, of })));
  return ended.map((end) => {
    if (end.status === 'rejected') throw end.reason;
    return end.value;
  });
}

interface JournalLine {
  boot: string;
  number: number;
  result: WriteResult;
}

/** Restores the files of one slice's packs; packs done by an earlier attempt are left out. */
export async function packsStep(
  step: RestoreStep & { slice: number },
  repository: RestoreRepository,
  attempt: { retry: boolean; patient: boolean },
): Promise<RestoreCounts> {
  const { scratch, slice } = step;
  const here = openHydrated(scratch, repository);
  const plan = planOf(scratch);
  const count = sliceCount(plan.packs.length);
  const journal = planFiles.journal(scratch, slice);
  const tally = newTally();
  const done = new Set<number>();
  for (const { number, result, boot } of readJournal(journal)) {
    // What was not synced before a power cut counts as not done.
    if (boot !== bootId()) continue;
    done.add(number);
    addTally(tally, result.tally);
  }
  const queue: number[] = [];
  for (let number = slice; number < plan.packs.length; number += count) if (!done.has(number)) queue.push(number);

  const one = async (number: number): Promise<void> => {
    const noticed = newTally();
    const result = await restorePack(step, here, plan, number, attempt, noticed);
    addTally(result.tally, noticed);
    appendFileSync(journal, `${JSON.stringify({ boot: bootId(), number, result } satisfies JournalLine)}\n`, {
      mode: 0o600,
    });
    addTally(tally, result.tally);
  };
  const worker = async (): Promise<void> => {
    for (let number = queue.shift(); number !== undefined; number = queue.shift()) {
      step.signal.throwIfAborted();
      await one(number);
    }
  };
  const workers = Array.from({ length: Math.min(count === 1 ? inFlight + 1 : inFlight, queue.length) }, worker);
  const ended = await Promise.allSettled(workers);
  if (here !== repository) here.catalog.close();
  const failed = ended.find((end) => end.status === 'rejected');
  if (failed) throw failed.reason;
  return { restored: tally.restored, skipped: tally.skipped, failed: tally.failed, bytes: tally.bytes };
}

async function restorePack(
  step: RestoreStep,
  repository: RestoreRepository,
  plan: RestorePlan,
  number: number,
  attempt: { retry: boolean; patient: boolean },
  noticed: Tally,
): Promise<WriteResult> {
  const { scratch, tasks } = step;
  const { key } = repository;
  const pack = plan.packs[number]?.pack ?? '';
  const task = { scratch, number, key, retry: attempt.retry };
  if (pack === '') return tasks.run('restorePackTask', task);
  try {
    return await packSlots.with(async (memory) => {
      const stored = await readerOf(step, repository, noticed).fetch(pack, memory);
      return tasks.run('restorePackTask', { ...task, stored });
    });
  } catch (error) {
    if (!isLost(error, attempt.patient)) throw error;
    const message = error instanceof Error ? error.message : String(error);
    const chunks = await rescueChunks(step, repository, plan, number, pack);
    return tasks.run('restorePackTask', { ...task, retry: true, rescued: { chunks, message } });
  }
}

/** A lost pack's chunks, as far as other packs in the snapshot's scope hold them. */
async function rescueChunks(
  step: RestoreStep,
  repository: RestoreRepository,
  plan: RestorePlan,
  number: number,
  lost: string,
): Promise<Map<string, Uint8Array>> {
  const scope = scopeOf(repository.catalog, rootOf(repository.catalog, plan.snapshot));
  const reader = readerOf(step, repository, newTally());
  const chunks = new Map<string, Uint8Array>();
  for (const line of packLines(step.scratch, plan, number)) {
    for (const [id] of (JSON.parse(line) as PlannedFile | PlannedPieces).chunks) {
      if (chunks.has(id)) continue;
      const places = scope.locate(id).filter((place) => place.pack !== lost);
      if (places.length === 0) continue;
      try {
        chunks.set(id, new Uint8Array(await reader.chunk(id, places)));
      } catch (error) {
        if (!isLost(error, false)) throw error;
      }
    }
  }
  return chunks;
}

/** Whether it makes no sense to wait for the pack: nobody has it, or nobody has answered for long enough. */
function isLost(error: unknown, patient: boolean): boolean {
  if (!(error instanceof HoldfastError) || error.code === 'Cancelled') return false;
  if (error.code === 'IntegrityMismatch' || error.code === 'ObjectMissing') return true;
  return !patient && error.code.startsWith('Destination');
}

function readerOf(step: RestoreStep, { catalog, stores, key, local }: RestoreRepository, noticed: Tally): PackReader {
  return new PackReader({
    key,
    ...(local === undefined ? {} : { local }),
    stores,
    signal: step.signal,
    holders: (name) => catalog.holders(name),
    sizeOf: (pack) => catalog.packSizes([pack]).get(pack),
    onProblem: (problem) => noteProblem(noticed, problem),
  });
}

const problemCodes = { damaged: 'PackDamaged', missing: 'PackMissing', unreachable: 'DestinationUnreachable' } as const;

/** Counts a pack that one destination should have had. */
export function noteProblem(tally: Tally, { destination, pack, kind, message }: PackProblem): void {
  warn(tally, problemCodes[kind], kind === 'missing' ? `${destination}: ${packName(pack)} is missing` : message);
}

/** Links, special files, directories; then what became of the whole restore. */
export async function finishStep(step: RestoreStep, startedAt: string): Promise<RestoreDocument> {
  const { scratch, input, run, tasks } = step;
  const known = readJson<RestoreDocument>(planFiles.finished(scratch));
  if (known) return known;
  const plan = planOf(scratch);
  const sum = newTally();
  addTally(sum, readJson<Tally>(path.join(scratch, 'early.json')) ?? newTally());
  addTally(sum, plan.tally);
  addTally(sum, readJson<Tally>(planFiles.made(scratch)) ?? newTally());
  const lost = new Map<number, string>();
  const done = new Set<number>();
  const slices = plan.packs.length === 0 ? 0 : sliceCount(plan.packs.length);
  for (let slice = 0; slice < slices; slice++) {
    for (const { number, result } of latest(readJournal(planFiles.journal(scratch, slice)))) {
      done.add(number);
      addTally(sum, result.tally);
      for (const { large, message } of result.lost) if (!lost.has(large)) lost.set(large, message);
    }
  }
  if (done.size !== plan.packs.length) {
    throw new HoldfastError(
      'SpoolLost',
      `${plan.packs.length - done.size} packs of the restore have no record in ${scratch}`,
    );
  }
  addTally(sum, await tasks.run('restoreFinishTask', { scratch, lost: [...lost] }));
  for (const tally of await shared((share) => tasks.run('restoreDirsTask', { scratch, share }))) addTally(sum, tally);
  if (plan.late > 0) addTally(sum, await tasks.run('restoreDirsTask', { scratch, share: 'late' }));
  const document = documentOf(input, run, plan, sum, startedAt);
  writeJson(planFiles.finished(scratch), document);
  return document;
}

const listBytes = 24 * 1024;

function documentOf(
  input: RestoreInput,
  run: string,
  plan: RestorePlan,
  sum: Tally,
  startedAt: string,
): RestoreDocument {
  const lostAny = sum.failed + sum.failedOther;
  const clean = lostAny === 0 && sum.skipped + sum.skippedOther === 0;
  const nothing = lostAny > 0 && sum.restored === 0 && sum.bytes === 0 && plan.dirs + plan.links === 0;
  const damaged = bounded(sum.failures);
  const warnings = bounded(sum.warnings);
  const endedAt = new Date();
  return {
    run,
    job: input.job,
    snapshot: plan.snapshot,
    status: clean ? 'succeeded' : nothing ? 'failed' : 'partial',
    files: { restored: sum.restored, skipped: sum.skipped, failed: sum.failed },
    bytes: sum.bytes,
    damaged,
    warnings,
    more: { damaged: lostAny - damaged.length, warnings: sum.warnings.length - warnings.length },
    target: plan.target,
    startedAt,
    endedAt: endedAt.toISOString(),
    durationMs: endedAt.getTime() - Date.parse(startedAt),
  };
}

/** As much of a list as fits into a run's document. */
export function bounded<T>(list: readonly T[]): T[] {
  const kept: T[] = [];
  let bytes = 0;
  for (const item of list) {
    bytes += Buffer.byteLength(JSON.stringify(item));
    if (bytes > listBytes) break;
    kept.push(item);
  }
  return kept;
}

/** Removes the scratch folder and, after a restore that was not finished, the unfinished large files. */
export function cleanUp(scratch: string): void {
  const plan = readJson<RestorePlan>(planFiles.plan(scratch));
  if (plan && plan.large > 0 && !existsSync(planFiles.finished(scratch)) && existsSync(plan.target)) {
    const root = SafeRoot.open(plan.target);
    try {
      for (const line of planLines(scratch, plan, 'large')) {
        try {
          removeIfThere(root, loadPath((JSON.parse(line) as PlannedLarge).temp));
        } catch {
          // Its directory is gone, or no longer ours to look into.
        }
      }
    } finally {
      root.close();
    }
  }
  rmSync(scratch, { recursive: true, force: true });
}

function readJournal(file: string): JournalLine[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [JSON.parse(line) as JournalLine];
    } catch {
      // Cut short by a crash: that pack is done again.
      return [];
    }
  });
}

function latest(lines: JournalLine[]): JournalLine[] {
  return [...new Map(lines.map((line) => [line.number, line])).values()];
}
