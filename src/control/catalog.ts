import type { Logger } from 'pino';
import { Host } from '../activities/host.js';
import { stateKeyFile } from '../activities/key-file.js';
import { findJob, type LoadedConfig } from '../config/load.js';
import { HoldfastError } from '../errors.js';
import type { KeyFile } from '../repository/keys.js';
import { findLive } from '../repository/liveness.js';
import { PackReader } from '../repository/reader.js';
import { canRead } from '../repository/seal.js';
import { Store } from '../repository/store.js';
import { syncFrom } from '../repository/sync.js';
import { type Lock, readHolder, tryExclusive } from '../worker/locks.js';
import { isRunning } from './executions.js';
import { workerLockPath } from './hosted-worker.js';
import type { Session } from './session.js';

export interface Rebuilt {
  job: string;
  repository: string;
  snapshots: number;
  packs: number;
  destinations: { name: string; objects: number; error: string | null }[];
  damaged: { name: string; message: string }[];
}

/**
 * Empties a job's catalog and reads it again from its destinations.
 *
 * @param session to see whether a run is in progress; undefined when no Temporal server is up.
 * @throws HoldfastError `JobUnknown`, `JobBusy` (also while a worker is up); when no destination holds the repository, why.
 */
export async function rebuildCatalog(
  loaded: LoadedConfig,
  session: Session | undefined,
  job: string,
  log: Logger,
): Promise<Rebuilt> {
  findJob(loaded.config, job);
  // A worker keeps a picture of the catalog in memory, and any of its runs may be about to write to it.
  const lock = takeWorkerLock(loaded.config.state);
  const host = new Host(loaded, undefined, log);
  try {
    const { destinations } = findJob(loaded.config, job);
    const owner = host.history.lock(job)?.owner;
    if (session !== undefined && owner !== undefined && (await isRunning(session.temporal, owner))) {
      throw new HoldfastError('JobBusy', `the run ${owner} is in progress`, {
        hint: `Wait for its end (\`holdfast runs watch ${owner}\`) or cancel it.`,
      });
    }
    const errors = new Map<string, unknown>();
    const found: { store: Store; file: KeyFile }[] = [];
    for (const name of destinations) {
      try {
        const store = await openStore(host, name, job);
        const file = await store.keyFile();
        if (file === undefined) throw noRepository(store);
        found.push({ store, file });
      } catch (error) {
        errors.set(name, error);
      }
    }
    const file = stateKeyFile(host, job) ?? found[0]?.file;
    if (file === undefined || found.length === 0) throw [...errors.values()][0];
    const key = await host.unlock(file, await host.passphrase(loaded.config.encryption?.passphrase));
    if (!canRead(key)) {
      throw new HoldfastError('PrivateKeyNeeded', `the catalog of ${job} can only be read again with the private key`, {
        key: 'encryption.privateKey',
        hint: 'Give --identity FILE. Without it the catalog here is all that this host knows; it was left as it is.',
      });
    }

    const catalog = host.catalog(job);
    const seq = Number(catalog.get('seq') ?? 0);
    const seen = new Map(destinations.map((name) => [name, catalog.get(`seen:${name}`)]));
    if (catalog.get('repository') === file.repository) catalog.clearForRebuild();
    else catalog.clear();
    catalog.set('repository', file.repository);
    // What destinations were known to hold the repository is what tells a lost one from a new one.
    for (const [name, value] of seen) if (value) catalog.set(`seen:${name}`, value);
    const result: Rebuilt = { job, repository: file.repository, snapshots: 0, packs: 0, destinations: [], damaged: [] };
    const marks: string[] = [];
    for (const name of destinations) {
      const objects = await readStore(name).catch((error: unknown) => {
        errors.set(name, error);
        return 0;
      });
      const error = errors.get(name);
      const message = error === undefined ? null : error instanceof Error ? error.message : String(error);
      result.destinations.push({ name, objects, error: message });
    }
    catalog.setMarks(marks);
    // While the private key is there: from now on retention has to do without.
    if (file.objects === 'rsa') {
      const stores = found.map(({ store }) => store);
      const reader = new PackReader({ key, stores, holders: (name) => catalog.holders(name) });
      const roots = catalog.snapshots().map(({ root }) => root);
      await findLive(catalog, reader, roots, { tolerant: true });
    }
    const snapshots = catalog.snapshots();
    catalog.set('seq', String(Math.max(seq, ...snapshots.map((row) => row.seq))));
    result.snapshots = snapshots.length;
    result.packs = catalog.indexes().reduce((total, index) => total + catalog.packsOf(index).length, 0);
    return result;

    async function readStore(name: string): Promise<number> {
      const at = found.find(({ store }) => store.name === name);
      if (at === undefined || file === undefined) return 0;
      if (at.file.repository !== file.repository) {
        throw new HoldfastError('RepositoryMismatch', `${name} holds another repository, ${at.file.repository}`);
      }
      const synced = await syncFrom(at.store, key, catalog);
      catalog.set(`seen:${name}`, file.repository);
      marks.push(...synced.deletions.filter((record) => !record.done).flatMap((record) => record.packs));
      result.damaged.push(...synced.damaged.map((one) => ({ ...one, name: `${name}: ${one.name}` })));
      return synced.objects.size;
    }
  } finally {
    await host.close();
    lock.release();
  }
}

function takeWorkerLock(state: string): Lock {
  const path = workerLockPath(state);
  const lock = tryExclusive(path, { command: 'holdfast catalog rebuild' });
  if (lock !== undefined) return lock;
  const holder = readHolder(path);
  const who = holder === undefined ? 'another process' : `${holder.command} (process ${holder.pid})`;
  throw new HoldfastError('JobBusy', `this host's worker is up: ${who}`, {
    hint: 'End it first, so that nothing uses the catalog meanwhile; runs in progress go on when it is up again.',
  });
}

async function openStore(host: Host, name: string, job: string): Promise<Store> {
  const config = host.config.destinations[name];
  if (config === undefined) throw new HoldfastError('ConfigInvalid', `there is no destination ${name}`);
  return new Store(await host.destination(name, config), host.config.host, job);
}

function noRepository(store: Store): HoldfastError {
  return new HoldfastError('ObjectMissing', `${store.name}: there is no repository at ${store.prefix}`, {
    hint: 'Is the right disk mounted, and are `host` and the name of the job what they were?',
  });
}
