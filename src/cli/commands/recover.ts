import { existsSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { Logger } from 'pino';
import { destinationOfUrl, secretKeysOfUrl } from '../../config/destination-url.js';
import type { Config, DestinationConfig } from '../../config/schema.js';
import type { FoundRepository, Recovery, RecoverySecrets } from '../../control/recover.js';
import { HoldfastError } from '../../errors.js';
import type { RestoreDocument } from '../../workflows/restore-types.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { plural } from '../print/format.js';
import { makeRestoreDisplay, restoreText } from '../print/restore.js';
import { exitCodeOfRun } from '../print/run.js';
import { askLine, askNewSecret, askSecret, canAsk, readSecret } from '../prompt.js';
import { withSession } from '../session.js';

interface Options {
  host?: string;
  job: string[];
  state?: string;
  passphraseFile?: string;
  newPassphraseFile?: string;
  sheet?: string;
  to?: string;
}

const variable = 'HOLDFAST_PASSPHRASE';

export function register(command: Command, context: Context): void {
  command
    .argument('<url>', 'where the backups are: file:///mnt/disk, s3://bucket/prefix?region=..., sftp://user@host/path')
    .option('--host <name>', 'the lost host, where there are several')
    .option(
      '--job <name>',
      'only this job; may be given several times',
      (job: string, all: string[]) => [...all, job],
      [],
    )
    .option('--state <dir>', 'the state folder of the new config')
    .option('--passphrase-file <file>', `the passphrase (default: $${variable}, else ask); - is standard input`)
    .option('--sheet <file>', 'a recovery sheet in its place; a new passphrase is asked for')
    .option('--new-passphrase-file <file>', 'with --sheet: the new passphrase')
    .option('--to <dir>', 'restore the latest snapshot of each job below this folder at once')
    .addHelpText('after', '\nWrites ./holdfast.yaml, or the file named by --config, and never overwrites one.')
    .action((url: string, options: Options) => run(context, url, options));
}

async function run(context: Context, url: string, options: Options): Promise<void> {
  const { expandHome } = await import('../../config/paths.js');
  const absolute = (path: string): string => resolve(expandHome(path));
  const file = absolute(context.options.config ?? 'holdfast.yaml');
  if (existsSync(file)) throw exists(file);
  const state = options.state === undefined ? undefined : absolute(options.state);
  const { defaultStateFolder } = await import('../../config/paths.js');
  const folders: Folders = { config: dirname(file), state: state ?? defaultStateFolder() };
  const { destination, written, repositories, typed } = await look(url, options, folders);
  const chosen = await chooseHost(repositories);
  const { secrets, encryption, newPassphrase } = await askSecrets(context, options, chosen, dirname(file));

  const [{ recover, foundName }, { openLog }, { defaultLog }] = await Promise.all([
    import('../../control/recover.js'),
    import('../../control/log.js'),
    import('../../config/default-log.js'),
  ]);
  const log = await openLog({ log: defaultLog(folders.state) }, { stderr: 'warn' });
  const parts = { destination, written, repositories: chosen, secrets, state, encryption, file };
  const recovery = await recover({ ...parts, log });
  const kept = [...typed, ...(newPassphrase === undefined ? [] : [newPassphrase])];
  for (const secret of kept) await writeNew(secret.file, `${secret.text}\n`);
  await writeNew(file, recovery.config.text);

  const restored = options.to === undefined ? [] : await restoreAll(context, recovery, absolute(options.to), log);
  const { moveLogin } = await import('../../control/login.js');
  await moveLogin(folders.state, foundName, recovery.config.destination);
  const { placeholders } = recovery.config;
  const host = chosen[0]?.host ?? '';
  const document = { host, config: file, jobs: recovery.jobs, placeholders, restored };
  context.result(document, () => [...textOf(file, recovery), ...restored.map(restoreText)].join('\n'));
  if (recovery.jobs.some(({ error, warnings }) => error !== null || warnings.length > 0)) context.exit(3);
  for (const { status } of restored) context.exit(exitCodeOfRun(status));
}

/** Where the new config and the new state folder go. */
interface Folders {
  config: string;
  state: string;
}

/** A secret that was typed, and the file beside the config that keeps it. */
interface TypedSecret {
  file: string;
  text: string;
}

interface Place {
  destination: DestinationConfig;
  /** The same, as the config is to say it: with references in place of what was typed. */
  written: DestinationConfig;
  repositories: FoundRepository[];
  typed: TypedSecret[];
}

/** Opens the place; where it wants secrets that the URL doesn't have, they are asked for, and people log in where they have to. */
async function look(url: string, { host, job }: Options, folders: Folders): Promise<Place> {
  const { findRepositories } = await import('../../control/recover.js');
  const find = async (destination: DestinationConfig): Promise<FoundRepository[]> => {
    const search = () => findRepositories(destination, { host, jobs: job }, folders.state);
    try {
      return await search();
    } catch (error) {
      const isLogin = error instanceof HoldfastError && error.code === 'AuthExpired' && canAsk();
      if (!isLogin || !(await logInTo(destination, folders.state))) throw error;
      return search();
    }
  };
  try {
    const destination = destinationOfUrl(url);
    return { destination, written: destination, repositories: await find(destination), typed: [] };
  } catch (error) {
    const keys = secretKeysOfUrl(url);
    const wanting =
      error instanceof HoldfastError && ['AuthDenied', 'SecretMissing', 'UsageInvalid'].includes(error.code);
    if (!wanting || keys.length === 0 || !canAsk()) throw error;
    process.stderr.write(`${error.message}\n`);
    const { values, references, typed } = await askKeys(keys, folders.config);
    if (Object.keys(values).length === 0) throw error;
    const destination = destinationOfUrl(url, values);
    const written = destinationOfUrl(url, references);
    return { destination, written, repositories: await find(destination), typed };
  }
}

/** @returns false where there is nothing to log in to. */
async function logInTo(destination: DestinationConfig, state: string): Promise<boolean> {
  const [{ isLoginConfig, login }, { foundName }] = await Promise.all([
    import('../../control/login.js'),
    import('../../control/recover.js'),
  ]);
  if (!isLoginConfig(destination)) return false;
  await login({ destinations: { [foundName]: destination }, state }, foundName, 'paste', {
    show: (text) => void process.stderr.write(`${text}\n`),
    ask: askLine,
  });
  return true;
}

/** Secrets that nobody types: their file is asked for, and stays where it is. */
const inFiles = new Set(['privateKey', 'credentials']);

/** Asks for a destination's secrets. What is typed is to be kept in files of its own, which the config refers to. */
async function askKeys(
  keys: readonly string[],
  folder: string,
): Promise<{ values: Record<string, string>; references: Record<string, string>; typed: TypedSecret[] }> {
  const { expandHome } = await import('../../config/paths.js');
  const values: Record<string, string> = {};
  const references: Record<string, string> = {};
  const typed: TypedSecret[] = [];
  for (const key of keys) {
    if (key === 'passphrase' && values.privateKey === undefined) continue;
    if (inFiles.has(key)) {
      const name = await optional(askLine(`${key}: the file that holds it (Enter: none): `));
      if (name === undefined) continue;
      values[key] = references[key] = `\${file:${resolve(expandHome(name))}}`;
      continue;
    }
    const of = key === 'passphrase' ? ' of the private key' : '';
    const text = await optional(askSecret(`${key}${of} (Enter: none): `));
    if (text === undefined) continue;
    const file = join(folder, `destination-${key}`);
    if (await isNew(file, text)) typed.push({ file, text });
    values[key] = text.replaceAll('${', '$${');
    references[key] = `\${file:${file}}`;
  }
  return { values, references, typed };
}

/** What was typed, or undefined for nothing. */
async function optional(asked: Promise<string>): Promise<string | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'UsageInvalid') return undefined;
    throw error;
  }
}

