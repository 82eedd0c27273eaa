import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { findJob } from '../config/load.js';
import type { DrillAssert, DrillConfig } from '../config/schema.js';
import { resolveSecrets, secretRegistry } from '../config/secrets.js';
import { HoldfastError } from '../errors.js';
import { drillNotification } from '../notifiers/message.js';
import type { Catalog } from '../repository/catalog.js';
import type { Root } from '../repository/root.js';
import { resolveSnapshot } from '../repository/snapshots.js';
import { type DatabaseContext, type RestoreReport, scratchName } from '../sources/database.js';
import { databaseAt, dumpPath, isDumpPath } from '../sources/dump-paths.js';
import { endOrphans } from '../sources/exec/process-record.js';
import { openDatabaseSource } from '../sources/open-database.js';
import type {
  DrillAssertResult,
  DrillDatabase,
  DrillInput,
  DrillProblem,
  DrillReport,
} from '../workflows/drill-types.js';
import type { RestoreDocument } from '../workflows/restore-types.js';
import type { Warning } from '../workflows/types.js';
import { isOpen } from './begin.js';
import { readerOf } from './check-inspect.js';
import { askSql, runAssert } from './drill-assert.js';
import { restoredPath, restoreForDrill } from './drill-restore.js';
import { chooseSample, type SampledFile } from './drill-sample.js';
import type { Host } from './host.js';
import { openRepository } from './open-repository.js';
import { storedDump } from './restore-database.js';
import { runFolder } from './run-context.js';
import { sweepScratchDatabases, withScratchDatabase } from './scratch-databases.js';
import { listenersOf, tellOrKeep } from './tell.js';
import { readJson, writeJson } from './threads/line-writer.js';

export interface DrillRef {
  input: DrillInput;
  run: string;
}

/** One attempt at a step. */
export interface DrillAttempt {
  signal: AbortSignal;
  /** From 1. */
  attempt: number;
  onProgress(bytes: number): void;
}

/** What the first step decided; durable in the drill's scratch folder. */
interface DrillPlan {
  run: string;
  job: string;
  snapshot: string;
  /** Percent. */
  sample: number;
  files: SampledFile[];
  total: { files: number; bytes: number };
  /** `path` is where its dump is stored; `name` is the end of that where the dump alone tells the database's. */
  databases: { source: string; name: string; path: string }[];
  asserts: DrillAssert[];
  warnings: Warning[];
}

interface FilesResult {
  files: number;
  bytes: number;
  durationMs: number;
  problems: DrillProblem[];
  moreProblems: number;
  warnings: Warning[];
}

interface DatabaseResult {
  database: DrillDatabase;
  asserts: DrillAssertResult[];
  problems: DrillProblem[];
  warnings: Warning[];
}

const defaultSample = 5;
const problemsAtMost = 100;
const messageAtMost = 500;
/** From this attempt on, destinations that do not answer count as not having a pack; servers as gone. */
const lastPatientAttempt = 5;

const at = {
  plan: (folder: string) => path.join(folder, 'drill.json'),
  started: (folder: string) => path.join(folder, 'started.json'),
  /** Where files are restored to. */
  target: (folder: string) => path.join(folder, 'files'),
  engine: (folder: string) => path.join(folder, 'restore'),
  files: (folder: string) => path.join(folder, 'files.json'),
  database: (folder: string, number: number) => path.join(folder, `database-${number}`),
  databaseResult: (folder: string, number: number) => path.join(folder, `database-${number}.json`),
  asserts: (folder: string) => path.join(folder, 'asserts.json'),
  processes: (folder: string) => path.join(folder, 'processes'),
};

const folderOf = (host: Host, run: string): string => runFolder(host.config.spool.path, run);
const folderPrefix = runFolder('', 'drill/');

