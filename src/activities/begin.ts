import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { findJob } from '../config/load.js';
import type { Config, JobConfig } from '../config/schema.js';
import { secretless } from '../config/secrets.js';
import { looksUnmounted } from '../destinations/local-mount.js';
import { HoldfastError } from '../errors.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import { deletionIdOf, newObjectId, snapshotIdOf } from '../repository/layout.js';
import { chainGaps, rollbackMessages } from '../repository/rollback.js';
import type { Root, SnapshotMode } from '../repository/root.js';
import { Store } from '../repository/store.js';
import { forgetGone, listObjects, type SyncResult, syncFrom } from '../repository/sync.js';
import { type BackupInput, backupIdPrefix, type RunDocument, type Warning } from '../workflows/types.js';
import { chooseArchiveBasis, planArchive } from './archive-basis.js';
import type { LastCheck } from './check-run.js';
import { emptyDocument } from './document.js';
import type { Host } from './host.js';
import { stateKeyFile } from './key-file.js';
import { claimRepository, establishKey, type Found, newKeyFile, noteClaimed, readOwner } from './key-setup.js';
import { type Begun, RunContext, runFolder } from './run-context.js';
import { sealedDeletions, sealedKey } from './sealed-deletions.js';
import { hasParents } from './snapshot.js';
import { readJson, writeJson } from './threads/line-writer.js';
import { spoolFiles, spoolFolders } from './threads/spool-files.js';

export interface BeginRequest {
  input: BackupInput;
  run: string;
  startedAt: string;
  /** Started by a schedule: gives way to an active run instead of waiting for it. */
  scheduled: boolean;
  /** Throw JobBusy, to be retried, instead of reporting it. */
  wait: boolean;
  /** How often the run began anew because its spool was lost. */
  restart: number;
}

export type BeginAnswer =
  | { state: 'busy'; owner: string }
  | { state: 'joined'; queued: string }
  | {
      state: 'started';
      snapshot: string;
      mode: SnapshotMode;
      /** The run makes one file of it all. */
      archive?: boolean;
      minimumDestinations: number;
      destinations: { name: string; giveUpAfterMs: number; error?: string }[];
      retention: boolean;
      notify: string[];
      /** Sources that are databases, to be dumped before the snapshot: their numbers and names. */
      dumps?: { source: number; name: string }[];
      /** Those of them that want to hear of the start; left out: none does. */
      notifyStart?: string[];
    };

/** Takes the job's lock, freezes the config, looks at what every destination holds now, and decides what this run builds on. */
export async function begin(host: Host, request: BeginRequest, signal: AbortSignal): Promise<BeginAnswer> {
  const { input, run } = request;
  const busy = await takeLock(host, request);
  if (busy) return busy;
  const folder = runFolder(host.config.spool.path, run);
  if (readJson<Begun>(spoolFiles.begun(folder))?.restart === request.restart) return answer(RunContext.load(host, run));
  rmSync(folder, { recursive: true, force: true });

  const { config: live, hash } = host.reload();
  const warnings: Warning[] = [];
  findJob(live, input.job);
  if (hash !== input.configHash) {
    warnings.push({
      code: 'ConfigChanged',
      message: "the config has changed since the schedule was applied; run 'holdfast schedule apply'",
    });
  }
  if (!live.encryption)
    warnings.push({
      code: 'Unencrypted',
      message: 'the repository is not encrypted: anyone who can read a destination can read the backup',
    });
  for (const name of ['', ...spoolFolders]) mkdirSync(path.join(folder, name), { recursive: true, mode: 0o700 });
  const config = secretless(live);
  writeJson(spoolFiles.config(folder), config, true);
  host.history.put(live.host, emptyDocument(run, input.job, request.startedAt, 'running'));

  let begun = await decide(host, request, config, warnings, signal);
  if (begun.archive?.base !== undefined && !(await hasParents(new RunContext(host, run, begun, config), signal))) {
    warnings.push({
      code: 'FullInstead',
      message: `the list of what is in ${begun.archive.base.name} cannot be read, so this archive is a full one`,
    });
    const full = { ...request, input: { ...input, options: { ...input.options, full: true } } };
    begun = await decide(host, full, config, warnings, signal);
  }
  writeJson(spoolFiles.begun(folder), begun, true);
  return answer(new RunContext(host, run, begun, config));
}

