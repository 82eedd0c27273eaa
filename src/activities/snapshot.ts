import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { automaticExcludes, databaseExcludes } from '../config/overlaps.js';
import type { SourceConfig } from '../config/schema.js';
import { type ErrorCode, HoldfastError } from '../errors.js';
import { bootId } from '../platform/boot.js';
import type { FilesOptions } from '../sources/files/walk.js';
import type { Warning } from '../workflows/types.js';
import { laneTaskOf } from './batch.js';
import { dumpOutcome } from './dump-state.js';
import { restoreManifest } from './parent-manifest.js';
import { ReadAhead } from './read-ahead.js';
import type { RunContext, RunPlan, SourcePlan } from './run-context.js';
import { readJson, writeJson } from './threads/line-writer.js';
import type { TaskGroup } from './threads/pool.js';
import { spoolFiles } from './threads/spool-files.js';
import type { Detect, WalkResult } from './threads/walk-task.js';

/** Content in one batch, bytes of source. */
export const batchBytes = 256 * 1024 * 1024;
/** Content that one thread reads in one go. */
export const laneBytes = 64 * 1024 * 1024;

const maxDumpWarnings = 50;

export interface SnapshotAnswer {
  batches: number;
  files: number;
  entries: number;
  bytes: number;
  newFiles: number;
  changedFiles: number;
  toRead: number;
  unreadable: number;
  failedSources: { name: string; code: string; message: string }[];
  sources: number;
  /** No source could be read at all. */
  empty?: boolean;
  /** In what dumps are less than they should be; the first ones. */
  dumpWarnings?: Warning[];
}

/** Walks every source against its parent and writes the plan of what is to be read. */
export async function snapshot(context: RunContext, group: TaskGroup, signal: AbortSignal): Promise<SnapshotAnswer> {
  const earlier = readJson<RunPlan>(spoolFiles.plan(context.folder));
  const known = earlier?.boot === bootId() ? earlier : undefined;
  const plan = known ?? (await walkAll(context, group, signal));
  if (!known) writeJson(spoolFiles.plan(context.folder), plan);
  const sum = (pick: (walk: Omit<WalkResult, 'batches'>) => number): number =>
    plan.sources.reduce((total, source) => total + (source.walk ? pick(source.walk) : 0), 0);
  const dumpWarnings = context.job.sources
    .flatMap((source, number) =>
      source.type === 'files'
        ? []
        : dumpOutcome(context, number).warnings.map(({ code, message }) => ({
            code,
            message: `source ${source.name}: ${message}`.slice(0, 500),
          })),
    )
    .slice(0, maxDumpWarnings);
  return {
    batches: plan.batches.length,
    files: sum((walk) => walk.files),
    entries: sum((walk) => walk.entries),
    bytes: sum((walk) => walk.bytes),
    newFiles: sum((walk) => walk.newFiles),
    changedFiles: sum((walk) => walk.changedFiles),
    toRead: sum((walk) => walk.toRead),
    unreadable: sum((walk) => walk.unreadable),
    failedSources: plan.sources.flatMap(({ name, error }) =>
      error ? [{ name, code: error.code, message: error.message.slice(0, 2000) }] : [],
    ),
    sources: plan.sources.length,
    empty: plan.sources.every((source) => source.error !== undefined && source.walk === undefined),
    ...(dumpWarnings.length === 0 ? {} : { dumpWarnings }),
  };
}