/** Chooses the snapshot and a sample of its files. */
export async function drillPlan(
  host: Host,
  { input, run }: DrillRef,
  { signal }: DrillAttempt,
): Promise<{ databases: number }> {
  host.reload();
  const drill: Partial<DrillConfig> = findJob(host.config, input.job).drill ?? {};
  const folder = folderOf(host, run);
  const known = readJson<DrillPlan>(at.plan(folder));
  if (known) return { databases: known.databases.length };
  await sweepScratchDatabases(host);
  const repository = await openRepository(host, input.job, { sync: true, signal });
  const { catalog, stores, key } = repository;
  const root = chooseRoot(catalog, input);
  const whole = drill.databases === 'scratch';
  const isDatabase = (type: string): boolean => type !== 'files';
  const sample = input.sample ?? drill.sample ?? defaultSample;
  const sources = root.sources.filter(({ type }) => !(whole && isDatabase(type)));
  const files = await chooseSample(
    readerOf(catalog, stores, key, signal),
    catalog,
    root,
    { sources: sources.map(({ name }) => name), percent: sample, seed: run },
    signal,
  );
  const plan: DrillPlan = {
    run,
    job: input.job,
    snapshot: root.id,
    sample,
    files,
    total: { files: root.files, bytes: root.bytes },
    databases: whole ? databasesOf(root) : [],
    asserts: drill.assert ?? [],
    warnings: [...repository.warnings],
  };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeJson(at.plan(folder), plan);
  return { databases: plan.databases.length };
}

function chooseRoot(catalog: Catalog, { job, snapshot }: DrillInput): Root {
  if (snapshot !== undefined) return resolveSnapshot(catalog, snapshot).root;
  const row = catalog.snapshots().find(({ root }) => root.complete);
  if (row) return row.root;
  throw new HoldfastError('SnapshotUnknown', `the job ${job} has no complete snapshot to restore`);
}

const databasesOf = (root: Root): DrillPlan['databases'] =>
  root.sources
    .filter(({ type }) => type !== 'files')
    .flatMap(({ name: source, paths }) =>
      paths
        .filter((each) => isDumpPath(source, each))
        .map((each) => {
          const file = paths.find((other) => dumpPath(source, other) === each);
          return { source, name: databaseAt(source, each) ?? file ?? path.posix.basename(each), path: each };
        }),
    );

function planOf(folder: string): DrillPlan {
  const plan = readJson<DrillPlan>(at.plan(folder));
  if (!plan) throw new HoldfastError('SpoolLost', `the drill's scratch folder ${folder} is gone`);
  return plan;
}

/** Restores the sample, and compares every file with the manifest. */
export async function drillFiles(host: Host, { input, run }: DrillRef, step: DrillAttempt): Promise<void> {
  const folder = folderOf(host, run);
  const plan = planOf(folder);
  if (existsSync(at.files(folder))) return;
  if (!existsSync(at.started(folder))) writeJson(at.started(folder), Date.now());
  const target = at.target(folder);
  mkdirSync(target, { recursive: true, mode: 0o700 });
  let document: RestoreDocument | undefined;
  if (plan.files.length > 0) {
    const repository = await openRepository(host, input.job, { sync: false, signal: step.signal });
    const { snapshot, job } = plan;
    const paths = plan.files.map((file) => file.path);
    document = await restoreForDrill(
      { host: input.host, job, run, snapshot, paths, target, scratch: at.engine(folder) },
      repository,
      { retry: step.attempt > 1, patient: step.attempt < lastPatientAttempt },
      step.signal,
    );
  }
  const durationMs = Date.now() - (readJson<number>(at.started(folder)) ?? Date.now());
  const problems: DrillProblem[] = (document?.damaged ?? []).map((each) => ({ code: 'RestoreFailed', ...each }));
  const lost = new Set(problems.map((problem) => problem.path));
  let moreProblems = document?.more.damaged ?? 0;
  let files = 0;
  let bytes = 0;
  for (const file of plan.files) {
    if (lost.has(file.path)) continue;
    const message = differenceOf(file, restoredPath(target, file.path));
    if (message === undefined) {
      files++;
      bytes += Number(file.size);
    } else if (problems.length < problemsAtMost) {
      problems.push({ code: 'RestoreFailed', path: file.path, message });
    } else moreProblems++;
  }
  const result: FilesResult = {
    files,
    bytes,
    durationMs,
    problems,
    moreProblems,
    warnings: (document?.warnings ?? []).map(({ count: _, ...warning }) => warning),
  };
  writeJson(at.files(folder), result);
}

/** The largest difference of times that a coarse file system makes. */
const coarseNs = 2_000_000_000n;