async function takeLock(host: Host, request: BeginRequest): Promise<BeginAnswer | undefined> {
  const { run } = request;
  const { job } = request.input;
  for (;;) {
    const held = host.history.lock(job);
    if (!held || held.owner === run) {
      if (host.history.takeLock(job, run)) return undefined;
      continue;
    }
    if (!(await isOpen(host, held.owner))) {
      host.log.info({ job, owner: held.owner }, 'taking the lock of a run that is closed');
      closeAbandoned(host, held.owner);
      if (host.history.takeLock(job, run, held.owner)) return undefined;
      continue;
    }
    const byBackup = held.owner.startsWith(backupIdPrefix(host.config.host, ''));
    if (request.scheduled && byBackup) return { state: 'busy', owner: held.owner };
    if (request.scheduled) {
      // A prune or a repair is over soon, and is no backup that this one could give way to.
      throw new HoldfastError('JobBusy', `job ${job} is in use by ${held.owner}`, { retryAfterMs: 30_000 });
    }
    const waiting = held.queued;
    const stale = waiting !== null && waiting !== run && !(await isOpen(host, waiting)) ? waiting : undefined;
    if (!host.history.queue(job, run, stale)) return { state: 'joined', queued: waiting ?? held.owner };
    if (request.wait)
      throw new HoldfastError('JobBusy', `job ${job} is being backed up by ${held.owner}`, { retryAfterMs: 1000 });
    return { state: 'busy', owner: held.owner };
  }
}

/** Whether Temporal still has the workflow open. */
export async function isOpen(host: Host, run: string): Promise<boolean> {
  if (!host.client) return true;
  try {
    const { status } = await host.client.workflow.getHandle(run).describe();
    return status.name === 'RUNNING' || status.name === 'PAUSED';
  } catch (error) {
    if (error instanceof Error && error.name === 'WorkflowNotFoundError') return false;
    throw new HoldfastError('TemporalUnavailable', `Temporal does not say whether ${run} is still running`, {
      cause: error,
    });
  }
}

/** A run that Temporal closed without its last step (terminated, timed out) is recorded as failed. */
export function closeAbandoned(host: Host, run: string): void {
  const document = host.history.get(run);
  if (document?.status !== 'running' && document?.status !== 'queued') return;
  const ended: RunDocument = {
    ...document,
    status: 'failed',
    error: { code: 'Cancelled', message: 'the run was terminated from outside' },
  };
  host.history.put(host.config.host, ended);
}

