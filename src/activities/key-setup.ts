import { HoldfastError } from '../errors.js';
import { createKeyFile, createRsaKeyFile, type KeyFile } from '../repository/keys.js';
import { keyFileName, ownerName, readmeName } from '../repository/layout.js';
import { repositoryReadme } from '../repository/readme.js';
import type { RepositoryKey } from '../repository/seal.js';
import type { Store } from '../repository/store.js';
import type { Warning } from '../workflows/types.js';
import { allEnded } from './all-ended.js';
import type { Host } from './host.js';
import { keepKeyFile, settleKeyFile, stateKeyFile } from './key-file.js';
import type { RunContext } from './run-context.js';

/** Who writes a repository, by its `owner.json`. */
interface Owner {
  state?: string;
  host?: string;
  since?: string;
}

/** What a destination answered when it was asked a moment ago. */
export interface Found {
  /** Undefined: there is no repository. */
  file: KeyFile | undefined;
  owner: Promise<Owner | undefined>;
  /** What goes beside a key file that was made just now. */
  beside?: Promise<void>;
}

const believedMs = 60_000;

const seenKey = (destination: string): string => `seen:${destination}`;

/**
 * Finds the job's key file, in the state folder or at a reachable destination, or makes a new repository.
 * The key is durable in state and at a destination before this resolves.
 */
export async function establishKey(
  host: Host,
  job: string,
  looks: readonly { store: Store; found: Pick<Found, 'file' | 'beside'> & Partial<Found> }[],
  passphrase: string | undefined,
  signal: AbortSignal,
  /** A key file for a new repository, made while the destinations were asked. */
  spare?: Promise<KeyFile>,
): Promise<KeyFile> {
  const kept = stateKeyFile(host, job);
  if (kept) {
    if (kept.objects === 'aes' && passphrase === undefined) {
      throw new HoldfastError(
        'SecretMissing',
        `job ${job} has an encrypted repository and the config has no passphrase`,
        {
          key: 'encryption.passphrase',
          hint: 'Put the passphrase back into the config; to start over in the clear, choose other destinations.',
        },
      );
    }
    return openable(host, kept, looks, passphrase);
  }
  const there = looks.find(({ found }) => found.file !== undefined)?.found.file;
  if (there) {
    await host.unlock(there, passphrase);
    keepKeyFile(host, job, there);
    return there;
  }
  const [first] = looks;
  if (!first) {
    throw new HoldfastError(
      'DestinationUnreachable',
      `no destination of job ${job} can be reached to make its repository`,
    );
  }
  const file = await (spare ?? newKeyFile(host, job, passphrase));
  keepKeyFile(host, job, file);
  const owned = (await first.found.owner?.catch(() => true)) !== undefined;
  const making = first.store.createKeyFile(file, signal);
  if (first.found.owner !== undefined && !owned)
    first.found.beside = writeBeside(host, first.store, file, making, signal);
  first.found.beside?.catch(() => undefined);
  const made = await making;
  first.found.file = made;
  if (made.repository !== file.repository) {
    await host.unlock(made, passphrase);
    keepKeyFile(host, job, made);
  }
  return made;
}

/** On a distant line owner and notes are sent while the key file is made; they appear once it is there, and this job's. */
async function writeBeside(
  host: Host,
  store: Store,
  file: KeyFile,
  making: Promise<KeyFile>,
  signal: AbortSignal,
): Promise<void> {
  const after = making.then(({ repository }) => {
    if (repository !== file.repository) throw new HoldfastError('ObjectExists', `${store.prefix} was made by another`);
  });
  after.catch(() => undefined);
  await allEnded([writeOwner(host, store, signal, after), writeReadme(store, file, signal, after)]);
}

/** With a public key in the config, new repositories are for it, whatever else there is. */
export async function newKeyFile(host: Host, job: string, passphrase: string | undefined): Promise<KeyFile> {
  const rsa = await host.publicKey(passphrase);
  if (rsa) return createRsaKeyFile(host.config.host, job, rsa);
  const { file, key } = await createKeyFile(host.config.host, job, passphrase);
  host.remember(file, passphrase, key);
  return file;
}

/**
 * The key file that the passphrase opens: the one in the state folder or, where its passphrases were changed by somebody else or
 * the change has not come to every destination yet, a destination's.
 */
async function openable(
  host: Host,
  kept: KeyFile,
  looks: readonly { found: Pick<Found, 'file'> }[],
  passphrase: string | undefined,
): Promise<KeyFile> {
  try {
    await host.unlock(kept, passphrase);
    return kept;
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'PassphraseWrong' || kept.objects !== 'aes') throw error;
    for (const { found } of looks) {
      const there = found.file;
      if (there?.repository !== kept.repository || there.revision === kept.revision) continue;
      const key = await host.unlock(there, passphrase).catch(() => undefined);
      if (key === undefined) continue;
      if (there.revision > kept.revision) keepKeyFile(host, kept.job, there);
      return there;
    }
    throw error;
  }
}

/**
 * Checks that `store` holds this job's repository and no other, making it where the destination was never used; brings its key
 * file up to date when `key` is given. `found` spares asking again.
 * @throws HoldfastError RepositoryMismatch, DestinationLost, RepositoryOwned.
 */