/** Whether the file is still to be written with this secret; @throws HoldfastError UsageInvalid where another one is in it. */
async function isNew(file: string, text: string): Promise<boolean> {
  if (!existsSync(file)) return true;
  if ((await readFile(file, 'utf8')).replace(/(?:\r?\n)+$/, '') !== text) throw exists(file);
  return false;
}

async function chooseHost(found: readonly FoundRepository[]): Promise<FoundRepository[]> {
  const hosts = [...new Set(found.map(({ host }) => host))];
  const [only] = hosts;
  if (only !== undefined && hosts.length === 1) return [...found];
  const list = hosts.join(', ');
  if (!canAsk())
    throw new HoldfastError('UsageInvalid', `there are backups of several hosts: ${list}`, {
      hint: 'Name one: --host.',
    });
  const host = await askLine(`Which host (${list}): `);
  if (!hosts.includes(host)) throw new HoldfastError('UsageInvalid', `there are no backups of a host '${host}'`);
  return found.filter((one) => one.host === host);
}

interface Answers {
  secrets: RecoverySecrets;
  /** What the new config says. */
  encryption: Config['encryption'];
  /** A passphrase file to write beside the config. */
  newPassphrase?: TypedSecret;
}

async function askSecrets(
  context: Context,
  options: Options,
  repositories: readonly FoundRepository[],
  folder: string,
): Promise<Answers> {
  const kinds = new Set(repositories.map(({ file }) => file.objects));
  const secrets: RecoverySecrets = {};
  const answers: Answers = { secrets, encryption: undefined };
  if (kinds.has('rsa')) {
    const { identity, identityPassphraseFile } = context.options;
    if (identity === undefined) {
      throw new HoldfastError('PrivateKeyNeeded', 'these backups can only be read with the private key', {
        hint: 'Give --identity FILE.',
      });
    }
    const { readIdentity } = await import('../identity.js');
    const key = await readIdentity(identity, identityPassphraseFile);
    Object.assign(secrets, { privateKey: key.pem, publicKey: key.publicKey.pem });
    answers.encryption = { publicKey: key.publicKey.pem };
  }
  if (!kinds.has('aes')) return answers;
  const { passphraseFile, newPassphraseFile, sheet } = options;
  const fromFile = sheet === undefined ? passphraseFile : newPassphraseFile;
  if (sheet !== undefined) secrets.sheet = readSecret(sheet);
  let passphrase: string;
  if (fromFile !== undefined && fromFile !== '-') {
    secrets.passphrase = readSecret(fromFile);
    passphrase = `\${file:${resolve(fromFile)}}`;
  } else if (fromFile === undefined && sheet === undefined && process.env[variable] !== undefined) {
    secrets.passphrase = process.env[variable];
    passphrase = `\${env:${variable}}`;
  } else {
    const kept = join(folder, 'passphrase');
    const typed =
      fromFile === '-'
        ? readSecret('-')
        : sheet === undefined
          ? await askSecret('Passphrase: ')
          : await askNewSecret('New passphrase');
    if (await isNew(kept, typed)) answers.newPassphrase = { file: kept, text: typed };
    secrets.passphrase = typed;
    passphrase = `\${file:${kept}}`;
  }
  answers.encryption = { ...answers.encryption, passphrase };
  return answers;
}

