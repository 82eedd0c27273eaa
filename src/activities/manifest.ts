import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf, HoldfastError } from '../errors.js';
import { bootId } from '../platform/boot.js';
import { indexPackLine } from '../repository/index-file.js';
import { indexName, snapshotName } from '../repository/layout.js';
import { readLines } from '../repository/lines.js';
import {
  type ManifestPart,
  partLimit,
  type Root,
  rootBytes,
  rootHash,
  rootLimit,
  type SourceResult,
} from '../repository/root.js';
import { canRead } from '../repository/seal.js';
import { sealMeta } from '../repository/store.js';
import { version } from '../version.js';
import { rootArchive } from './archive.js';
import { codecOf } from './batch.js';
import { removeDumps } from './dump.js';
import { dumpedPaths } from './dump-state.js';
import { writeDurable } from './durable.js';
import { fileSize } from './files.js';
import type { RunContext, RunPlan, SourcePlan } from './run-context.js';
import { readJson, writeJson } from './threads/line-writer.js';
import type { MergeResult } from './threads/merge-task.js';
import type { TaskGroup } from './threads/pool.js';
import { type LaneResult, type PlainPack, type Problem, type SealedPack, spoolFiles } from './threads/spool-files.js';

/** One source's finished manifest. */
export interface SourceManifest {
  name: string;
  parts: ManifestPart[];
  entries: number;
  files: number;
  bytes: number;
  needs: string[];
  torn: string[];
  /** Entries left out while it was put together. */
  problems: Problem[];
  /** The manifest is the parent's, chunk for chunk. */
  identicalTo?: string;
}

export interface ManifestRecord {
  boot: string;
  packs: PlainPack[];
  sources: SourceManifest[];
}

/** What `commit` needs: names, sizes and needs of the sealed index and root. */
export interface Prepared {
  root: { name: string; sha256: string };
  index?: { name: string };
  indexes: string[];
  needs: string[];
}

export interface MergeAnswer {
  /** Packs of manifest to seal. */
  packs: number;
  /** Files left out only now. */
  unreadable: number;
}

/** Puts each source's manifest together; returns how many packs of manifest there are to seal. */
export async function mergeManifests(context: RunContext, group: TaskGroup): Promise<MergeAnswer> {
  const file = spoolFiles.manifestResult(context.folder);
  const known = readJson<ManifestRecord>(file);
  if (known?.packs.every((pack) => isThere(context, pack, known.boot))) return answerOf(context, known);
  const plan = context.plan();
  const record: ManifestRecord = { boot: bootId(), packs: [], sources: [] };
  const archive = context.begun.archive !== undefined;
  if (archive) {
    const lanes = plan.batches.flatMap((batch, number) => batch.lanes.map((_, lane) => ({ batch: number, lane })));
    await group.run('ownChunksTask', { run: context.folder, lanes });
  }
  for (const [number, source] of plan.sources.entries()) {
    if (!source.walk) continue;
    const same = source.walk.identical ? await parentManifest(context, source) : undefined;
    if (same) {
      record.sources.push(same);
      continue;
    }
    const lanes: { batch: number; lane: number }[] = [];
    for (let batch = source.firstBatch; batch < source.firstBatch + source.batches; batch++) {
      plan.batches[batch]?.lanes.forEach((_, lane) => {
        lanes.push({ batch, lane });
      });
    }
    const {
      packs,
      boot: _,
      ...merged
    }: MergeResult = await group.run('mergeTask', {
      run: context.folder,
      source: number,
      lanes,
      generation: context.begun.generation,
      codec: codecOf(context.job.compression),
      catalog: context.catalogFile,
      indexes: context.begun.indexes,
      ownIndex: context.begun.ownIndex,
      archive,
      noteRefs: !canRead(await context.key()),
    });
    record.packs.push(...packs);
    record.sources.push({ name: source.name, ...merged });
  }
  writeJson(file, record);
  return answerOf(context, record);
}

async function answerOf(context: RunContext, record: ManifestRecord): Promise<MergeAnswer> {
  // An archive is yet to be made of what the manifests list.
  if (record.packs.length === 0 && context.begun.archive === undefined) await prepareObjects(context);
  const unreadable = record.sources.flatMap(({ problems }) => problems).filter(isUnreadable).length;
  return { packs: record.packs.length, unreadable };
}