export async function claimRepository(
  host: Host,
  job: string,
  store: Store,
  file: KeyFile,
  options: { takeOver: boolean; key?: RepositoryKey | undefined; found?: Found },
  signal: AbortSignal,
): Promise<Warning[]> {
  const catalog = host.catalog(job);
  const { found } = options;
  let there = found ? found.file : await store.keyFile(signal);
  if (!there) {
    if (catalog.get(seenKey(store.name)) === file.repository) {
      throw new HoldfastError(
        'DestinationLost',
        `${store.name}: the repository ${store.prefix} that was here is gone`,
        {
          hint: `Mount or reconnect it. If it was emptied on purpose: holdfast destinations adopt ${store.name}`,
        },
      );
    }
    there = await store.createKeyFile(stateKeyFile(host, job) ?? file, signal);
  }
  if (there.repository !== file.repository) {
    throw new HoldfastError(
      'RepositoryMismatch',
      `${store.name}: ${store.key(keyFileName)} belongs to repository ${there.repository}, not to this job's ${file.repository}`,
      { hint: 'Give this destination another path or prefix, or this host another name.' },
    );
  }
  const owner = await (found?.owner ?? readOwner(store, signal));
  refuseOwner(host, store, owner, options.takeOver);
  const written = await found?.beside?.then(
    () => true,
    () => false,
  );
  if (!written) {
    const writing: Promise<void>[] = [];
    if (owner?.state !== host.stateId()) writing.push(writeOwner(host, store, signal));
    if (catalog.get(seenKey(store.name)) !== file.repository) writing.push(writeReadme(store, file, signal));
    await allEnded(writing);
  }
  if (catalog.get(seenKey(store.name)) !== file.repository) catalog.set(seenKey(store.name), file.repository);
  const settled = await settleKeyFile(host, job, store, there, options.key, signal);
  return settled.warning ? [settled.warning] : [];
}

/**
 * Checks that the job's repository is at `store` before anything is written there, and makes it where the destination was
 * never used: below an unmounted disk's mount point there is a folder, too.
 * @throws HoldfastError DestinationLost, RepositoryMismatch, RepositoryOwned.
 */
export async function requireRepository(context: RunContext, store: Store, signal: AbortSignal): Promise<void> {
  const { begun, host } = context;
  const file = await store.keyFile(signal);
  if (file?.repository === begun.keyFile.repository) return;
  const options = { takeOver: begun.options.takeOver === true };
  await claimRepository(host, begun.job, store, begun.keyFile, options, signal);
}

/**
 * Like `requireRepository`, but believes for a while what was found before, unless the destination is a folder here, below which
 * a disk may have gone. What is written elsewhere meanwhile is not relied on: the commit looks again.
 */
export async function requireRepositoryLately(context: RunContext, store: Store, signal: AbortSignal): Promise<void> {
  if (wasClaimedLately(context, store)) return;
  await requireRepository(context, store, signal);
  noteClaimed(context.host, context.begun.job, store);
}

/** Whether the destination, which is no folder here, was seen a moment ago to hold the job's repository. */
export function wasClaimedLately(context: RunContext, store: Store): boolean {
  if (store.destination.type === 'local') return false;
  const seen = context.host.claimed.get(claimOf(context.begun.job, store));
  return seen !== undefined && performance.now() - seen < believedMs;
}

/** Remembers that the destination was just seen to hold the job's repository. */
export function noteClaimed(host: Host, job: string, store: Store): void {
  host.claimed.set(claimOf(job, store), performance.now());
}

const claimOf = (job: string, store: Store): string => `${job} ${store.name}`;

/** Lets a destination that lost its repository be filled again. */
export function adoptDestination(host: Host, job: string, destination: string): void {
  host.catalog(job).set(seenKey(destination), '');
}

/** Who writes the repository at `store`; undefined where nobody says so. */
export async function readOwner(store: Store, signal: AbortSignal | undefined): Promise<Owner | undefined> {
  try {
    const bytes = await store.destination.read(store.key(ownerName), { maxBytes: 65536, signal });
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    if (error instanceof HoldfastError && error.code !== 'ObjectMissing') throw error;
    return undefined;
  }
}

function refuseOwner(host: Host, store: Store, owner: Owner | undefined, takeOver: boolean): void {
  if (owner === undefined || owner.state === host.stateId() || takeOver) return;
  throw new HoldfastError(
    'RepositoryOwned',
    `${store.name}: ${store.prefix} is written by another state folder (host ${owner.host}, since ${owner.since})`,
    { hint: 'If that one is gone for good: holdfast backup JOB --take-over. Restoring needs no take-over.' },
  );
}

async function writeOwner(host: Host, store: Store, signal: AbortSignal, after?: Promise<unknown>): Promise<void> {
  const own = { state: host.stateId(), host: host.config.host, since: new Date().toISOString() };
  const bytes = Buffer.from(`${JSON.stringify(own)}\n`);
  await store.destination.put(store.key(ownerName), { bytes }, { signal, ...(after && { after }) });
}

async function writeReadme(store: Store, file: KeyFile, signal: AbortSignal, after?: Promise<unknown>): Promise<void> {
  const bytes = Buffer.from(repositoryReadme(file));
  await store.destination.put(store.key(readmeName), { bytes }, { signal, ...(after && { after }) });
}