async function restoreAll(
  context: Context,
  { jobs, opened }: Recovery,
  target: string,
  log: Logger,
): Promise<RestoreDocument[]> {
  const { restore } = await import('../../control/restore.js');
  const interrupt = onInterrupt();
  const display = makeRestoreDisplay(context);
  const documents: RestoreDocument[] = [];
  try {
    await withSession(context, opened, { command: 'recover' }, async (session) => {
      for (const { job, latest } of jobs) {
        if (latest === null) continue;
        const request = { job, snapshot: latest.id, paths: [], target, overwrite: 'never' as const };
        const { signal } = interrupt;
        const { intervalMs } = display;
        documents.push(
          await restore(session, request, { log, signal, intervalMs, onUpdate: (update) => display.update(update) }),
        );
        display.clear();
      }
    });
    return documents;
  } finally {
    display.clear();
    interrupt.dispose();
  }
}

function textOf(file: string, { jobs, config }: Recovery): string[] {
  const { placeholders, destination } = config;
  return [
    `Wrote ${file}; the place you named is its destination '${destination}'`,
    ...jobs.map(({ job, snapshots, latest, error }) => {
      if (error !== null) return `  ${job}: not recovered: ${error.message}`;
      return `  ${job}: ${plural(snapshots, 'snapshot')}${latest === null ? '' : `, the latest of ${latest.time}`}`;
    }),
    ...(placeholders.length === 0 ? [] : ['', 'Secrets that the config needs:']),
    ...placeholders.map(({ key, reference, was }) => `  ${key}: ${reference}${noteOf(reference, was)}`),
    '',
    'Look the config over; then `holdfast restore JOB --to DIR`. To go on backing up from this machine:',
    '`holdfast backup JOB --take-over`, once the lost one is gone for good.',
  ];
}

const noteOf = (reference: string, was: string | null): string =>
  was === null ? '' : was === reference ? ' (not on this machine)' : ` (was ${was})`;

async function writeNew(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const handle = await open(file, 'wx', 0o600).catch(() => {
    throw exists(file);
  });
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const exists = (path: string): HoldfastError =>
  new HoldfastError('UsageInvalid', `${path} exists already; nothing was written`, {
    file: path,
    hint: 'Name another place with --config FILE.',
  });
