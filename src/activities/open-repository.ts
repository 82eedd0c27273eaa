import { findJob } from '../config/load.js';
import { HoldfastError } from '../errors.js';
import type { KeyFile } from '../repository/keys.js';
import { rollbackMessages, traces } from '../repository/rollback.js';
import type { RepositoryKey } from '../repository/seal.js';
import { Store } from '../repository/store.js';
import { forgetGone, type SyncResult, syncFrom } from '../repository/sync.js';
import type { Warning } from '../workflows/types.js';
import { archivePassword as passwordOf } from './archive.js';
import type { Host } from './host.js';
import { stateKeyFile } from './key-file.js';
import { readOwner } from './key-setup.js';
import type { RestoreRepository } from './restore-run.js';

export interface OpenRepositoryOptions {
  /** Take in what every destination that answers lists now. While a backup of the job runs, which does that, it is left out. */
  sync: boolean;
  /** This destination alone. */
  destination?: string | undefined;
  /** The run that holds the job's lock and asks: its own lock is no reason to leave the catalog as it is. */
  owner?: string | undefined;
  signal?: AbortSignal;
}

/** A repository as `openRepository` found it. */
export interface OpenedRepository extends RestoreRepository {
  /** What each destination that was read now holds. */
  synced: ReadonlyMap<string, SyncResult>;
  /** Destinations that could not be opened or read, and why. */
  unread: ReadonlyMap<string, string>;
}

/**
 * Opens a job's repository for reading; on a new host that takes no more than the config and the passphrase.
 *
 * @throws HoldfastError `JobUnknown`, `UsageInvalid` for a destination the job doesn't have; `PassphraseWrong`, `SecretMissing`;
 * why no destination could be read, when nothing is known of the repository.
 */
export async function openRepository(
  host: Host,
  job: string,
  options: OpenRepositoryOptions,
): Promise<OpenedRepository> {
  const { signal } = options;
  const names = destinationsOf(host, job, options.destination);
  const warnings: Warning[] = [];
  const failures: unknown[] = [];
  const stores: Store[] = [];
  const synced = new Map<string, SyncResult>();
  const unread = new Map<string, string>();
  const failed = (name: string, error: unknown): void => {
    signal?.throwIfAborted();
    failures.push(error);
    unread.set(name, error instanceof Error ? error.message : String(error));
    warnings.push({
      code: codeOf(error),
      message: `${name}: ${error instanceof Error ? error.message : String(error)}`,
    });
  };
  for (const name of names) {
    try {
      const config = host.config.destinations[name];
      if (config === undefined) throw new HoldfastError('ConfigInvalid', `there is no destination ${name}`);
      stores.push(new Store(await host.destination(name, config), host.config.host, job));
    } catch (error) {
      failed(name, error);
    }
  }

  const kept = stateKeyFile(host, job);
  const reachable: { store: Store; file: KeyFile }[] = [];
  if (options.sync || kept === undefined) {
    for (const store of stores) {
      try {
        const file = await store.keyFile(signal);
        if (file === undefined) throw noRepository(store);
        reachable.push({ store, file });
      } catch (error) {
        failed(store.name, error);
      }
    }
  }
  const { file, key } = await unlockAny(host, job, [
    ...(kept ? [kept] : []),
    ...reachable.map(({ file }) => file).sort((a, b) => b.revision - a.revision),
  ]).catch((error: unknown) => {
    throw error ?? failures[0] ?? new HoldfastError('ObjectMissing', `the job ${job} has no repository yet`);
  });
  const catalog = host.catalog(job);
  if (catalog.get('repository') !== file.repository) {
    catalog.clear();
    catalog.set('repository', file.repository);
  }
  let sealed = 0;
  const holder = host.history.lock(job)?.owner;
  const isBusy = holder !== undefined && holder !== options.owner && catalog.snapshotIds().size > 0;
  if (options.sync && !isBusy) {
    catalog.keepPresence(findJob(host.config, job).destinations);
    const listed = new Map<string, ReadonlyMap<string, number>>();
    const unseen = new Set(stores.map(({ name }) => name).filter((name) => catalog.presence(name).size === 0));
    for (const { store, file: there } of reachable) {
      try {
        if (there.repository !== file.repository) throw otherRepository(store, there, file);
        const result = await syncFrom(store, key, catalog, signal, file.repository);
        const { objects, damaged, gone } = result;
        sealed += result.sealed.length;
        synced.set(store.name, result);
        listed.set(store.name, objects);
        for (const message of rollbackMessages(gone, [])) warnings.push({ code: 'RepositoryRolledBack', message });
        for (const { name, message } of damaged) warnings.push({ code: 'IntegrityMismatch', message, path: name });
      } catch (error) {
        failed(store.name, error);
      }
    }
    const all = findJob(host.config, job).destinations.every((name) => listed.has(name));
    forgetGone(catalog, listed, all);
    for (const store of stores) {
      const result = synced.get(store.name);
      if (!result) continue;
      const messages = await traces(catalog, store, result, signal);
      // The host that writes there knows better what it stored.
      if (messages.length === 0 || !(unseen.has(store.name) || (await isOfAnother(host, store, signal)))) continue;
      for (const message of messages) warnings.push({ code: 'SnapshotsMissing', message });
    }
  }
  if (catalog.snapshotIds().size === 0) {
    if (failures.length > 0) throw failures[0];
    if (sealed > 0) throw privateKeyNeeded(job);
  }
  const expected = kept === undefined ? (catalog.snapshots()[0]?.root.keyRevision ?? 0) : 0;
  if (file.revision < expected) {
    const message = `the key file is an older one (revision ${file.revision}, and ${expected} was in use): somebody put it back`;
    warnings.push({ code: 'RepositoryRolledBack', message });
  }
  const archivePassword = async (): Promise<string | undefined> =>
    host.config.jobs[job]?.archive?.password === undefined ? undefined : passwordOf(host, job);
  return { catalog, stores, key, warnings, archivePassword, synced, unread };
}