function isThere(context: RunContext, pack: PlainPack, boot: string): boolean {
  if (existsSync(spoolFiles.sealedMark(context.folder, pack.name))) return true;
  return boot === bootId() && fileSize(spoolFiles.plainPack(context.folder, pack.name)) === pack.compressed;
}

/** The parent's manifest as this source's own, when the walk found every line in it. */
async function parentManifest(context: RunContext, source: SourcePlan): Promise<SourceManifest | undefined> {
  const root = source.parent === undefined ? undefined : context.catalog.snapshot(source.parent)?.root;
  const result = root?.sources.find(({ name }) => name === source.name);
  if (!root || !result || !source.walk) return undefined;
  const needs = readJson<string[]>(needsFile(context, root.id, source.name));
  if (!needs || !root.indexes.every((index) => context.begun.indexes.includes(index))) return undefined;
  // Its manifest's own packs may be gone, too.
  if (
    !needs.every(
      (pack) => !context.catalog.isMarked(pack) && context.catalog.holders(context.catalog.objectOf(pack)).length > 0,
    )
  )
    return undefined;
  return {
    name: source.name,
    parts: result.manifest,
    entries: source.walk.entries,
    files: source.walk.files,
    bytes: source.walk.bytes,
    needs,
    torn: [],
    problems: [],
    identicalTo: root.id,
  };
}

const needsFile = (context: RunContext, snapshot: string, source: string): string =>
  path.join(context.host.manifestFolder(context.begun.job), `${snapshot}-${source}.needs.json`);

/** A source that is a symlink stores the link alone: what it points to counts as not read. */
const isUnreadable = (problem: Problem): boolean => problem.code === 'Unreadable' || problem.code === 'SymlinkSource';

/** Every problem the walk and the lanes met, first ones first; `more` counts those beyond `limit`. */
export function collectProblems(
  context: RunContext,
  limit: number,
): { problems: Problem[]; unreadable: number; vanished: number; more: number } {
  const plan = readJson<{ sources: SourcePlan[]; batches: { lanes: unknown[] }[] }>(spoolFiles.plan(context.folder));
  const problems: Problem[] = [];
  let unreadable = 0;
  let vanished = 0;
  let more = 0;
  const add = (problem: Problem): void => {
    if (isUnreadable(problem)) unreadable++;
    if (problem.code === 'Vanished') vanished++;
    if (problems.length < limit) problems.push(problem);
    else more++;
  };
  for (const number of plan?.sources.keys() ?? []) {
    const file = spoolFiles.problems(context.folder, number);
    if (existsSync(file)) for (const line of readLines(file)) add(JSON.parse(line) as Problem);
  }
  for (const [batch, { lanes }] of plan?.batches.entries() ?? []) {
    for (const lane of lanes.keys()) {
      const result = readJson<LaneResult>(spoolFiles.laneResult(context.folder, batch, lane));
      for (const problem of result?.problems ?? []) add(problem);
      more += result?.problemsLeftOut ?? 0;
      // Those left out count as well.
      if (result) unreadable += result.unreadable - result.problems.filter(isUnreadable).length;
    }
  }
  const merged = readJson<ManifestRecord>(spoolFiles.manifestResult(context.folder));
  for (const source of merged?.sources ?? []) {
    for (const torn of source.torn) add({ code: 'Changed', path: torn, message: 'changed while its parts were read' });
    for (const problem of source.problems) add(problem);
  }
  return { problems, unreadable, vanished, more };
}

