import { statSync } from 'node:fs';
import { HoldfastError } from '../../errors.js';
import { SafeRoot } from '../../platform/restore-fs.js';
import { Catalog } from '../../repository/catalog.js';
import { openPack, PackReader } from '../../repository/reader.js';
import { finishDirs, finishRestore } from '../../repository/restore/finish.js';
import { makeLarge, makeTree } from '../../repository/restore/make.js';
import { manifestPacks } from '../../repository/restore/manifest-packs.js';
import { planRestore } from '../../repository/restore/plan.js';
import {
  type Overwrite,
  type PlannedChunk,
  planFiles,
  type RestorePlan,
  type Share,
  type Tally,
} from '../../repository/restore/plan-files.js';
import { contentOf, type WriteResult, writePack } from '../../repository/restore/write-pack.js';
import type { Root } from '../../repository/root.js';
import type { RepositoryKey } from '../../repository/seal.js';
import { readJson } from './line-writer.js';
import { withTarMemory } from './pack-memory.js';
import { Meter, type TaskChannel } from './progress.js';

interface SnapshotTask {
  channel: TaskChannel;
  catalog: string;
  snapshot: string;
  paths: string[];
}

export interface RestoreNeedsTask extends SnapshotTask {
  /** Packs that no destination has whole. */
  bad: string[];
}

/** Which packs of the manifest have to be fetched before the restore can be planned. */
export function restoreNeedsTask(task: RestoreNeedsTask): Promise<string[]> {
  return withSnapshot(task, async (catalog, root) => manifestPacks(catalog, root, task.paths, new Set(task.bad)));
}

export interface RestorePlanTask extends SnapshotTask {
  target: string;
  overwrite: Overwrite;
  scratch: string;
  share: Share;
  key: RepositoryKey | undefined;
}

/** Plans a share of a restore from the manifest packs in the scratch folder. */
export async function restorePlanTask(task: RestorePlanTask): Promise<RestorePlan> {
  const meter = new Meter(task.channel);
  return withSnapshot(task, async (catalog, root) => {
    const reader = new PackReader({
      key: task.key,
      stores: [],
      local: (pack) => planFiles.manifestPack(task.scratch, pack),
    });
    return planRestore({
      catalog,
      reader,
      root,
      paths: task.paths,
      target: task.target,
      overwrite: task.overwrite,
      scratch: planFiles.part(task.scratch, task.share.number),
      share: task.share,
      tick: () => meter.check(),
    });
  });
}

interface PlannedTask {
  channel: TaskChannel;
  scratch: string;
}

/** Makes the large files, in directories that are there. */
export function restoreLargeTask(task: PlannedTask): void {
  const meter = new Meter(task.channel);
  const plan = planOf(task.scratch);
  withRoot(plan, (root) => makeLarge(root, plan, task.scratch, () => meter.check()));
}

/** One of several tasks that share a step's work. */
interface SharedTask extends PlannedTask {
  share: Share;
}

/** Makes a share of the planned directories. */
export function restoreMakeTask(task: SharedTask): Tally {
  const meter = new Meter(task.channel);
  const plan = planOf(task.scratch);
  return withRoot(plan, (root) => makeTree(root, plan, task.scratch, task.share, () => meter.check()));
}

export interface RestorePackTask extends PlannedTask {
  number: number;
  key: RepositoryKey | undefined;
  /** The pack's stored bytes, checked against its name; lost afterwards. Absent for files without content. */
  stored?: Uint8Array;
  /** Instead of the pack: its chunks as far as other packs have them, and why the others are lost. */
  rescued?: { chunks: Map<string, Uint8Array>; message: string };
  retry: boolean;
}

/** Writes the files of one pack, every chunk checked. */
export function restorePackTask(task: RestorePackTask): Promise<WriteResult> {
  return withTarMemory((memory) => writeFiles(task, memory));
}

async function writeFiles(task: RestorePackTask, memory: Buffer): Promise<WriteResult> {
  const meter = new Meter(task.channel);
  const plan = planOf(task.scratch);
  const pack = plan.packs[task.number]?.pack ?? '';
  const { rescued, stored } = task;
  const content = stored
    ? contentOf(await openPack(task.key, pack, stored, memory), pack)
    : ([id]: PlannedChunk): Buffer => {
        const found = rescued?.chunks.get(id);
        if (found) return Buffer.from(found.buffer, found.byteOffset, found.byteLength);
        throw new HoldfastError('IntegrityMismatch', rescued?.message ?? `chunk ${id} can't be had`);
      };
  return withRoot(plan, (root) =>
    writePack({
      root,
      plan,
      scratch: task.scratch,
      number: task.number,
      content,
      retry: task.retry,
      tick: (bytes, failed) => {
        meter.check();
        meter.add(failed ? 'failed' : 'files', 1);
        meter.add('new', bytes);
      },
    }),
  );
}

export interface RestoreFinishTask extends PlannedTask {
  /** Large files that miss pieces: number and why. */
  lost: [number, string][];
}

/** Large files' names, links, special files. */
export function restoreFinishTask(task: RestoreFinishTask): Tally {
  const meter = new Meter(task.channel);
  const plan = planOf(task.scratch);
  return withRoot(plan, (root) =>
    finishRestore({ root, plan, scratch: task.scratch, lost: new Map(task.lost), tick: () => meter.check() }),
  );
}

/** The metadata of a share of the directories, or of those that come last. */
export function restoreDirsTask(task: PlannedTask & { share: Share | 'late' }): Tally {
  const meter = new Meter(task.channel);
  const plan = planOf(task.scratch);
  return withRoot(plan, (root) => finishDirs(root, plan, task.scratch, task.share, () => meter.check()));
}

// Of a run it never changes, and with many packs it takes a while to read.
let lastPlan: { id: string; plan: RestorePlan } | undefined;

/** @throws HoldfastError SpoolLost when the scratch folder is gone. */
export function planOf(scratch: string): RestorePlan {
  const file = planFiles.plan(scratch);
  const stat = statSync(file, { throwIfNoEntry: false });
  const id = `${file} ${stat?.ino} ${stat?.mtimeMs}`;
  if (lastPlan?.id === id) return lastPlan.plan;
  const plan = readJson<RestorePlan>(file);
  if (!plan) {
    throw new HoldfastError('SpoolLost', `the restore's plan is gone from ${scratch}`, {
      hint: 'Start the restore again.',
    });
  }
  lastPlan = { id, plan };
  return plan;
}

function withRoot<T>(plan: RestorePlan, work: (root: SafeRoot) => T): T {
  const root = SafeRoot.open(plan.target);
  try {
    return work(root);
  } finally {
    root.close();
  }
}

async function withSnapshot<T>(task: SnapshotTask, work: (catalog: Catalog, root: Root) => Promise<T>): Promise<T> {
  const catalog = new Catalog(task.catalog);
  try {
    return await work(catalog, rootOf(catalog, task.snapshot));
  } finally {
    catalog.close();
  }
}

function rootOf(catalog: Catalog, snapshot: string): Root {
  const row = catalog.snapshot(snapshot);
  if (row) return row.root;
  throw new HoldfastError('SnapshotUnknown', `snapshot ${snapshot} is not in the catalog`);
}
