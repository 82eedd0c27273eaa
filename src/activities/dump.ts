import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { DatabaseSourceConfig } from '../config/schema.js';
import { resolveSecrets, secretRegistry, unmask } from '../config/secrets.js';
import { HoldfastError } from '../errors.js';
import { bootId } from '../platform/boot.js';
import { freeSpace } from '../platform/space.js';
import type { DatabaseContext, DatabaseSource } from '../sources/database.js';
import { dumpPath, reportName } from '../sources/dump-paths.js';
import { endOrphans } from '../sources/exec/process-record.js';
import { openDatabaseSource } from '../sources/open-database.js';
import { type DumpFailure, type DumpList, dumpFiles, listOf, recordOf, storedPaths } from './dump-state.js';
import type { RunContext, RunPlan } from './run-context.js';
import { readJson, writeJson } from './threads/line-writer.js';
import { spoolFiles } from './threads/spool-files.js';

export interface ListAnswer {
  databases: string[];
}

export interface DumpAnswer {
  bytes: number;
  tables: number;
}

/** Finds the databases that one source names. A list that was made before is not made again. */
export async function listDatabases(context: RunContext, source: number, signal: AbortSignal): Promise<ListAnswer> {
  const known = listOf(context, source);
  if (known) return { databases: known.databases.map(({ name }) => name) };
  const state = spoolFiles.dumpState(context.folder, source);
  return recorded(
    context,
    source,
    'list',
    signal,
    () => undefined,
    async (database, its) => {
      const found = await database.preflight(its);
      if (found.databases.length === 0)
        throw new HoldfastError('SourceMissing', 'there is no database to back up', {
          hint: 'Correct `databases`, `exclude` or `path` of the source.',
        });
      for (const { code, message } of found.warnings) context.host.log.warn({ run: context.run, code }, message);
      writeJson(dumpFiles.list(state), { boot: bootId(), ...found } satisfies DumpList);
      return { databases: found.databases.map(({ name }) => name) };
    },
  );
}