async function decide(
  host: Host,
  request: BeginRequest,
  config: Config,
  warnings: Warning[],
  signal: AbortSignal,
): Promise<Begun> {
  const { job: jobName, options } = request.input;
  const job = findJob(config, jobName);
  const catalog = host.catalog(jobName);
  const passphrase = await host.passphrase(config.encryption?.passphrase);
  // Deriving its key takes as long as several answers of a distant server.
  const kept = stateKeyFile(host, jobName);
  if (kept) void host.unlock(kept, passphrase).catch(() => undefined);
  const spare = kept || catalog.get('repository') ? undefined : newKeyFile(host, jobName, passphrase);
  spare?.catch(() => undefined);
  const looks: Look[] = [];
  const failures = new Map<string, HoldfastError>();
  await Promise.all(
    job.destinations.map(async (name) => {
      try {
        const frozen = config.destinations[name];
        if (!frozen) throw new HoldfastError('ConfigInvalid', `there is no destination ${name}`);
        const destination = await host.destination(name, frozen);
        const store = new Store(destination, config.host, jobName);
        let early: Promise<Look> | undefined;
        if ((catalog.get(`seen:${name}`) ?? '') === '') {
          destination.warm?.();
          // Asked at once, as its folder is there as a rule.
          early = wholeLook(store, signal);
          early.catch(() => undefined);
          await host.prepareDestination(name, frozen);
          if (frozen.type === 'local' && frozen.mountPoint === undefined && (await looksUnmounted(frozen.path))) {
            const message = `${name}: nothing seems to be mounted at or above ${frozen.path}; is it meant to be on this disk? \`mountPoint\` makes sure`;
            warnings.push({ code: 'NotMounted', message });
          }
        }
        looks.push((await early?.catch(() => undefined)) ?? (await look(store, signal)));
      } catch (error) {
        failures.set(name, asHoldfast(error));
      }
    }),
  );
  looks.sort((a, b) => job.destinations.indexOf(a.store.name) - job.destinations.indexOf(b.store.name));
  signal.throwIfAborted();
  if (looks.length === 0 && (catalog.get('repository') ?? '') === '')
    throw [...failures.values()][0] ?? new Error('no destination');

  const keyFile = await establishKey(host, jobName, looks, passphrase, signal, spare);
  const key = await host.unlock(keyFile, passphrase);
  if (catalog.get('repository') !== keyFile.repository) {
    catalog.clear();
    catalog.set('repository', keyFile.repository);
  }
  catalog.keepPresence(job.destinations);
  const listed = new Map<string, SyncResult>();
  await Promise.all(
    looks.map(async ({ store, found, objects }) => {
      try {
        const claim = { takeOver: options.takeOver === true, key, found };
        warnings.push(...(await claimRepository(host, jobName, store, keyFile, claim, signal)));
        noteClaimed(host, jobName, store);
        listed.set(store.name, await syncFrom(store, key, catalog, signal, keyFile.repository, false, await objects));
      } catch (error) {
        failures.set(store.name, asHoldfast(error));
      }
    }),
  );
  signal.throwIfAborted();
  if (listed.size === 0 && job.destinations.every((name) => failures.get(name)?.retryable === false))
    throw [...failures.values()][0]!;
  const gaps =
    listed.size === job.destinations.length
      ? chainGaps(
          catalog,
          [...listed.values()].flatMap((result) => result.deletions),
        )
      : [];
  for (const message of rollbackMessages(
    [...listed.values()].flatMap(({ gone }) => gone),
    gaps,
  ))
    warnings.push({ code: 'RepositoryRolledBack', message });
  const check = catalog.get('check');
  const last = check === undefined ? undefined : (JSON.parse(check) as LastCheck);
  if (last?.status === 'damaged') {
    warnings.push({
      code: 'CheckFailed',
      message: `the last check, of ${last.endedAt}, found damage: ${last.first} (holdfast check ${jobName} --repair)`,
    });
  }
  for (const { damaged } of listed.values()) {
    for (const { name, message } of damaged) warnings.push({ code: 'IntegrityMismatch', message, path: name });
  }
  forgetGone(
    catalog,
    new Map([...listed].map(([name, result]) => [name, result.objects])),
    listed.size === job.destinations.length,
  );
  const marked = [...listed.values()].flatMap((result) =>
    result.deletions.filter((record) => !record.done).flatMap((record) => record.packs),
  );
  catalog.setMarks(marked);

  const sealed = noteSealed(catalog, [...listed.values()]);
  const seq =
    Math.max(sealed.leastSeq, Number(catalog.get('seq') ?? 0), ...catalog.snapshots().map((row) => row.seq)) + 1;
  catalog.set('seq', String(seq));
  const wanted = sealed.startAnew ? { ...options, full: true } : options;
  const basis: Basis & { base?: SnapshotRow } =
    job.format === 'archive'
      ? chooseArchiveBasis(catalog, job, wanted, request.startedAt)
      : chooseBasis(catalog, job, wanted, request.startedAt, request.restart > 0);
  const archive = planArchive(catalog, config, jobName, job, { ...basis, startedAt: request.startedAt });
  if (archive !== undefined && !archive.encrypted && config.encryption) {
    const message = `the archive ${archive.name} is not encrypted: anyone who can read a destination can read it`;
    warnings.push({ code: 'Unencrypted', message });
  }
  const ownIndex = newObjectId();
  // An archive is whole or nothing: what a run that failed left is not taken up.
  const adopts = archive === undefined && (basis.indexes.length > 0 || !options.full || request.restart > 0);
  if (adopts) adoptLeftovers(catalog, basis, ownIndex);
  return {
    run: request.run,
    restart: request.restart,
    job: jobName,
    host: config.host,
    startedAt: request.startedAt,
    options,
    mode: basis.mode,
    snapshot: newObjectId(),
    seq,
    generation: basis.generation,
    began: basis.began,
    indexes: basis.indexes,
    ownIndex,
    allPresent: basis.indexes.every((index) =>
      catalog
        .packsOf(index)
        .every((pack) => catalog.holders(catalog.objectOf(pack.hash)).length > 0 && !catalog.isMarked(pack.hash)),
    ),
    parents: basis.parents,
    ...(archive === undefined ? {} : { archive }),
    keyFile,
    destinations: job.destinations.map((name) => {
      const failure = failures.get(name);
      return failure ? { name, error: `${failure.code}: ${failure.message}` } : { name };
    }),
    warnings,
  };
}