/** How a restored file differs from what was backed up; its content was checked chunk by chunk as it was written. */
function differenceOf(file: SampledFile, place: string): string | undefined {
  const stat = lstatSync(place, { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return 'was not restored';
  if (!stat.isFile()) return 'is not a file after the restore';
  if (stat.size !== BigInt(file.size)) return `has ${stat.size} bytes after the restore, not ${file.size}`;
  if (process.platform === 'win32') return undefined;
  const mode = Number(stat.mode) & 0o777;
  if (mode !== (file.mode & 0o777))
    return `has the mode ${octal(mode)} after the restore, not ${octal(file.mode & 0o777)}`;
  const apart = stat.mtimeNs - BigInt(file.mtime);
  if (apart > coarseNs || apart < -coarseNs) return 'has another modification time after the restore';
  return undefined;
}

const octal = (mode: number): string => mode.toString(8).padStart(3, '0');

/** Restores one database into a temporary one, compares it, asks it, and drops it. */
export async function drillDatabase(
  host: Host,
  { input, run, database: number }: DrillRef & { database: number },
  step: DrillAttempt,
): Promise<void> {
  const folder = folderOf(host, run);
  const plan = planOf(folder);
  const wanted = plan.databases[number];
  if (!wanted) throw new HoldfastError('Internal', `the drill has no database ${number}`);
  if (existsSync(at.databaseResult(folder, number))) return;
  const own = at.database(folder, number);
  const { source, name } = wanted;
  const startedAt = Date.now();
  const result: DatabaseResult = {
    database: { source, name, status: 'failed', server: null, tables: 0, rows: 0, durationMs: 0 },
    asserts: [],
    problems: [],
    warnings: [],
  };
  try {
    const repository = await openRepository(host, input.job, { sync: false, signal: step.signal });
    const config = configOf(host, input.job, source);
    const document = await restoreForDrill(
      {
        host: input.host,
        job: plan.job,
        run,
        snapshot: plan.snapshot,
        paths: config.type === 'sqlite' ? [wanted.path, name] : [wanted.path],
        target: path.join(own, 'files'),
        scratch: path.join(own, 'restore'),
      },
      repository,
      { retry: step.attempt > 1, patient: step.attempt < lastPatientAttempt },
      step.signal,
    );
    result.problems.push(...document.damaged.map((each) => ({ code: 'RestoreFailed', ...each })));
    if (document.status !== 'succeeded' && result.problems.length === 0)
      result.problems.push({ code: 'RestoreFailed', message: `the dump of ${name} did not come back whole` });
    if (result.problems.length === 0) {
      const report = await scratch(host, plan, wanted, own, result, step);
      const { server, tables, rows } = report;
      Object.assign(result.database, { server, tables, rows });
      result.warnings.push(...report.warnings);
      for (const { table, expected, found } of report.differences) {
        const message = `${name}: table ${table}: ${expected ?? 'not'} dumped, ${found ?? 'not'} there after the restore`;
        result.problems.push({ code: 'RestoreFailed', message });
      }
    }
  } catch (error) {
    step.signal.throwIfAborted();
    const mayPass = !(error instanceof HoldfastError) || error.retryable;
    if (mayPass && step.attempt < lastPatientAttempt) throw error;
    const code = error instanceof HoldfastError ? error.code : 'Internal';
    result.problems.push({ code, message: `${name}: ${error instanceof Error ? error.message : String(error)}` });
  }
  removeTree(own);
  result.database.status = result.problems.length === 0 ? 'passed' : 'failed';
  result.database.durationMs = Date.now() - startedAt;
  writeJson(at.databaseResult(folder, number), result);
}

async function scratch(
  host: Host,
  plan: DrillPlan,
  database: DrillPlan['databases'][number],
  own: string,
  result: DatabaseResult,
  { signal, onProgress }: DrillAttempt,
): Promise<RestoreReport> {
  const context: DatabaseContext = {
    signal,
    tempDir: path.join(own, 'temp'),
    processes: path.join(own, 'processes'),
    onProgress,
    log: (message, details) => host.log.info({ run: plan.run, ...details }, message),
  };
  await endOrphans(context.processes);
  rmSync(context.tempDir, { recursive: true, force: true });
  for (const each of [context.tempDir, context.processes]) mkdirSync(each, { recursive: true, mode: 0o700 });
  const config = configOf(host, plan.job, database.source);
  const number = host.config.jobs[plan.job]?.sources.findIndex(({ name }) => name === database.source);
  const source = await openDatabaseSource(await resolveSecrets(config, `jobs.${plan.job}.sources[${number}]`));
  try {
    const dump = storedDump(path.join(own, 'files'), database.path, database.name);
    result.database.name = dump.report.database;
    const name = scratchName(own);
    const { job, run } = plan;
    return await withScratchDatabase(host, { name, job, source: database.source, run }, source, context, () =>
      source.scratch(dump, name, context, async (ask) => {
        result.asserts = [];
        for (const assert of plan.asserts) {
          if (!('sql' in assert) || askedOf(plan, assert)[0] !== database) continue;
          result.asserts.push(await askSql(assert, result.database, ask, signal));
        }
      }),
    );
  } finally {
    await source.close();
    rmSync(context.tempDir, { recursive: true, force: true });
  }
}

function configOf(host: Host, job: string, source: string) {
  const config = findJob(host.config, job).sources.find(({ name }) => name === source);
  if (config !== undefined && config.type !== 'files') return config;
  throw new HoldfastError('ConfigInvalid', `the job ${job} has no database source ${source} any more`);
}

/** The one database that a query is for; none unless it is clear which. */
function askedOf({ databases }: DrillPlan, assert: { source?: string; database?: string }): DrillPlan['databases'] {
  const possible = databases.filter(
    ({ source, path: stored }) =>
      (assert.source === undefined || assert.source === source) &&
      (assert.database === undefined || dumpPath(source, assert.database) === stored),
  );
  return possible.length === 1 ? possible : [];
}

/** Runs the commands, one after the other, in the folder with the restored files. */
export async function drillAssert(host: Host, { run }: DrillRef, { signal }: DrillAttempt): Promise<void> {
  const folder = folderOf(host, run);
  const plan = planOf(folder);
  if (existsSync(at.asserts(folder))) return;
  const processes = at.processes(folder);
  await endOrphans(processes);
  mkdirSync(processes, { recursive: true, mode: 0o700 });
  const results: DrillAssertResult[] = [];
  for (const assert of plan.asserts) {
    if ('command' in assert) results.push(await runAssert(assert, at.target(folder), processes, signal));
    else if (askedOf(plan, assert).length === 0) {
      const output = 'no database of the snapshot, or more than one, is meant; say which with `source` and `database`';
      results.push({ kind: 'sql', assert: assert.sql, status: 'failed', expected: String(assert.expect), output });
    }
  }
  writeJson(at.asserts(folder), results);
}

/** Puts the report together, tells of it, and keeps it. */
export async function drillFinish(
  host: Host,
  { input, run, startedAt, failure }: DrillRef & { startedAt: string; failure?: DrillProblem },
): Promise<DrillReport> {
  const known = host.history.drill(run);
  if (known) return known;
  const folder = folderOf(host, run);
  const plan = readJson<DrillPlan>(at.plan(folder));
  const restored = readJson<FilesResult>(at.files(folder));
  const databases = (plan?.databases ?? []).flatMap(
    (_, number) => readJson<DatabaseResult>(at.databaseResult(folder, number)) ?? [],
  );
  const asserts = [
    ...databases.flatMap((each) => each.asserts),
    ...(readJson<DrillAssertResult[]>(at.asserts(folder)) ?? []),
  ];
  const problems = [
    ...(failure === undefined ? [] : [failure]),
    ...(restored?.problems ?? []),
    ...databases.flatMap((each) => each.problems),
    ...asserts.filter(({ status }) => status === 'failed').map(problemOfAssert),
  ].map((problem) => ({ ...problem, message: secretRegistry.redact(problem.message).slice(0, messageAtMost) }));
  const kept = problems.slice(0, problemsAtMost);
  const restoreMs = restored?.durationMs ?? 0;
  const bytes = restored?.bytes ?? 0;
  const total = plan?.total ?? { files: 0, bytes: 0 };
  const endedAt = new Date();
  const report: DrillReport = {
    drill: run,
    job: input.job,
    snapshot: plan?.snapshot ?? null,
    status: problems.length === 0 ? 'passed' : 'failed',
    scheduled: input.scheduled === true,
    sample: plan?.sample ?? input.sample ?? defaultSample,
    files: restored?.files ?? 0,
    bytes,
    sampled: {
      files: plan?.files.length ?? 0,
      bytes: (plan?.files ?? []).reduce((sum, { size }) => sum + Number(size), 0),
    },
    total,
    databases: databases.map(({ database }) => database),
    asserts,
    restoreMs,
    wholeRestoreMs: bytes > 0 ? Math.round((restoreMs * Math.max(total.bytes, bytes)) / bytes) : null,
    problems: kept,
    moreProblems: problems.length - kept.length + (restored?.moreProblems ?? 0),
    warnings: [
      ...(plan?.warnings ?? []),
      ...(restored?.warnings ?? []),
      ...databases.flatMap((each) => each.warnings),
    ].slice(0, problemsAtMost),
    startedAt,
    endedAt: endedAt.toISOString(),
    durationMs: endedAt.getTime() - Date.parse(startedAt),
  };
  // Told first: a drill whose report is kept has been told of.
  await reportDrill(host, report);
  host.history.putDrill(report);
  return report;
}

function problemOfAssert({ kind, assert, expected, found, exitCode, output }: DrillAssertResult): DrillProblem {
  const said = output === undefined || output === '' ? '' : `: ${output}`;
  const what =
    kind === 'command'
      ? exitCode === null
        ? 'was ended'
        : `ended with exit code ${exitCode}`
      : found === undefined
        ? 'was not answered'
        : `expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`;
  return {
    code: 'AssertFailed',
    message: `${kind === 'command' ? 'command' : 'query'} ${assert.slice(0, 200)} ${what}${said}`,
  };
}

/** Longest that telling of a drill may take, ms. */
const tellTimeoutMs = 30_000;

/** Tells whoever is to know how a drill ended: the log, and of a failure the job's notifiers. Never fails the drill. */
export async function reportDrill(host: Host, report: DrillReport): Promise<void> {
  const { drill, job, snapshot, status, files, bytes, problems, durationMs } = report;
  const first = problems[0]?.message;
  const about = { drill, snapshot, files, bytes, problems: problems.length, durationMs };
  if (status === 'passed') host.log.info(about, `drill of ${job}: passed`);
  else host.log.error(about, `drill of ${job}: failed: ${first ?? ''}`);
  if (status === 'passed') return;
  const notification = drillNotification(host.config.host, report);
  const listeners = listenersOf(host, job, 'drill');
  await Promise.all(listeners.map((name) => tellOrKeep(host, name, notification, AbortSignal.timeout(tellTimeoutMs))));
}

/** Ends what the drill's commands left running and removes its scratch folder. */
export async function drillCleanUp(host: Host, { run }: DrillRef): Promise<void> {
  const folder = folderOf(host, run);
  if (!existsSync(folder)) return;
  for (const part of ownFolders(folder)) await endOrphans(part);
  removeTree(folder);
}

/** Removes a folder, also one whose restored folders may not be written to. */
function removeTree(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    makeRemovable(folder);
    rmSync(folder, { recursive: true, force: true });
  }
}

function makeRemovable(folder: string): void {
  chmodSync(folder, 0o700);
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isDirectory()) makeRemovable(path.join(folder, entry.name));
}

function drillFolders(spool: string): string[] {
  const names = existsSync(spool) ? readdirSync(spool) : [];
  return names.filter((name) => name.startsWith(folderPrefix)).map((name) => path.join(spool, name));
}

/** Ends what a killed worker's drills left running. Before the worker takes work. */
export async function endAbandonedDrills(spool: string): Promise<void> {
  for (const folder of drillFolders(spool)) for (const part of ownFolders(folder)) await endOrphans(part);
}

/** Where a drill records processes; never among what it restored. */
const ownFolders = (folder: string): string[] => [
  at.processes(folder),
  ...readdirSync(folder)
    .filter((name) => /^database-\d+$/.test(name))
    .map((name) => path.join(folder, name, 'processes')),
];

/** Removes what drills that are over left in the spool. */
export async function sweepDrills(host: Host): Promise<void> {
  for (const folder of drillFolders(host.config.spool.path)) {
    const plan = readJson<DrillPlan>(at.plan(folder));
    if (plan && runFolder(host.config.spool.path, plan.run) === folder && !(await isOpen(host, plan.run)))
      removeTree(folder);
  }
}