/** Dumps one database of a source's list into the spool. What an earlier attempt proved complete is not dumped again. */
export async function dumpDatabase(
  context: RunContext,
  source: number,
  index: number,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<DumpAnswer> {
  const record = recordOf(context, source, index);
  if (record) return { bytes: record.report.bytes, tables: record.report.tables.length };
  // The snapshot is planned without it already: too late for this run.
  if (readJson<RunPlan>(spoolFiles.plan(context.folder))?.boot === bootId()) return { bytes: 0, tables: 0 };
  const wanted = listOf(context, source)?.databases[index];
  if (!wanted) throw new HoldfastError('SpoolLost', `the list of databases of ${context.run} is gone from the spool`);
  const name = context.job.sources[source]?.name ?? '';
  const base = spoolFiles.dumps(context.folder, source);
  const folder = base + dumpPath(name, wanted.name);
  const isFile = context.job.sources[source]?.type === 'sqlite';
  const file = base + wanted.name;
  const clear = (): void => {
    rmSync(folder, { recursive: true, force: true });
    if (isFile) rmSync(file, { force: true });
  };
  return recorded(context, source, index, signal, clear, async (database, its) => {
    clear();
    await checkSpace(context, wanted.name, wanted.estimatedBytes);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (isFile) mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    const report = await database.dump(wanted.name, { folder, file }, { ...its, onProgress });
    writeJson(path.join(folder, reportName), report);
    writeJson(dumpFiles.record(spoolFiles.dumpState(context.folder, source), index), {
      boot: bootId(),
      report,
      paths: storedPaths(name, report),
    });
    return { bytes: report.bytes, tables: report.tables.length };
  });
}

/**
 * Does one step with an open source; how it failed is kept for `snapshot` to tell. `clear` removes what a step that failed
 * wrote: on a full disk nothing else could be written until it is tried again.
 */
async function recorded<T>(
  context: RunContext,
  source: number,
  step: number | 'list',
  signal: AbortSignal,
  clear: () => void,
  work: (database: DatabaseSource, its: DatabaseContext) => Promise<T>,
): Promise<T> {
  const state = spoolFiles.dumpState(context.folder, source);
  const failure = dumpFiles.failure(state, step);
  const its: DatabaseContext = {
    signal,
    tempDir: dumpFiles.temp(state, step),
    processes: dumpFiles.processes(state, step),
    onProgress: () => undefined,
    log: (message, details) => context.host.log.info({ run: context.run, ...details }, message),
  };
  mkdirSync(state, { recursive: true, mode: 0o700 });
  // What a killed worker left of this step: its processes still write, its files hold passwords.
  await endOrphans(its.processes);
  rmSync(its.tempDir, { recursive: true, force: true });
  mkdirSync(its.tempDir, { mode: 0o700 });
  mkdirSync(its.processes, { recursive: true, mode: 0o700 });
  let database: DatabaseSource | undefined;
  try {
    database = await openDatabaseSource(await liveSource(context, source));
    const answer = await work(database, its);
    rmSync(failure, { force: true });
    return answer;
  } catch (error) {
    rmSync(its.tempDir, { recursive: true, force: true });
    clear();
    if (!signal.aborted && existsSync(state)) writeJson(failure, failureOf(error));
    throw error;
  } finally {
    await database?.close().catch((error: unknown) => context.host.log.debug({ err: error }, 'closing a source'));
    rmSync(its.tempDir, { recursive: true, force: true });
  }
}

function failureOf(error: unknown): DumpFailure {
  const code = error instanceof HoldfastError ? error.code : 'SourceFailed';
  return {
    code,
    message: secretRegistry.redact(error instanceof Error ? error.message : String(error)).slice(0, 1000),
  };
}

/** The source as the run's config describes it, with its secrets resolved now. */
async function liveSource(context: RunContext, number: number): Promise<DatabaseSourceConfig> {
  const frozen = context.job.sources[number];
  if (!frozen || frozen.type === 'files')
    throw new HoldfastError('Internal', `source ${number} of ${context.begun.job} is no database`);
  const job = context.begun.job;
  const live = context.host.config.jobs[job]?.sources.find(
    ({ name, type }) => name === frozen.name && type === frozen.type,
  );
  return resolveSecrets(unmask(frozen, live), `jobs.${job}.sources[${number}]`);
}

/** @throws HoldfastError SpoolFull when the database will not fit. */
async function checkSpace(context: RunContext, database: string, estimate: number): Promise<void> {
  const { spool } = context.host.config;
  const { free } = await freeSpace(context.folder);
  const need = Math.ceil(estimate * 1.1);
  const mb = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  if (need > free) {
    throw new HoldfastError(
      'SpoolFull',
      `the dump of ${database} takes about ${mb(need)}; the disk of the spool ${spool.path} has ${mb(free)} free`,
      { hint: 'Free some space, or set spool.path to a larger disk.' },
    );
  }
  const used = context.job.sources
    .flatMap((_, source) => (listOf(context, source)?.databases ?? []).map((__, index) => [source, index] as const))
    .reduce((sum, [source, index]) => sum + (recordOf(context, source, index)?.report.bytes ?? 0), 0);
  if (used + need > spool.max) {
    throw new HoldfastError(
      'SpoolFull',
      `the dump of ${database} takes about ${mb(need)}, and this run's dumps ${mb(used)} already; spool.max is ${mb(spool.max)}`,
      { hint: 'Raise spool.max, or divide the databases between jobs.', retryable: false },
    );
  }
}

/** Dumps are in packs now: their space is free for what comes next. */
export function removeDumps(context: RunContext): void {
  for (const source of context.job.sources.keys())
    rmSync(spoolFiles.dumps(context.folder, source), { recursive: true, force: true });
}

/**
 * Ends the tools that a killed worker left running and removes its files with passwords, in every run's spool. Before the
 * worker takes work: what runs in this process is not to be mistaken for an orphan.
 */
export async function clearAbandonedDumps(spool: string): Promise<void> {
  for (const run of existsSync(spool) ? readdirSync(spool) : []) {
    const dumps = path.join(spool, run, 'dumps');
    if (!existsSync(dumps)) continue;
    for (const name of readdirSync(dumps).filter((name) => name.endsWith('.state'))) {
      const state = path.join(dumps, name);
      await endOrphans(state);
      for (const step of readdirSync(state))
        if (step.startsWith('temp-')) rmSync(path.join(state, step), { recursive: true, force: true });
    }
  }
}
