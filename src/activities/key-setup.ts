import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, HoldfastError } from '../errors.js';
import { createKeyFile, type KeyFile, keyFileBytes, parseKeyFile } from '../repository/keys.js';
import { keyFileName, ownerName, readmeName } from '../repository/layout.js';
import { repositoryReadme } from '../repository/readme.js';
import type { Store } from '../repository/store.js';
import { writeDurable } from './durable.js';
import type { Host } from './host.js';
import type { RunContext } from './run-context.js';

const seenKey = (destination: string): string => `seen:${destination}`;

/** The job's key file from the state folder. */
export function stateKeyFile(host: Host, job: string): KeyFile | undefined {
  const file = host.keyFilePath(job);
  try {
    return parseKeyFile(readFileSync(file), file);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function keepKeyFile(host: Host, job: string, file: KeyFile): void {
  mkdirSync(path.dirname(host.keyFilePath(job)), { recursive: true, mode: 0o700 });
  writeDurable(host.keyFilePath(job), keyFileBytes(file));
}

/**
 * Finds the job's key file, in the state folder or at a reachable destination, or makes a new repository.
 * The key is durable in state and at a destination before this resolves.
 */
export async function establishKey(
  host: Host,
  job: string,
  stores: readonly Store[],
  passphrase: string | undefined,
  signal: AbortSignal,
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
    return kept;
  }
  for (const store of stores) {
    const there = await store.keyFile(signal);
    if (there) {
      await host.unlock(there, passphrase);
      keepKeyFile(host, job, there);
      return there;
    }
  }
  const first = stores[0];
  if (!first) {
    throw new HoldfastError(
      'DestinationUnreachable',
      `no destination of job ${job} can be reached to make its repository`,
    );
  }
  const { file, key } = await createKeyFile(host.config.host, job, passphrase);
  host.remember(file, passphrase, key);
  keepKeyFile(host, job, file);
  const there = await first.createKeyFile(file, signal);
  if (there.repository !== file.repository) {
    await host.unlock(there, passphrase);
    keepKeyFile(host, job, there);
  }
  return there;
}

/**
 * Checks that `store` holds this job's repository and no other, making it where the destination was never used.
 * @throws HoldfastError RepositoryMismatch, DestinationLost, RepositoryOwned.
 */
export async function claimRepository(
  host: Host,
  job: string,
  store: Store,
  file: KeyFile,
  options: { takeOver: boolean },
  signal: AbortSignal,
): Promise<void> {
  const catalog = host.catalog(job);
  let there = await store.keyFile(signal);
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
    there = await store.createKeyFile(file, signal);
  }
  if (there.repository !== file.repository) {
    throw new HoldfastError(
      'RepositoryMismatch',
      `${store.name}: ${store.key(keyFileName)} belongs to repository ${there.repository}, not to this job's ${file.repository}`,
      { hint: 'Give this destination another path or prefix, or this host another name.' },
    );
  }
  await claimOwner(host, store, options.takeOver, signal);
  if (catalog.get(seenKey(store.name)) !== file.repository) {
    await store.destination.put(store.key(readmeName), { bytes: Buffer.from(repositoryReadme(file)) }, { signal });
    catalog.set(seenKey(store.name), file.repository);
  }
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

/** Lets a destination that lost its repository be filled again. */
export function adoptDestination(host: Host, job: string, destination: string): void {
  host.catalog(job).set(seenKey(destination), '');
}

async function claimOwner(host: Host, store: Store, takeOver: boolean, signal: AbortSignal): Promise<void> {
  const own = { state: host.stateId(), host: host.config.host, since: new Date().toISOString() };
  const bytes = Buffer.from(`${JSON.stringify(own)}\n`);
  let owner: { state?: string; host?: string; since?: string } | undefined;
  try {
    owner = JSON.parse(
      (await store.destination.read(store.key(ownerName), { maxBytes: 65536, signal })).toString('utf8'),
    );
  } catch (error) {
    if (error instanceof HoldfastError && error.code !== 'ObjectMissing') throw error;
  }
  if (owner?.state === own.state) return;
  if (owner && !takeOver) {
    throw new HoldfastError(
      'RepositoryOwned',
      `${store.name}: ${store.prefix} is written by another state folder (host ${owner.host}, since ${owner.since})`,
      { hint: 'If that one is gone for good: holdfast backup JOB --take-over. Restoring needs no take-over.' },
    );
  }
  await store.destination.put(store.key(ownerName), { bytes }, { signal });
}
