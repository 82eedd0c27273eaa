import { join } from 'node:path';
import type { Logger } from 'pino';
import { Host } from '../activities/host.js';
import { keepKeyFile, settleKeyFile, stateKeyFile } from '../activities/key-file.js';
import { type KeyProof, keepProof, keyProof } from '../activities/key-proof.js';
import { findJob, type LoadedConfig } from '../config/load.js';
import { HoldfastError } from '../errors.js';
import { hasRightMac } from '../repository/key-mac.js';
import { keyLines, parseKeyLines, recoverySheet } from '../repository/key-sheet.js';
import { addSlot, findSlot, removeSlot, replaceSlot } from '../repository/key-slots.js';
import { type KeyFile, type Opened, openSlot, type ScryptCost } from '../repository/keys.js';
import type { AesKey } from '../repository/seal.js';
import { Store } from '../repository/store.js';
import { tryExclusive } from '../worker/locks.js';
import { placeOf } from './destinations.js';

/** How a key command gets at what unlocks the repository. */
export interface Unlocking {
  log: Logger;
  /** A passphrase to use instead of the config's. */
  passphrase?: string | undefined;
  /** Tried when the config's does not open it. */
  last?: string | undefined;
  /** Asked when none of them opens the repository; undefined where nobody can be asked. */
  ask?: ((question: string) => Promise<string>) | undefined;
}

export interface KeyDestination {
  name: string;
  /** The revision it holds now; null when it could not be read or has none. */
  revision: number | null;
  error: string | null;
}

/** What `key list` tells of one job. */
export interface KeyListing {
  job: string;
  repository: string;
  objects: KeyFile['objects'];
  revision: number;
  slots: {
    id: string;
    type: 'scrypt' | 'rsa';
    label: string | null;
    created: string;
    /** With `scrypt`. */
    cost: ScryptCost | null;
    /** With `rsa`. */
    fingerprint: string | null;
    /** It is the one that the config's passphrase opens. */
    configured: boolean;
  }[];
  destinations: KeyDestination[];
  /** When somebody last proved to hold a passphrase or the private key. */
  verified: string | null;
}

/** What a change of passphrases did. */
export interface KeyChange {
  job: string;
  repository: string;
  revision: number;
  /** The passphrase that was added, removed or replaced. */
  slot: string;
  destinations: KeyDestination[];
  /** Whether the config's passphrase opens the repository now. */
  configured: boolean;
  warnings: string[];
}

interface Keys {
  host: Host;
  job: string;
  file: KeyFile;
  stores: Store[];
  /** Destinations that did not answer. */
  failed: Map<string, string>;
}

/** Jobs by name, or all. @throws HoldfastError JobUnknown, UsageInvalid. */
export function jobsOf({ config }: LoadedConfig, names: readonly string[], all: boolean): string[] {
  if (all === names.length > 0) {
    throw new HoldfastError('UsageInvalid', 'expected jobs, or --all for every job', {
      hint: `Jobs: ${Object.keys(config.jobs).join(', ')}.`,
    });
  }
  for (const name of names) findJob(config, name);
  return all ? Object.keys(config.jobs) : [...names];
}

export function listKeys(loaded: LoadedConfig, job: string, log: Logger): Promise<KeyListing> {
  return withKeys(loaded, job, log, async ({ host, file, stores, failed }) => {
    const passphrase = await configured(host).catch(() => undefined);
    const opened = passphrase === undefined ? undefined : await openSlot(file, passphrase);
    const destinations: KeyDestination[] = [...failed].map(([name, error]) => ({ name, revision: null, error }));
    for (const store of stores) {
      const there = await store.keyFile();
      destinations.push({ name: store.name, revision: there?.revision ?? null, error: there ? null : 'no repository' });
    }
    return {
      job,
      repository: file.repository,
      objects: file.objects,
      revision: file.revision,
      slots: file.slots.map((slot) => ({
        id: slot.id,
        type: slot.type,
        label: slot.type === 'scrypt' ? (slot.label ?? null) : null,
        created: slot.created,
        cost: slot.type === 'scrypt' ? { N: slot.N, r: slot.r, p: slot.p } : null,
        fingerprint: slot.type === 'rsa' ? slot.fingerprint : null,
        configured: slot.id === opened?.slot.id,
      })),
      destinations: inOrder(loaded, job, destinations),
      verified: keyProof(host, file)?.at ?? null,
    };
  });
}