/**
 * The first key file that what the config says opens. They differ while a change of passphrases has not come to every
 * destination.
 * @throws undefined when there is none; else what is wrong with the first.
 */
async function unlockAny(
  host: Host,
  job: string,
  files: readonly KeyFile[],
): Promise<{ file: KeyFile; key: RepositoryKey | undefined }> {
  const passphrase = await host.passphrase(host.config.encryption?.passphrase);
  const tried = new Set<string>();
  let failure: unknown;
  for (const file of files) {
    if (file.repository !== files[0]?.repository || tried.has(JSON.stringify(file.slots))) continue;
    tried.add(JSON.stringify(file.slots));
    try {
      return { file, key: await host.unlock(file, passphrase) };
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      host.log.debug({ job, revision: file.revision, reason: error.message }, 'the key file does not open');
      failure ??= error;
    }
  }
  throw failure;
}

async function isOfAnother(host: Host, store: Store, signal: AbortSignal | undefined): Promise<boolean> {
  const owner = await readOwner(store, signal);
  return owner !== undefined && owner.state !== host.stateId();
}

function privateKeyNeeded(job: string): HoldfastError {
  return new HoldfastError('PrivateKeyNeeded', `the snapshots of ${job} can only be read with the private key`, {
    key: 'encryption.privateKey',
    hint: 'Give --identity FILE, or set encryption.privateKey.',
  });
}

/** Those on this machine first. */
function destinationsOf(host: Host, job: string, only: string | undefined): string[] {
  const { destinations } = findJob(host.config, job);
  if (only !== undefined) {
    if (destinations.includes(only)) return [only];
    throw new HoldfastError('UsageInvalid', `the job ${job} does not store to a destination '${only}'`, {
      hint: `It stores to ${destinations.join(', ')}.`,
    });
  }
  const isNear = (name: string): number => (host.config.destinations[name]?.type === 'local' ? 0 : 1);
  return [...destinations].sort((a, b) => isNear(a) - isNear(b));
}

function codeOf(error: unknown): string {
  return error instanceof HoldfastError ? error.code : 'Internal';
}

function noRepository(store: Store): HoldfastError {
  return new HoldfastError('ObjectMissing', `there is no repository at ${store.prefix}`, {
    hint: 'Is the right disk mounted, and are `host` and the name of the job what they were?',
  });
}

function otherRepository(store: Store, there: KeyFile, file: KeyFile): HoldfastError {
  return new HoldfastError(
    'RepositoryMismatch',
    `${store.prefix} holds repository ${there.repository}, not this job's ${file.repository}`,
  );
}
