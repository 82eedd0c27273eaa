import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { DatabaseSourceConfig } from '../config/schema.js';
import { resolveSecrets } from '../config/secrets.js';
import { errnoOf, HoldfastError } from '../errors.js';
import { bootId } from '../platform/boot.js';
import { planFiles } from '../repository/restore/plan-files.js';
import type { DatabaseContext, DatabaseSource, DumpReport, RestoreReport, StoredDump } from '../sources/database.js';
import { dumpPath, reportName } from '../sources/dump-paths.js';
import { endOrphans } from '../sources/exec/process-record.js';
import { openDatabaseSource } from '../sources/open-database.js';
import type { RestoreDocument, RestoreInput } from '../workflows/restore-types.js';
import type { Host } from './host.js';
import type { RestoreStep } from './restore-run.js';
import { readJson, writeJson } from './threads/line-writer.js';

/**
 * Loads the dump that was restored to the private folder, and adds to the restore's document what came of it.
 * @param url of the server in place of the source's own, where it may be written down.
 */
export async function databaseStep(
  step: RestoreStep,
  open: () => Promise<DatabaseSource>,
  url: string | undefined,
  log: DatabaseContext['log'],
  startedAt: string,
): Promise<RestoreDocument> {
  const { input, scratch, signal } = step;
  const { database } = input;
  const document = readJson<RestoreDocument>(planFiles.finished(scratch));
  if (!document || database?.load === undefined)
    throw new HoldfastError('SpoolLost', `the restore's files are gone from ${scratch}`);
  if (document.database !== undefined) return document;
  const { load } = database;
  const context: DatabaseContext = {
    signal,
    tempDir: path.join(scratch, 'temp'),
    processes: path.join(scratch, 'processes'),
    onProgress: () => undefined,
    log,
  };
  noteOwner(step, {
    job: input.job,
    source: database.source,
    into: load.into,
    ...(load.server === undefined ? {} : { elsewhere: { place: load.server, ...(url === undefined ? {} : { url }) } }),
  });
  await endOrphans(context.processes);
  rmSync(context.tempDir, { recursive: true, force: true });
  for (const folder of [context.tempDir, context.processes]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const source = await open();
  try {
    const dump = storedDump(input.target, dumpPath(database.source, database.name), database.name);
    const report = await source.restore(
      dump,
      {
        database: load.into,
        create: load.create,
        clean: load.clean,
        globals: load.globals,
        id: step.run,
        ...(load.jobs === undefined ? {} : { jobs: load.jobs }),
      },
      context,
    );
    const whole = withDatabase(document, input, report, startedAt);
    writeJson(planFiles.finished(scratch), whole);
    return whole;
  } finally {
    await source.close();
    rmSync(context.tempDir, { recursive: true, force: true });
  }
}

const ownerName = 'owner.json';

interface Owner {
  pid: number;
  boot: string;
  run: string;
  /** The folder that the dump passes through. */
  target: string;
  /** What it fills, once it may have begun to. */
  filling?: Filling;
}

/** A server in place of a source's own. */
export interface TargetServer {
  /** With its password; never written down. */
  url: string;
  /** The URL as it was given, where it holds no secret: a reference, or one without a password. */
  reference?: string;
}

/** A database that a restore fills. */
export interface Filling {
  job: string;
  source: string;
  into: string;
  /** In place of the source's own server: as people call it, and its URL where that may be written down. */
  elsewhere?: { place: string; url?: string };
}

/** Writes down whose the dump and the files with passwords are, for when this process is killed. */
export function noteOwner(
  { scratch, run, input }: Pick<RestoreStep, 'scratch' | 'run' | 'input'>,
  filling?: Filling,
): void {
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const owner: Owner = {
    pid: process.pid,
    boot: bootId(),
    run,
    target: input.target,
    ...(filling === undefined ? {} : { filling }),
  };
  writeJson(path.join(scratch, ownerName), owner, true);
}

/** What a restore began to fill and did not finish. */
export function unfinishedFilling(scratch: string): Filling | undefined {
  const filled = readJson<RestoreDocument>(planFiles.finished(scratch))?.database !== undefined;
  return filled ? undefined : readJson<Owner>(path.join(scratch, ownerName))?.filling;
}

/** Whose this restore of a database was, if its process is gone. */
export function abandonedRestore(scratch: string): Owner | undefined {
  const owner = readJson<Owner>(path.join(scratch, ownerName));
  return owner && !(owner.boot === bootId() && isAlive(owner.pid)) ? owner : undefined;
}

/** Whether another restore than the one with this scratch folder passes its dump through `target`. */
export function isSharedTarget(folder: string, scratch: string, target: string): boolean {
  return readdirSync(folder)
    .map((name) => path.join(folder, name))
    .some((other) => other !== scratch && readJson<Owner>(path.join(other, ownerName))?.target === target);
}

/** Ends the tools of killed restores, and removes their files with passwords. What they can go on from stays. */
export async function clearAbandonedRestores(folder: string): Promise<void> {
  for (const run of existsSync(folder) ? readdirSync(folder) : []) {
    const scratch = path.join(folder, run);
    if (abandonedRestore(scratch)) await clearAbandonedRestore(scratch);
  }
}

/** The same of one restore. */
export async function clearAbandonedRestore(scratch: string): Promise<void> {
  await endOrphans(path.join(scratch, 'processes'));
  rmSync(path.join(scratch, 'temp'), { recursive: true, force: true });
}

/** Whether a process of that id is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}

/**
 * The dump that is stored at the path `stored`, as it lies below `target` after its files were restored there.
 * @param file of SQLite the database's own path.
 */
export function storedDump(target: string, stored: string, file: string): StoredDump {
  const folder = path.join(target, stored);
  const report = readJson<DumpReport>(path.join(folder, reportName));
  if (report?.format !== 1)
    throw new HoldfastError('RestoreFailed', `the dump at ${stored} has no report, or one of a later version`);
  return { folder, report, ...(report.kind === 'sqlite' ? { file: path.join(target, file) } : {}) };
}

const damagedAtMost = 100;

function withDatabase(
  document: RestoreDocument,
  { database }: RestoreInput,
  report: RestoreReport,
  startedAt: string,
): RestoreDocument {
  const { source = '', name = '' } = database ?? {};
  const damaged = report.differences.map(({ table, expected, found }) => ({
    path: dumpPath(source, name),
    message: `table ${table}: ${expected ?? 'not'} dumped, ${found ?? 'not'} there after the restore`,
  }));
  const endedAt = new Date();
  return {
    ...document,
    status: damaged.length > 0 ? 'failed' : report.incomplete === true ? 'partial' : document.status,
    damaged: [...document.damaged, ...damaged.slice(0, damagedAtMost)],
    warnings: [...document.warnings, ...report.warnings.map((warning) => ({ ...warning, count: 1 }))],
    more: { ...document.more, damaged: document.more.damaged + Math.max(0, damaged.length - damagedAtMost) },
    database: {
      source,
      name,
      into: report.database,
      server: report.server,
      tables: report.tables,
      rows: report.rows,
    },
    endedAt: endedAt.toISOString(),
    durationMs: endedAt.getTime() - Date.parse(startedAt),
  };
}

/** The source that a restore writes to: as the config describes it, or the same kind at another server. */
export async function openTarget(
  host: Host,
  { job, source: name }: { job: string; source: string | undefined },
  url: string | undefined,
): Promise<DatabaseSource> {
  const sources = host.config.jobs[job]?.sources ?? [];
  const at = sources.findIndex((each) => each.name === name);
  const source = sources[at];
  if (!source || source.type === 'files')
    throw new HoldfastError('UsageInvalid', `job ${job} has no database source ${name}`);
  if (url === undefined) return openDatabaseSource(await resolveSecrets(source, `jobs.${job}.sources[${at}]`));
  return openDatabaseSource(elsewhere(source, url));
}

/** Another server than the source's own: nothing of the way to that one holds for it. */
function elsewhere(source: DatabaseSourceConfig, url: string): DatabaseSourceConfig {
  if (source.type === 'sqlite')
    throw new HoldfastError('UsageInvalid', `${source.name} is SQLite, which has no server`, {
      hint: '--into FILE restores to another file.',
    });
  const none = undefined;
  const nowhere = { host: none, port: none, socket: none, user: none, password: none, ssh: none, command: none };
  return { ...source, ...nowhere, url, tls: {} };
}