export function addKey(
  loaded: LoadedConfig,
  job: string,
  next: { passphrase: string; label?: string | undefined; cost?: ScryptCost | undefined },
  unlocking: Unlocking,
): Promise<KeyChange> {
  return change(loaded, job, unlocking, async (file, { key }) => {
    if (await openSlot(file, next.passphrase)) throw isThere(job);
    const changed = await addSlot(file, key, next.passphrase, next);
    return { changed, slot: changed.slots.at(-1)?.id ?? '' };
  });
}

/** Removes the slot that `wanted` names or, without it, the one that `passphrase` opens. */
export function removeKey(
  loaded: LoadedConfig,
  job: string,
  wanted: { slot: string } | { passphrase: string },
  unlocking: Unlocking,
): Promise<KeyChange> {
  // Where the config has none that opens it, the one that goes serves once more.
  const last = 'passphrase' in wanted ? { last: wanted.passphrase } : {};
  return change(loaded, job, { ...unlocking, ...last }, async (file, opened, host) => {
    const slot = 'slot' in wanted ? findSlot(file, wanted.slot) : (await openSlot(file, wanted.passphrase))?.slot.id;
    if (slot === undefined) throw opensNothing(job);
    const changed = removeSlot(file, opened.key, slot);
    const passphrase = await configured(host).catch(() => undefined);
    if (passphrase !== undefined && !(await openSlot(changed, passphrase)) && (await openSlot(file, passphrase))) {
      throw new HoldfastError(
        'UsageInvalid',
        `this is the passphrase of the config: without it ${job} can't be backed up`,
        {
          hint: `Add another with 'holdfast key add ${job}', put that one where the config reads it, then remove this one. 'holdfast key change ${job}' replaces it in one step.`,
        },
      );
    }
    return { changed, slot };
  });
}

/** Replaces the passphrase that was used to unlock, or only what trying it costs. */
export function changeKey(
  loaded: LoadedConfig,
  job: string,
  next: { passphrase?: string | undefined; cost?: ScryptCost | undefined },
  unlocking: Unlocking,
): Promise<KeyChange> {
  return change(loaded, job, unlocking, async (file, { key, slot, passphrase }) => {
    if (slot === undefined || passphrase === undefined) throw opensNothing(job);
    const other = next.passphrase === undefined ? undefined : await openSlot(file, next.passphrase);
    if (other !== undefined && next.cost === undefined) throw isThere(job);
    const changed = await replaceSlot(file, key, slot.id, next.passphrase ?? passphrase, next);
    return { changed, slot: changed.slots[file.slots.indexOf(slot)]?.id ?? '' };
  });
}

/** Adds a passphrase with the key of a recovery sheet: for when no passphrase is known any more. */
export function importKey(
  loaded: LoadedConfig,
  job: string,
  next: { sheet: string; passphrase: string; cost?: ScryptCost | undefined },
  log: Logger,
): Promise<KeyChange> {
  return withKeys(loaded, job, log, async (keys) => {
    const { file, host } = keys;
    requireAes(file);
    const key = parseKeyLines(next.sheet, file.repository);
    if (!hasRightMac(file, key)) {
      throw new HoldfastError(
        'IntegrityMismatch',
        `the key file of ${job} was not written with the key of this sheet`,
        {
          hint: 'Take holdfast.json from another destination of the job.',
        },
      );
    }
    const known = await openSlot(file, next.passphrase);
    const changed = known ? file : await addSlot(file, key, next.passphrase, next);
    keepKeyFile(host, job, changed);
    return publish(loaded, { ...keys, file: changed }, key, known?.slot.id ?? changed.slots.at(-1)?.id ?? '');
  });
}

