import type { Logger } from 'pino';
import { Host } from '../activities/host.js';
import { keepKeyFile, stateKeyFile } from '../activities/key-file.js';
import { openRepository } from '../activities/open-repository.js';
import { type LoadedConfig, parseConfig } from '../config/load.js';
import type { Config, DestinationConfig } from '../config/schema.js';
import { resolveSecrets } from '../config/secrets.js';
import type { Destination } from '../destinations/destination.js';
import { openDestination } from '../destinations/open.js';
import { HoldfastError } from '../errors.js';
import { hasRightMac } from '../repository/key-mac.js';
import { parseKeyLines } from '../repository/key-sheet.js';
import { addSlot } from '../repository/key-slots.js';
import { type KeyFile, openSlot } from '../repository/keys.js';
import { keyFileName } from '../repository/layout.js';
import { Store } from '../repository/store.js';
import { type FoundJob, type RecoveredConfig, recoverConfig } from './recovered-config.js';

/** A repository that was found at a destination. */
export interface FoundRepository {
  host: string;
  job: string;
  file: KeyFile;
}

/** What opens the repositories; the passphrases are in the clear here and go no further than this process. */
export interface RecoverySecrets {
  passphrase?: string | undefined;
  /** A recovery sheet; `passphrase` is a new one then. */
  sheet?: string | undefined;
  /** PEM, not encrypted. */
  privateKey?: string | undefined;
  publicKey?: string | undefined;
}

export interface RecoveredJob {
  job: string;
  repository: string;
  snapshots: number;
  latest: { id: string; time: string; files: number; bytes: number; complete: boolean } | null;
  warnings: string[];
  error: { code: string; message: string } | null;
}