/**
 * What a host without the private key makes of objects that it can't read, since it did not write them or lost its catalog: marks
 * in deletion records that are new to it may be on packs that it knows, so it starts a new generation; and since it can't see the
 * `seq` of roots, it goes on from the seconds since 1970, which no count of snapshots has reached.
 */
function noteSealed(catalog: Catalog, listed: readonly SyncResult[]): { leastSeq: number; startAnew: boolean } {
  const sealed = new Set(listed.flatMap((result) => result.sealed));
  const deletions = [...sealed].filter((name) => deletionIdOf(name) !== undefined);
  const known = new Set(sealedDeletions(catalog));
  const startAnew = deletions.some((name) => !known.has(name));
  if (startAnew) catalog.set(sealedKey, JSON.stringify(deletions));
  const hasRoots = [...sealed].some((name) => snapshotIdOf(name) !== undefined);
  return { leastSeq: hasRoots ? Math.floor(Date.now() / 1000) : 0, startAnew };
}

export interface Basis {
  mode: SnapshotMode;
  generation: string;
  /** When the generation began. */
  began: string;
  indexes: string[];
  parents: Record<string, string>;
}

/** Which generation and which indexes this run may refer to, and which snapshot each source is compared with. */
function chooseBasis(
  catalog: Catalog,
  job: JobConfig,
  options: BackupInput['options'],
  startedAt: string,
  again: boolean,
): Basis {
  // What is in an archive no repository snapshot can refer to.
  const rows = catalog.snapshots().filter(({ root }) => root.archive === undefined);
  const wanted: SnapshotMode = options.full ? 'full' : options.differential ? 'differential' : job.mode;
  const newest = rows[0]?.root;
  const latest: Root | undefined =
    wanted === 'incremental'
      ? newest
      : wanted === 'differential'
        ? rows.find((row) => row.root.mode === 'full')?.root
        : undefined;
  const isOld =
    job.renewEvery !== undefined &&
    latest !== undefined &&
    Date.parse(startedAt) - Date.parse(beganOf(rows, latest)) >= job.renewEvery;
  const base = isOld ? undefined : latest;
  if (!base) {
    // A generation begun by a run that did not finish is taken up again, with what it stored.
    const left = catalog.get('generation');
    const own = !options.full || again;
    const unfinished = left !== undefined && left !== '' && own && rows.every((row) => row.root.generation !== left);
    const generation = unfinished ? left : randomUUID();
    catalog.set('generation', generation);
    return { mode: 'full', generation, began: startedAt, indexes: [], parents: {} };
  }
  const parents: Record<string, string> = {};
  for (const { name } of job.sources) {
    const parent = rows.find(
      (row) =>
        row.root.generation === base.generation &&
        row.root.sources.some((source) => source.name === name && source.complete),
    );
    if (parent) parents[name] = parent.id;
  }
  // An index that is gone or damaged everywhere resolves nothing: what only it knew is read and stored again.
  const known = new Set(catalog.indexes());
  const indexes = catalog.effective(base.indexes).filter((id) => known.has(id));
  return { mode: wanted, generation: base.generation, began: beganOf(rows, base), indexes, parents };
}