/** A sheet to print, and its lines. */
export function exportKey(
  loaded: LoadedConfig,
  job: string,
  unlocking: Unlocking,
): Promise<{ job: string; repository: string; lines: string[]; sheet: string }> {
  return withKeys(loaded, job, unlocking.log, async ({ host, file }) => {
    requireAes(file);
    const { key } = await open(host, file, unlocking);
    const { config } = loaded;
    const places = findJob(config, job).destinations.flatMap((name) => {
      const destination = config.destinations[name];
      return destination === undefined ? [] : [`${name}: ${placeOf(destination)}`];
    });
    return { job, repository: file.repository, lines: keyLines(key), sheet: recoverySheet(file, key, places) };
  });
}

/**
 * Records that somebody holds a passphrase or the private key.
 * @param proof what they gave; never what the config says.
 * @throws HoldfastError PassphraseWrong, KeyMismatch.
 */
export function verifyKey(
  loaded: LoadedConfig,
  job: string,
  proof: { passphrase: string } | { fingerprint: string },
  log: Logger,
): Promise<{ job: string; slot: string; verified: string }> {
  return withKeys(loaded, job, log, async ({ host, file }) => {
    if (file.objects === 'none') throw inTheClear(job);
    let slot: string | undefined;
    if ('passphrase' in proof) {
      if (file.objects === 'rsa') {
        throw new HoldfastError('UsageInvalid', `${job} is encrypted for an RSA key, not under a passphrase`, {
          hint: 'Give --identity FILE: the private key.',
        });
      }
      slot = (await openSlot(file, proof.passphrase))?.slot.id;
      if (slot === undefined) throw opensNothing(job);
    } else {
      slot = file.slots.find((one) => one.type === 'rsa' && one.fingerprint === proof.fingerprint)?.id;
      if (slot === undefined) {
        throw new HoldfastError('KeyMismatch', `this private key is not the one that ${job} is encrypted for`);
      }
    }
    const kept: KeyProof = { repository: file.repository, slot, at: new Date().toISOString() };
    keepProof(host, job, kept);
    return { job, slot, verified: kept.at };
  });
}

/** Makes a change durable in the state folder first: from then on each command and each run brings it to the destinations. */
function change(
  loaded: LoadedConfig,
  job: string,
  unlocking: Unlocking,
  edit: (
    file: KeyFile,
    opened: Opened & { passphrase: string },
    host: Host,
  ) => Promise<{ changed: KeyFile; slot: string }>,
): Promise<KeyChange> {
  return withKeys(loaded, job, unlocking.log, async (keys) => {
    requireAes(keys.file);
    const opened = await open(keys.host, keys.file, unlocking);
    // What somebody else changed meanwhile comes first.
    const file = await newest(keys, opened.key);
    const still = file === keys.file ? opened : await open(keys.host, file, unlocking);
    const { changed, slot } = await edit(file, still, keys.host);
    if (keys.stores.length === 0) {
      throw new HoldfastError(
        'DestinationUnreachable',
        `no destination of ${job} can be reached; nothing was changed`,
        {
          hint: [...keys.failed.values()][0],
        },
      );
    }
    keepKeyFile(keys.host, job, changed);
    return publish(loaded, { ...keys, file: changed }, still.key, slot);
  });
}

async function newest({ host, job, file, stores }: Keys, key: AesKey): Promise<KeyFile> {
  let current = file;
  for (const store of stores) {
    const there = await store.keyFile();
    if (there?.repository !== file.repository) continue;
    if (there.revision > current.revision && hasRightMac(there, key)) current = there;
  }
  if (current !== file) keepKeyFile(host, job, current);
  return current;
}

/** Brings the state folder's key file to every destination that answers. */
async function publish(
  loaded: LoadedConfig,
  { host, job, file, stores, failed }: Keys,
  key: AesKey,
  slot: string,
): Promise<KeyChange> {
  const destinations: KeyDestination[] = [...failed].map(([name, error]) => ({ name, revision: null, error }));
  const warnings: string[] = [];
  for (const store of stores) {
    try {
      const there = await store.keyFile();
      if (there === undefined) {
        // A destination that no run has used yet gets it from its first; one that lost its repository is not filled silently.
        destinations.push({ name: store.name, revision: null, error: 'it has no repository' });
        continue;
      }
      if (there.repository !== file.repository) throw otherRepository(store, there);
      const settled = await settleKeyFile(host, job, store, there, key);
      if (settled.warning) warnings.push(settled.warning.message);
      destinations.push({ name: store.name, revision: settled.file.revision, error: null });
    } catch (error) {
      destinations.push({ name: store.name, revision: null, error: messageOf(error) });
    }
  }
  const passphrase = await configured(host).catch(() => undefined);
  return {
    job,
    repository: file.repository,
    revision: file.revision,
    slot,
    destinations: inOrder(loaded, job, destinations),
    configured: passphrase !== undefined && (await openSlot(file, passphrase)) !== undefined,
    warnings,
  };
}