/** Builds and seals the index and the root, once: every destination gets the same bytes. */
export async function prepareObjects(context: RunContext): Promise<Prepared> {
  const file = spoolFiles.object(context.folder, 'prepared.json');
  const known = readJson<Prepared>(file);
  if (known) return known;
  const record = readJson<ManifestRecord>(spoolFiles.manifestResult(context.folder));
  if (!record) throw new HoldfastError('SpoolLost', `the manifest of ${context.run} is gone from the spool`);
  const { begun, catalog } = context;
  const plan = context.plan();
  const key = await context.key();
  const own = catalog.packsOf(begun.ownIndex);
  const indexes = own.length > 0 ? [...begun.indexes, begun.ownIndex] : begun.indexes;
  if (own.length > 0) {
    // As bytes: an index may be longer than a string can be.
    const lines = own.map(({ hash }) => Buffer.from(`${indexLine(context, hash)}\n`, 'utf8'));
    const sealed = await sealMeta(key, 'index', indexName(begun.ownIndex), Buffer.concat(lines));
    writeDurable(spoolFiles.object(context.folder, 'index'), sealed);
  }
  // What a differential archive builds on is to be wherever it is, also when all of it happens to be in itself.
  const base = begun.archive?.base === undefined ? [] : begun.indexes.flatMap((index) => catalog.packsOf(index));
  const needs = [
    ...new Set([
      ...record.sources.flatMap((source) => needsOf(context, record, source)),
      ...base.map(({ hash }) => hash),
    ]),
  ];
  // A root names its indexes and nothing else: what they do not list could never be found again.
  const listed = new Set(indexes.flatMap((index) => catalog.packsOf(index).map(({ hash }) => hash)));
  const lost = needs.find((pack) => !listed.has(pack));
  if (lost !== undefined) {
    throw new HoldfastError(
      'SpoolLost',
      `pack ${lost} is in no index of the snapshot: the catalog was replaced meanwhile`,
    );
  }
  const { unreadable } = collectProblems(context, 0);
  const sources = plan.sources.map((source, number): SourceResult => {
    const manifest = record.sources.find(({ name }) => name === source.name);
    const config = context.job.sources[number];
    const unreadable = unreadableOf(context, plan, source, manifest);
    return {
      name: source.name,
      type: config?.type ?? 'files',
      paths: config === undefined ? [] : config.type === 'files' ? config.paths : dumpedPaths(context, number),
      complete: source.error === undefined && unreadable === 0,
      files: manifest?.files ?? 0,
      entries: manifest?.entries ?? 0,
      bytes: manifest?.bytes ?? 0,
      unreadable,
      ...(source.error ? { error: source.error } : {}),
      manifest: manifest?.parts ?? [],
    };
  });
  const newest = catalog.snapshots()[0];
  const archive = rootArchive(context);
  const { destinations, ...config } = { ...context.job, host: begun.host };
  const root: Root = {
    format: 1,
    id: begun.snapshot,
    repository: begun.keyFile.repository,
    host: begun.host,
    job: begun.job,
    seq: begun.seq,
    ...(newest ? { previous: { id: newest.id, sha256: newest.sha256 } } : {}),
    keyRevision: begun.keyFile.revision,
    run: context.run,
    time: begun.startedAt,
    endedAt: new Date().toISOString(),
    mode: begun.mode,
    generation: begun.generation,
    ...(begun.began === undefined ? {} : { began: begun.began }),
    added: own.reduce((sum, pack) => sum + pack.size, 0),
    indexes,
    ...(archive === undefined ? {} : { archive }),
    complete: plan.sources.every((source) => source.error === undefined) && unreadable === 0,
    files: sources.reduce((sum, source) => sum + source.files, 0),
    bytes: sources.reduce((sum, source) => sum + source.bytes, 0),
    sources,
    config: {
      job: config,
      destinations: Object.fromEntries(destinations.map((name) => [name, context.destinationConfig(name)])),
      notify: Object.fromEntries(
        Object.entries(context.config.notify).filter(([name]) => context.job.notify.includes(name)),
      ),
    },
    version,
  };
  const json = rootBytes(root);
  refuseTooLarge(root, json.length);
  const name = snapshotName(new Date(begun.startedAt), begun.snapshot);
  writeDurable(spoolFiles.object(context.folder, 'root.json'), json);
  writeDurable(spoolFiles.object(context.folder, 'root'), await sealMeta(key, 'snapshot', name, json));
  const prepared: Prepared = {
    root: { name, sha256: rootHash(json) },
    ...(own.length > 0 ? { index: { name: indexName(begun.ownIndex) } } : {}),
    indexes,
    needs,
  };
  writeJson(file, prepared, true);
  removeDumps(context);
  return prepared;
}