/** When a root's generation began: as the root says, else the time of the oldest one that is left of it. */
function beganOf(rows: readonly SnapshotRow[], { generation, began, time }: Root): string {
  if (began !== undefined) return began;
  return rows.filter((row) => row.root.generation === generation).at(-1)?.root.time ?? time;
}

/** What a destination holds, asked for side by side: on a distant line it is the asking that takes the time. */
interface Look {
  store: Store;
  found: Found;
  objects: Promise<Map<string, number>>;
}

async function look(store: Store, signal: AbortSignal): Promise<Look> {
  const objects = listObjects(store, signal);
  const owner = readOwner(store, signal);
  for (const asked of [objects, owner]) asked.catch(() => undefined);
  return { store, found: { file: await store.keyFile(signal), owner }, objects };
}

async function wholeLook(store: Store, signal: AbortSignal): Promise<Look> {
  const looked = await look(store, signal);
  await Promise.all([looked.objects, looked.found.owner]);
  return looked;
}

/** Packs that a cancelled or failed run of this generation left at a destination join this run's index. */
function adoptLeftovers(catalog: Catalog, basis: Basis, ownIndex: string): void {
  const named = catalog.snapshots().flatMap((row) => row.root.indexes);
  const committed = new Set([...named, ...catalog.effective(named)]);
  for (const index of catalog.indexes()) {
    if (committed.has(index)) continue;
    const gone: string[] = [];
    const kept: string[] = [];
    for (const pack of catalog.packsOf(index)) {
      const there =
        pack.generation === basis.generation &&
        !catalog.isMarked(pack.hash) &&
        catalog.holders(catalog.objectOf(pack.hash)).length > 0;
      (there ? kept : gone).push(pack.hash);
    }
    catalog.listPacks(ownIndex, kept);
    catalog.unlist(index, [...gone, ...kept]);
  }
}

function asHoldfast(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  if (error instanceof Error && error.name === 'AbortError') return new HoldfastError('Cancelled', 'cancelled');
  throw error;
}

function answer(context: RunContext): BeginAnswer {
  const { begun, job, config } = context;
  const dumps = job.sources.flatMap(({ type, name }, source) => (type === 'files' ? [] : [{ source, name }]));
  const notifyStart = job.notify.filter((name) => config.notify[name]?.on.some((event) => event === 'start'));
  return {
    state: 'started',
    snapshot: begun.snapshot,
    mode: begun.mode,
    ...(begun.archive === undefined ? {} : { archive: true }),
    minimumDestinations: job.minimumDestinations,
    destinations: begun.destinations.map(({ name, error }) => ({
      name,
      giveUpAfterMs: context.destinationConfig(name).giveUpAfter,
      ...(error === undefined ? {} : { error }),
    })),
    retention: job.retention !== undefined,
    notify: job.notify,
    ...(dumps.length === 0 ? {} : { dumps }),
    ...(notifyStart.length === 0 ? {} : { notifyStart }),
  };
}

/** Removes spool folders of runs that are closed and owe no destination anything. */
export async function sweepSpool(host: Host, isOwed: (run: string) => boolean): Promise<void> {
  const { readdirSync } = await import('node:fs');
  const spool = host.config.spool.path;
  if (!existsSync(spool)) return;
  for (const name of readdirSync(spool)) {
    const folder = path.join(spool, name);
    const begun = readJson<Begun>(spoolFiles.begun(folder));
    if (!begun || runFolder(spool, begun.run) !== folder) continue;
    if (isOwed(begun.run) || (await isOpen(host, begun.run))) continue;
    closeAbandoned(host, begun.run);
    rmSync(folder, { recursive: true, force: true });
  }
}