async function withKeys<T>(
  loaded: LoadedConfig,
  job: string,
  log: Logger,
  action: (keys: Keys) => Promise<T>,
): Promise<T> {
  const { config } = loaded;
  const names = findJob(config, job).destinations;
  const lock = tryExclusive(join(config.state, 'run', `keys-${job}.lock`));
  if (lock === undefined) {
    throw new HoldfastError('JobBusy', `another command is changing the keys of ${job}`, { hint: 'Wait for its end.' });
  }
  const host = new Host(loaded, undefined, log);
  try {
    const stores: Store[] = [];
    const failed = new Map<string, string>();
    const found: KeyFile[] = [];
    for (const name of names) {
      try {
        const destination = config.destinations[name];
        if (destination === undefined) throw new HoldfastError('ConfigInvalid', `there is no destination ${name}`);
        const store = new Store(await host.destination(name, destination), config.host, job);
        const there = await store.keyFile();
        if (there) found.push(there);
        stores.push(store);
      } catch (error) {
        failed.set(name, messageOf(error));
      }
    }
    const file = stateKeyFile(host, job) ?? found.sort((a, b) => b.revision - a.revision)[0];
    if (file === undefined) {
      const [why] = failed.values();
      throw new HoldfastError(
        'ObjectMissing',
        `the job ${job} has no repository yet${why === undefined ? '' : `: ${why}`}`,
        {
          hint: `The first \`holdfast backup ${job}\` makes it.`,
        },
      );
    }
    return await action({ host, job, file, stores, failed });
  } finally {
    await host.close();
    lock.release();
  }
}

async function open(
  host: Host,
  file: KeyFile,
  { passphrase, last, ask }: Unlocking,
): Promise<Opened & { passphrase: string }> {
  for (const given of [passphrase ?? (await configured(host).catch(() => undefined)), last]) {
    const opened = given === undefined ? undefined : await openSlot(file, given);
    if (opened && given !== undefined) return { ...opened, passphrase: given };
  }
  if (passphrase === undefined && ask !== undefined) {
    const typed = await ask(`Present passphrase of ${file.job}: `);
    const second = await openSlot(file, typed);
    if (second) return { ...second, passphrase: typed };
  }
  throw opensNothing(file.job);
}

const configured = (host: Host): Promise<string | undefined> => host.passphrase(host.config.encryption?.passphrase);

function inOrder({ config }: LoadedConfig, job: string, destinations: KeyDestination[]): KeyDestination[] {
  const order = findJob(config, job).destinations;
  return destinations.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
}

function requireAes(file: KeyFile): void {
  if (file.objects === 'none') throw inTheClear(file.job);
  if (file.objects === 'rsa') {
    throw new HoldfastError(
      'UsageInvalid',
      `${file.job} is encrypted for an RSA key: it has no passphrases and no key of its own`,
      {
        hint: "Keep its private key safe; `openssl pkcs8 -topk8` changes that file's own passphrase.",
      },
    );
  }
}

const inTheClear = (job: string): HoldfastError =>
  new HoldfastError('UsageInvalid', `${job} is not encrypted: it has no passphrase`, {
    hint: 'To encrypt it, start a new repository: another path or prefix, with encryption.passphrase set.',
  });

const isThere = (job: string): HoldfastError =>
  new HoldfastError('UsageInvalid', `this is a passphrase of ${job} already`);

const opensNothing = (job: string): HoldfastError =>
  new HoldfastError('PassphraseWrong', `the passphrase does not open ${job}`, {
    hint: 'Give one that does with --passphrase-file, or use the recovery sheet: `holdfast key import`.',
  });

const otherRepository = (store: Store, there: KeyFile): HoldfastError =>
  new HoldfastError('RepositoryMismatch', `${store.name} holds another repository, ${there.repository}`);

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