export interface Recovery {
  jobs: RecoveredJob[];
  config: RecoveredConfig;
  /** For restoring: the destination of the URL alone, with secrets as they were given. */
  opened: LoadedConfig;
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** What the destination of the URL is called until its own name is known. */
export const foundName = 'recovered';
const name = foundName;

/**
 * Every repository at a destination.
 * @throws HoldfastError: why the destination can't be read; ObjectMissing when there is none.
 */
export async function findRepositories(
  config: DestinationConfig,
  only: { host?: string | undefined; jobs: readonly string[] },
  state: string,
): Promise<FoundRepository[]> {
  const destination = await openDestination(name, await resolveSecrets(config, `destinations.${name}`), { state });
  try {
    const found: FoundRepository[] = [];
    for (const { host, job } of await candidates(destination, only)) {
      const file = await new Store(destination, host, job).keyFile();
      if (file) found.push({ host, job, file });
    }
    if (found.length === 0) {
      throw new HoldfastError('ObjectMissing', 'there is no repository at this place', {
        hint: 'It has to hold HOST/JOB/holdfast.json: is the right disk mounted, is the path or prefix right?',
      });
    }
    return found;
  } finally {
    await destination.close();
  }
}

async function candidates(
  destination: Destination,
  only: { host?: string | undefined; jobs: readonly string[] },
): Promise<{ host: string; job: string }[]> {
  const { host, jobs } = only;
  if (host !== undefined && jobs.length > 0) return jobs.map((job) => ({ host, job }));
  const found: { host: string; job: string }[] = [];
  for await (const { key } of destination.list(host === undefined ? '' : `${host}/`)) {
    const [at, job, file, ...more] = key.split('/');
    if (file !== keyFileName || more.length > 0 || at === undefined || job === undefined) continue;
    if (!namePattern.test(at) || !namePattern.test(job)) continue;
    if (jobs.length === 0 || jobs.includes(job)) found.push({ host: at, job });
  }
  return found.sort((a, b) => (`${a.host}/${a.job}` < `${b.host}/${b.job}` ? -1 : 1));
}

/**
 * Reads the catalogs of a lost host's jobs into a state folder and makes its config again. Nothing is written but in the state
 * folder.
 *
 * @param options.encryption, options.written what the config is to say, of the destination with references in place of secrets.
 * @throws HoldfastError: why no job could be opened.
 */
export async function recover(options: {
  destination: DestinationConfig;
  written: DestinationConfig;
  repositories: readonly FoundRepository[];
  secrets: RecoverySecrets;
  state: string | undefined;
  encryption: Config['encryption'];
  file: string;
  log: Logger;
}): Promise<Recovery> {
  const { destination, written, repositories, secrets, state, log, file } = options;
  const host = repositories[0]?.host ?? '';
  const opened = bareConfig(host, destination, repositories, secrets, state, file);
  const jobs: RecoveredJob[] = [];
  const found: FoundJob[] = [];
  let failure: unknown;
  const on = new Host(opened, undefined, log);
  try {
    for (const repository of repositories) {
      const answer = await recoverJob(on, repository, secrets).catch((error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error;
        failure ??= error;
        const { code, message } = error;
        const { job, file } = repository;
        const done: RecoveredJob = {
          job,
          repository: file.repository,
          snapshots: 0,
          latest: null,
          warnings: [],
          error: { code, message },
        };
        return { done, root: undefined };
      });
      jobs.push(answer.done);
      if (answer.root) found.push({ root: answer.root, authentic: repository.file.objects === 'aes' });
    }
  } finally {
    await on.close();
  }
  if (found.length === 0) throw failure ?? new HoldfastError('SnapshotUnknown', 'no job there has a snapshot yet');
  const config = await recoverConfig({
    host,
    state,
    encryption: options.encryption,
    found: written,
    jobs: found,
    file,
  });
  return { jobs, config, opened };
}

async function recoverJob(on: Host, { job, file }: FoundRepository, secrets: RecoverySecrets) {
  const kept = stateKeyFile(on, job);
  if (kept !== undefined && kept.repository !== file.repository) {
    throw new HoldfastError('RepositoryMismatch', `this machine has another repository of ${job} already`, {
      hint: `Name another state folder with --state DIR; this one is ${on.state}.`,
    });
  }
  if (secrets.sheet !== undefined && file.objects === 'aes') {
    // The new passphrase is kept here; the next backup brings it to the destination.
    const key = parseKeyLines(secrets.sheet, file.repository);
    if (!hasRightMac(file, key)) {
      throw new HoldfastError('IntegrityMismatch', `the key file of ${job} was not written with the key of this sheet`);
    }
    const passphrase = secrets.passphrase ?? '';
    if (!(await openSlot(kept ?? file, passphrase))) {
      keepKeyFile(on, job, await addSlot(kept ?? file, key, passphrase));
    }
  }
  const { catalog, warnings } = await openRepository(on, job, { sync: true });
  if (stateKeyFile(on, job) === undefined) keepKeyFile(on, job, file);
  const rows = catalog.snapshots();
  const newest = rows[0];
  const latest = newest?.root;
  catalog.set('seq', String(Math.max(0, ...rows.map((row) => row.seq))));
  const done: RecoveredJob = {
    job,
    repository: file.repository,
    snapshots: rows.length,
    latest: latest
      ? { id: latest.id, time: latest.time, files: latest.files, bytes: latest.bytes, complete: latest.complete }
      : null,
    warnings: warnings.map(({ message }) => message),
    error: null,
  };
  return { done, root: latest };
}

/** A config that knows the one destination, and what opens its repositories. */
function bareConfig(
  host: string,
  destination: DestinationConfig,
  repositories: readonly FoundRepository[],
  secrets: RecoverySecrets,
  state: string | undefined,
  file: string,
): LoadedConfig {
  const { passphrase, privateKey, publicKey } = secrets;
  const shell = {
    host,
    ...(state === undefined ? {} : { state }),
    // Replaced below: only what a config has to have.
    destinations: { [name]: { type: 'local', path: '/nowhere/destination' } },
    jobs: Object.fromEntries(
      repositories.map(({ job }) => [
        job,
        { sources: [{ type: 'files', name: 'files', paths: ['/nowhere/source'] }], destinations: [name] },
      ]),
    ),
  };
  const loaded = parseConfig(JSON.stringify(shell), file);
  const literal = (text: string): string => text.replaceAll('${', '$${');
  const encryption = {
    ...(passphrase === undefined ? {} : { passphrase: literal(passphrase) }),
    ...(publicKey === undefined ? {} : { publicKey }),
    ...(privateKey === undefined ? {} : { privateKey }),
  };
  const config: Config = { ...loaded.config, destinations: { [name]: destination } };
  if (Object.keys(encryption).length > 0) config.encryption = encryption;
  return { ...loaded, config };
}