/** A root that no reader would take is never written. */
function refuseTooLarge({ sources }: Root, bytes: number): void {
  const parts = sources.reduce((sum, { manifest }) => sum + manifest.length, 0);
  if (bytes <= rootLimit && parts <= partLimit) return;
  throw new HoldfastError('ConfigInvalid', 'the job has more files than one snapshot can list', {
    hint: 'Split its sources among several jobs: a snapshot lists 25 million files, more or less.',
  });
}

/** A pack's line of the index, an archive's lines: as its sealing left it, else from the catalog for packs of an earlier, unfinished run. */
function indexLine(context: RunContext, hash: string): string {
  try {
    return readFileSync(spoolFiles.indexLine(context.folder, hash), 'utf8').trimEnd();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const pack = context.catalog.indexPack(hash);
  if (!pack) throw new HoldfastError('SpoolLost', `pack ${hash} is not in the catalog`);
  return indexPackLine(pack);
}

/** Files of the source that could not be read. */
function unreadableOf(
  context: RunContext,
  plan: RunPlan,
  source: SourcePlan,
  manifest: SourceManifest | undefined,
): number {
  let sum = (source.walk?.unreadable ?? 0) + (manifest?.problems.filter(isUnreadable).length ?? 0);
  for (let batch = source.firstBatch; batch < source.firstBatch + source.batches; batch++) {
    for (const lane of plan.batches[batch]?.lanes.keys() ?? []) {
      sum += readJson<LaneResult>(spoolFiles.laneResult(context.folder, batch, lane))?.unreadable ?? 0;
    }
  }
  return sum;
}

/** Every pack one source's snapshot needs: those of its content, and those its own manifest was sealed in. */
function needsOf(context: RunContext, record: ManifestRecord, source: SourceManifest): string[] {
  const number = context.plan().sources.findIndex(({ name }) => name === source.name);
  const sealed = readJson<SealedPack[]>(spoolFiles.sealed(context.folder, 'manifest')) ?? [];
  if (sealed.length !== record.packs.length) {
    throw new HoldfastError('SpoolLost', `the sealed manifest of ${context.run} is gone from the spool`);
  }
  // Sealing keeps the order of the packs.
  const own = sealed.filter((_, at) => record.packs[at]?.name.startsWith(`m${number}-`)).map(({ pack }) => pack);
  const archive = rootArchive(context);
  return [...source.needs, ...own, ...(archive === undefined ? [] : [archive.pack])];
}

/** Keeps this snapshot's manifests for the next run to compare with, and drops those no run will ask for. */
export async function keepManifests(context: RunContext): Promise<void> {
  // The next differential archive is compared with the full one, too.
  if (context.begun.archive?.base !== undefined) return;
  const record = readJson<ManifestRecord>(spoolFiles.manifestResult(context.folder));
  if (!record) return;
  const folder = context.host.manifestFolder(context.begun.job);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const plan = context.plan();
  for (const source of record.sources) {
    const number = plan.sources.findIndex(({ name }) => name === source.name);
    const planned = plan.sources[number];
    const target = path.join(folder, `${context.begun.snapshot}-${source.name}.ndjson`);
    if (source.identicalTo === undefined) await moveFile(spoolFiles.manifest(context.folder, number), target);
    else await moveFile(path.join(folder, `${source.identicalTo}-${source.name}.ndjson`), target);
    writeJson(needsFile(context, context.begun.snapshot, source.name), needsOf(context, record, source));
    const complete =
      planned !== undefined && planned.error === undefined && unreadableOf(context, plan, planned, source) === 0;
    if (!complete) continue;
    for (const name of readdirSync(folder)) {
      const other = /^([0-9a-f]{16})-(.*?)(\.needs\.json|\.ndjson)$/.exec(name);
      if (other?.[2] === source.name && other[1] !== context.begun.snapshot)
        rmSync(path.join(folder, name), { force: true });
    }
  }
}

async function moveFile(from: string, to: string): Promise<void> {
  if (existsSync(to)) return;
  try {
    renameSync(from, to);
  } catch (error) {
    if (errnoOf(error) !== 'EXDEV') throw error;
    await copyFile(from, `${to}.tmp`);
    renameSync(`${to}.tmp`, to);
  }
}
