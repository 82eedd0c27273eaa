import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { findJob } from '../config/load.js';
import type { JobConfig } from '../config/schema.js';
import { HoldfastError } from '../errors.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import type { PruneDestination, PruneInput } from '../workflows/care-types.js';
import type { Host } from './host.js';
import { takeJobLock } from './job-lock.js';
import { stateKeyFile } from './key-file.js';
import { claimRepository } from './key-setup.js';
import { type OpenedRepository, openRepository } from './open-repository.js';
import { pruneDestination } from './prune.js';
import type { CareContext } from './repack.js';
import { damagedAt, refuseJumpedClocks, retentionVerdicts } from './retention-verdicts.js';
import { runFolder } from './run-context.js';
import { spoolFolders } from './threads/spool-files.js';

/** Takes the job's lock and takes in what the destinations hold now; says which of them may be pruned. */
export async function pruneBegin(
  host: Host,
  input: PruneInput,
  run: string,
  signal: AbortSignal,
): Promise<{ destinations: string[]; skipped: PruneDestination[] }> {
  host.reload();
  const job = findJob(host.config, input.job);
  await takeJobLock(host, input.job, run, false);
  const repository = await openRepository(host, input.job, { sync: true, owner: run, signal });
  const unreachable = new Map(job.destinations.map((name) => [name, repository.unread.get(name)]));
  const skipped: PruneDestination[] = [];
  const held = heldText(host, input.job);
  const destinations: string[] = [];
  for (const name of job.destinations) {
    const reason = unreachable.get(name) ?? held ?? reasonToSkip(repository.catalog, job, name);
    if (reason === undefined) destinations.push(name);
    else skipped.push({ ...emptyAnswer(name), status: 'skipped', error: reason });
  }
  return { destinations, skipped };
}

/** Prunes one destination and says what became of each snapshot. */
export async function pruneAt(
  host: Host,
  input: PruneInput,
  run: string,
  destination: string,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<PruneDestination> {
  const repository = await openRepository(host, input.job, { sync: false, signal });
  const job = findJob(host.config, input.job);
  const store = repository.stores.find(({ name }) => name === destination);
  const file = stateKeyFile(host, input.job);
  if (!store || !file) throw new HoldfastError('DestinationMissing', `${destination} cannot be opened`);
  await claimRepository(host, input.job, store, file, { takeOver: false, key: repository.key }, signal);
  const folder = runFolder(host.config.spool.path, run);
  for (const name of ['', ...spoolFolders]) mkdirSync(path.join(folder, name), { recursive: true, mode: 0o700 });
  const context: CareContext = {
    host,
    catalog: repository.catalog,
    catalogFile: host.catalogFile(input.job),
    job,
    jobName: input.job,
    folder,
    destinationConfig: (name) => {
      const config = host.config.destinations[name];
      if (!config) throw new HoldfastError('ConfigInvalid', `there is no destination ${name}`);
      return config;
    },
    store: async (name) => {
      const found = repository.stores.find((other) => other.name === name);
      if (!found) throw new HoldfastError('DestinationMissing', `${name} cannot be opened`);
      return found;
    },
    key: async () => repository.key,
  };
  const rows = rowsAt(repository.catalog, destination);
  const now = await store.destination.now(signal);
  const answer = await pruneDestination(context, destination, signal, onProgress, {
    thorough: true,
    trustClock: input.trustClock === true,
  });
  const snapshots = verdictsOf(repository.catalog, job, destination, rows, now);
  return { ...emptyAnswer(destination), status: 'pruned', ...answer, snapshots };
}

/** Frees what a prune took, whatever became of it. */
export function pruneEnd(host: Host, input: PruneInput, run: string): void {
  rmSync(runFolder(host.config.spool.path, run), { recursive: true, force: true });
  host.history.releaseLock(input.job, run);
}

/** What a prune would remove, by what the catalog knows. */
export async function prunePlan(
  host: Host,
  jobName: string,
  { catalog, stores, unread }: OpenedRepository,
  options: { trustClock?: boolean } = {},
): Promise<PruneDestination[]> {
  const job = findJob(host.config, jobName);
  const held = heldText(host, jobName);
  const planned: PruneDestination[] = [];
  for (const name of job.destinations) {
    const store = stores.find((one) => one.name === name);
    const reason = unread.get(name) ?? held ?? reasonToSkip(catalog, job, name);
    if (reason !== undefined || store === undefined) {
      planned.push({ ...emptyAnswer(name), status: 'skipped', error: reason ?? `${name} cannot be opened` });
      continue;
    }
    const rows = rowsAt(catalog, name);
    const now = await store.destination.now();
    const jumped = options.trustClock === true ? undefined : clockProblem(job, name, rows, now);
    if (jumped !== undefined) {
      planned.push({ ...emptyAnswer(name), status: 'skipped', error: jumped });
      continue;
    }
    const snapshots = verdictsOf(catalog, job, name, rows, now);
    const removed = snapshots.filter(({ keep }) => !keep).length;
    planned.push({ ...emptyAnswer(name), status: 'planned', removed, snapshots });
  }
  return planned;
}

/** Why a prune would refuse to go by the clocks. */
function clockProblem(job: JobConfig, name: string, rows: readonly SnapshotRow[], now: Date): string | undefined {
  try {
    refuseJumpedClocks(job, name, rows, now);
    return undefined;
  } catch (error) {
    if (error instanceof HoldfastError) return `${error.message}. ${error.hint ?? ''}`;
    throw error;
  }
}

const rowsAt = (catalog: Catalog, destination: string): SnapshotRow[] =>
  catalog.snapshots().filter((row) => catalog.holders(row.name).includes(destination));

function verdictsOf(
  catalog: Catalog,
  job: JobConfig,
  destination: string,
  rows: readonly SnapshotRow[],
  now: Date,
): PruneDestination['snapshots'] {
  const damaged = damagedAt(catalog, destination);
  const verdicts = retentionVerdicts(catalog, job, rows, now.getTime(), damaged);
  const reasons = new Map(verdicts.map((one) => [one.id, one.reasons]));
  return rows.map(({ id, root: { time, mode, complete } }) => {
    const why = reasons.get(id) ?? [];
    return { id, time, mode, complete, keep: why.length > 0, reasons: why.length > 0 ? why : ['no rule keeps it'] };
  });
}

/** An anomaly holds the job's retention until somebody has looked at it. */
function heldText(host: Host, job: string): string | undefined {
  const hold = host.history.held(job);
  return hold && `held since ${hold.since}: ${hold.reason}; when all is well: holdfast anomalies accept ${job}`;
}

/** Nothing goes unless the newest good snapshot is there, and at as many destinations as the job asks for. */
function reasonToSkip(catalog: Catalog, job: JobConfig, destination: string): string | undefined {
  const newest = catalog.snapshots().find(({ root }) => root.complete);
  if (!newest) return 'there is no complete snapshot yet';
  const holders = catalog.holders(newest.name).filter((name) => job.destinations.includes(name));
  if (!holders.includes(destination)) return `the newest complete snapshot, ${newest.id}, is not there`;
  if (holders.length < job.minimumDestinations) {
    return `the newest complete snapshot, ${newest.id}, is at ${holders.length} destinations; ${job.minimumDestinations} are needed`;
  }
  return undefined;
}

const emptyAnswer = (name: string): PruneDestination => ({
  name,
  status: 'failed',
  error: null,
  removed: 0,
  marked: 0,
  deleted: 0,
  repacked: 0,
  freed: 0,
  snapshots: [],
  warnings: [],
});