async function walkAll(context: RunContext, group: TaskGroup, signal: AbortSignal): Promise<RunPlan> {
  const { begun, job } = context;
  const plan: RunPlan = { boot: bootId(), sources: [], batches: [] };
  // An earlier attempt may have read lanes of a plan that this one writes anew.
  await context.ahead.settle();
  context.ahead = new ReadAhead();
  for (const name of ['plan', 'lanes', 'plain'] as const) {
    rmSync(path.join(context.folder, name), { recursive: true, force: true });
    mkdirSync(path.join(context.folder, name), { mode: 0o700 });
  }
  dropUnlisted(context);
  for (const [number, source] of job.sources.entries()) {
    signal.throwIfAborted();
    const planned: SourcePlan = { name: source.name, firstBatch: plan.batches.length, batches: 0 };
    plan.sources.push(planned);
    const what = walked(context, source, number);
    if (what.error) planned.error = what.error;
    if (what.options.paths.length === 0) continue;
    const untrusted = path.join(context.folder, `parent-${number}.damaged`);
    const parent = existsSync(untrusted) ? undefined : await parentOf(context, source.name, signal);
    try {
      const { near, far } = context.ahead.open((planned) =>
        laneTaskOf(context, number, planned.batch, planned.lane, planned.bytes),
      );
      const { batches, ...walk } = await group
        .run(
          'walkTask',
          {
            run: context.folder,
            source: number,
            options: what.options,
            base: context.base(number),
            detect: what.detect,
            parent: parent?.file,
            verify:
              begun.allPresent &&
              (begun.mode === 'incremental' || begun.archive !== undefined) &&
              parent?.inScope === true
                ? undefined
                : { catalog: context.catalogFile, indexes: begun.indexes },
            reread: what.reread || begun.options.reread === true,
            firstBatch: plan.batches.length,
            batchBytes,
            laneBytes,
            lanes: far,
          },
          [far],
        )
        .finally(() => near.close());
      planned.walk = walk;
      planned.parent = parent?.snapshot;
      planned.batches = batches.length;
      plan.batches.push(...batches);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      if (error.code === 'IntegrityMismatch' && parent) {
        // Lanes of this walk may have been read already: it begins anew, with nothing to compare with.
        rmSync(parent.file, { force: true });
        writeJson(untrusted, error.message);
        throw new HoldfastError('Internal', `${parent.file} is damaged: ${error.message}`, { retryAfterMs: 1 });
      }
      if (error.code !== 'SourceMissing' && error.code !== 'SourceFailed') throw error;
      planned.error = { code: error.code, message: error.message };
    }
  }
  return plan;
}

/** Packs of an earlier attempt that no `encrypt` has made known: what they hold is read again. */
function dropUnlisted(context: RunContext): void {
  const folder = path.join(context.folder, 'packs');
  for (const name of readdirSync(folder)) {
    if (context.catalog.packNumber(name) === undefined) rmSync(path.join(folder, name), { force: true });
  }
}

interface Walked {
  options: FilesOptions;
  detect: Detect[];
  reread: boolean;
  error?: { code: string; message: string };
}

/** What is walked of a source: its files in place, or its dumps in the spool. */
function walked(context: RunContext, source: SourceConfig, number: number): Walked {
  if (source.type === 'files') {
    const automatic = [...automaticExcludes(context.host.config, source.paths), ...databaseExcludes(context.job)];
    return {
      options: {
        paths: source.paths,
        include: source.include,
        exclude: [...source.exclude, ...automatic],
        excludeIfPresent: source.excludeIfPresent,
        oneFileSystem: source.oneFileSystem,
      },
      detect: source.detect,
      reread: false,
    };
  }
  const { paths, failure } = dumpOutcome(context, number);
  const base = context.base(number);
  return {
    options: {
      paths: paths.map((path) => base + path),
      include: [],
      exclude: [],
      excludeIfPresent: [],
      oneFileSystem: false,
    },
    detect: ['size'],
    // Every dump is new, whatever its times say: it is read, and what an earlier one had is found by its chunks.
    reread: true,
    ...(failure ? { error: failure } : {}),
  };
}

/** On a host that can't read what it wrote, a manifest that is not kept here is as good as lost. */
const parentIsLost: ReadonlySet<ErrorCode> = new Set(['IntegrityMismatch', 'ObjectMissing', 'PrivateKeyNeeded']);

/** Whether the manifest of each source that is compared with an earlier snapshot can be had. */
export async function hasParents(context: RunContext, signal: AbortSignal): Promise<boolean> {
  for (const source of Object.keys(context.begun.parents))
    if ((await parentOf(context, source, signal)) === undefined) return false;
  return true;
}

async function parentOf(
  context: RunContext,
  source: string,
  signal: AbortSignal,
): Promise<{ file: string; snapshot: string; inScope: boolean } | undefined> {
  const id = context.begun.parents[source];
  if (id === undefined) return undefined;
  const file = path.join(context.host.manifestFolder(context.begun.job), `${id}-${source}.ndjson`);
  try {
    if (!existsSync(file)) await restoreManifest(context, id, source, file, signal);
  } catch (error) {
    if (!(error instanceof HoldfastError) || !parentIsLost.has(error.code)) throw error;
    // Without it every file is read, and only what is missing is stored.
    context.host.log.warn({ run: context.run, source, reason: error.message }, 'no manifest to compare with');
    return undefined;
  }
  const indexes = context.catalog.snapshot(id)?.root.indexes;
  return { file, snapshot: id, inScope: indexes?.every((index) => context.begun.indexes.includes(index)) === true };
}
