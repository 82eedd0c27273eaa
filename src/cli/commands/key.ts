import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { LoadedConfig } from '../../config/load.js';
import type { KeyChange, KeyListing, Unlocking } from '../../control/keys.js';
import { errnoOf, HoldfastError } from '../../errors.js';
import type { ScryptCost } from '../../repository/keys.js';
import type { Context } from '../context.js';
import { askNewSecret, askSecret, canAsk, readSecret } from '../prompt.js';

const control = () => import('../../control/keys.js');

interface Options {
  all?: boolean;
  passphraseFile?: string;
  newPassphraseFile?: string;
  label?: string;
  slot?: string;
  cost?: ScryptCost;
  sheet?: string;
  output?: string;
  keepPassphrase?: boolean;
  bits?: number;
  plain?: boolean;
}

export function register(command: Command, context: Context): void {
  const sub = (name: string, description: string): Command => command.command(name).description(description);
  const ofJobs = (name: string, description: string): Command =>
    sub(name, description).argument('[job...]', 'jobs in the config').option('--all', 'every job in the config');
  const present = '--passphrase-file <file>';
  const presentText = 'the present passphrase, in place of the config’s; - is standard input';
  const next = '--new-passphrase-file <file>';
  const nextText = 'the new passphrase; - is standard input (default: ask on the terminal)';
  const cost = '--cost <n>';
  const costText = 'what trying a passphrase costs: 16 (64 MiB, a fifth of a second) to 20 (1 GiB, some seconds)';

  ofJobs('list', 'list passphrases, and which destinations have them').action((jobs: string[], options: Options) =>
    list(context, jobs, options),
  );
  ofJobs('add', 'add a passphrase')
    .option('--label <text>', 'what to call it')
    .option(present, presentText)
    .option(next, nextText)
    .option(cost, costText, costOf)
    .action((jobs: string[], options: Options) => add(context, jobs, options));
  ofJobs('remove', 'remove a passphrase; the last one stays')
    .option('--slot <id>', 'which: its id, the beginning of it, or its label (default: ask for the passphrase)')
    .option('--passphrase-file <file>', 'the passphrase to remove; - is standard input')
    .action((jobs: string[], options: Options) => remove(context, jobs, options));
  ofJobs('change', 'replace a passphrase, or what trying it costs')
    .option(present, presentText)
    .option(next, nextText)
    .option('--keep-passphrase', 'only the cost changes')
    .option(cost, costText, costOf)
    .action((jobs: string[], options: Options) => change(context, jobs, options));
  ofJobs('verify', 'prove that you hold the passphrase, or with --identity the private key')
    .option('--passphrase-file <file>', 'read it from there (default: ask on the terminal); - is standard input')
    .action((jobs: string[], options: Options) => verify(context, jobs, options));
  ofJobs('export', 'print a recovery sheet, with which the backups can be read')
    .option(present, presentText)
    .option('-o, --output <file>', 'write it to a new file (0600)')
    .action((jobs: string[], options: Options) => exportSheets(context, jobs, options));
  sub('import', 'add a passphrase with a recovery sheet, where no passphrase is known any more')
    .argument('<job>', 'a job in the config')
    .requiredOption('--sheet <file>', 'the sheet, or its four lines; - is standard input')
    .option(next, nextText)
    .option(cost, costText, costOf)
    .action((job: string, options: Options) => importSheet(context, job, options));
  sub('generate', 'make an RSA key pair, for hosts that can’t read what they write')
    .argument('<file>', 'the private key; the public key goes to FILE.pub')
    .option('--bits <n>', '3072 to 16384 (default: 4096)', Number)
    .option(next, 'a passphrase for the private key; - is standard input (default: ask on the terminal)')
    .option('--plain', 'do not encrypt the private key')
    .action((file: string, options: Options) => generate(context, file, options));
}

/** `17`: N = 2^17, r = 8, p = 1. */
function costOf(text: string): ScryptCost {
  const exponent = Number(text);
  if (Number.isInteger(exponent) && exponent >= 16 && exponent <= 20) return { N: 2 ** exponent, r: 8, p: 1 };
  throw new HoldfastError('UsageInvalid', `--cost: expected 16 to 20, found '${text}'`);
}

async function list(context: Context, names: string[], options: Options): Promise<void> {
  const listings = await forEach(context, names, options, async (loaded, job, log) =>
    (await control()).listKeys(loaded, job, log),
  );
  context.result(listings, () => listings.map(listingText).join('\n\n'));
  if (listings.some(({ revision, destinations }) => destinations.some((one) => one.revision !== revision)))
    context.exit(3);
}

async function add(context: Context, names: string[], options: Options): Promise<void> {
  const passphrase = await newPassphrase(options);
  const unlocking = unlockingOf(options);
  const changes = await forEach(context, names, options, async (loaded, job, log) =>
    (await control()).addKey(
      loaded,
      job,
      { passphrase, label: options.label, cost: options.cost },
      { ...unlocking, log },
    ),
  );
  report(context, changes, (change) => `${change.job}: added the passphrase ${change.slot}`);
}

async function remove(context: Context, names: string[], options: Options): Promise<void> {
  const { slot, passphraseFile } = options;
  if (slot !== undefined && passphraseFile !== undefined)
    throw new HoldfastError('UsageInvalid', 'expected --slot or --passphrase-file, found both');
  const wanted =
    slot === undefined
      ? {
          passphrase:
            passphraseFile === undefined ? await askSecret('Passphrase to remove: ') : readSecret(passphraseFile),
        }
      : { slot };
  const changes = await forEach(context, names, options, async (loaded, job, log) =>
    (await control()).removeKey(loaded, job, wanted, { ...unlockingOf({}), log }),
  );
  report(context, changes, (change) => `${change.job}: removed the passphrase ${change.slot}`);
}

async function change(context: Context, names: string[], options: Options): Promise<void> {
  if (options.keepPassphrase && (options.newPassphraseFile !== undefined || options.cost === undefined))
    throw new HoldfastError('UsageInvalid', '--keep-passphrase goes with --cost alone');
  const unlocking = unlockingOf(options);
  const passphrase = options.keepPassphrase ? undefined : await newPassphrase(options);
  const changes = await forEach(context, names, options, async (loaded, job, log) =>
    (await control()).changeKey(loaded, job, { passphrase, cost: options.cost }, { ...unlocking, log }),
  );
  report(context, changes, (change) => `${change.job}: the passphrase is now ${change.slot}`);
}

async function verify(context: Context, names: string[], options: Options): Promise<void> {
  const { identity } = context.options;
  const { passphraseFile } = options;
  const typed = async () => (passphraseFile === undefined ? askSecret('Passphrase: ') : readSecret(passphraseFile));
  const passphrase = identity === undefined ? await typed() : '';
  const { readPublicKey } = await import('../../repository/rsa.js');
  const proofs = await forEach(context, names, options, async (loaded, job, log) => {
    const { encryption } = loaded.config;
    // With --identity the config's public key is that of the private key.
    const fingerprint = () => readPublicKey(encryption?.publicKey ?? '', '--identity').fingerprint;
    const proof = identity === undefined ? { passphrase } : { fingerprint: fingerprint() };
    return (await control()).verifyKey(loaded, job, proof, log);
  });
  context.result(proofs, () => proofs.map(({ job }) => `${job}: it opens the repository`).join('\n'));
}

async function exportSheets(context: Context, names: string[], options: Options): Promise<void> {
  const unlocking = unlockingOf(options);
  const sheets = await forEach(context, names, options, async (loaded, job, log) =>
    (await control()).exportKey(loaded, job, { ...unlocking, log }),
  );
  const text = sheets.map(({ sheet }) => sheet).join('\f\n');
  if (options.output === undefined) return context.result(sheets, () => text);
  const file = resolve(options.output);
  writeNew(file, text, 0o600);
  context.result(
    { file, jobs: sheets.map(({ job, repository }) => ({ job, repository })) },
    () => `Wrote ${file} (0600)`,
  );
}

async function importSheet(context: Context, job: string, options: Options): Promise<void> {
  const sheet = readSecret(options.sheet ?? '-');
  const passphrase = await newPassphrase(options);
  const changes = await forEach(context, [job], options, async (loaded, name, log) =>
    (await control()).importKey(loaded, name, { sheet, passphrase, cost: options.cost }, log),
  );
  report(context, changes, (done) => `${done.job}: the new passphrase is ${done.slot}`);
}

async function generate(context: Context, name: string, options: Options): Promise<void> {
  const { generatePair, rsaBits } = await import('../../repository/rsa.js');
  const bits = options.bits ?? rsaBits.usual;
  if (!Number.isInteger(bits) || bits < rsaBits.least || bits > rsaBits.most)
    throw new HoldfastError('UsageInvalid', `--bits: expected ${rsaBits.least} to ${rsaBits.most}`);
  const passphrase = options.plain ? undefined : await newPassphrase(options);
  const file = resolve(name);
  const { publicKey, privatePem } = await generatePair(bits, passphrase);
  writeNew(file, privatePem, 0o600);
  writeNew(`${file}.pub`, publicKey.pem, 0o644);
  const { fingerprint } = publicKey;
  context.result({ privateKey: file, publicKey: `${file}.pub`, bits, fingerprint, encrypted: !options.plain }, () =>
    [
      `Wrote ${file} (0600${options.plain ? ', not encrypted' : ', encrypted'}): keep it away from the hosts that write backups`,
      `Wrote ${file}.pub: for encryption.publicKey of those hosts`,
      `Fingerprint ${fingerprint}`,
    ].join('\n'),
  );
}

const newPassphrase = async ({ newPassphraseFile }: Options): Promise<string> =>
  newPassphraseFile === undefined ? askNewSecret('New passphrase') : readSecret(newPassphraseFile);

function unlockingOf({ passphraseFile }: Options): Omit<Unlocking, 'log'> {
  return {
    ...(passphraseFile === undefined ? {} : { passphrase: readSecret(passphraseFile) }),
    ...(canAsk() ? { ask: askSecret } : {}),
  };
}

async function forEach<T>(
  context: Context,
  names: string[],
  options: Options,
  action: (loaded: LoadedConfig, job: string, log: Unlocking['log']) => Promise<T>,
): Promise<T[]> {
  const loaded = await context.load();
  const [{ jobsOf }, { openLog }] = await Promise.all([control(), import('../../control/log.js')]);
  const log = await openLog(loaded.config, { stderr: 'warn' });
  const answers: T[] = [];
  for (const job of jobsOf(loaded, names, options.all === true)) answers.push(await action(loaded, job, log));
  return answers;
}

function report(context: Context, changes: KeyChange[], text: (change: KeyChange) => string): void {
  context.result(changes, () =>
    changes
      .flatMap((change) => [
        text(change),
        ...change.destinations.map(({ name, error }) =>
          error === null
            ? `  ${name}: written`
            : `  ${name}: not written, ${error}; it is brought up to date when it is back`,
        ),
      ])
      .join('\n'),
  );
  for (const warning of changes.flatMap(({ warnings }) => warnings)) context.warn(warning);
  if (changes.some(({ configured }) => !configured))
    context.warn(
      'the config’s passphrase opens none of it now: put one that does where the config reads it, or the next backup fails',
    );
  if (changes.some(({ destinations }) => destinations.some(({ error }) => error !== null))) context.exit(3);
}

function listingText(listing: KeyListing): string {
  const { job, repository, objects, revision, slots, destinations, verified } = listing;
  const kind = { aes: 'encrypted under passphrases', rsa: 'encrypted for an RSA key', none: 'not encrypted' }[objects];
  return [
    `${job}: repository ${repository}, ${kind}`,
    ...slots.map((slot) => {
      const what = slot.cost === null ? `RSA ${slot.fingerprint?.slice(0, 16)}` : `cost ${Math.log2(slot.cost.N)}`;
      const label = slot.label === null ? '' : `  ${slot.label}`;
      return `  ${slot.id}  ${slot.created.slice(0, 10)}  ${what}${label}${slot.configured ? '  (the config’s)' : ''}`;
    }),
    ...destinations.map(({ name, revision: there, error }) => {
      if (error !== null) return `  ${name}: ${error}`;
      return `  ${name}: ${there === revision ? 'up to date' : 'not up to date yet; the next backup or change does that'}`;
    }),
    ...(objects === 'none' ? [] : [`  ${verified === null ? 'nobody has verified it' : `verified ${verified}`}`]),
  ].join('\n');
}

function writeNew(file: string, text: string, mode: number): void {
  let handle: number;
  try {
    handle = openSync(file, 'wx', mode);
  } catch (error) {
    const errno = errnoOf(error);
    throw new HoldfastError(
      'UsageInvalid',
      `${file} ${errno === 'EEXIST' ? 'exists already' : `can't be written (${errno})`}`,
      {
        hint: 'Nothing is ever overwritten: name another file.',
      },
    );
  }
  try {
    writeSync(handle, text);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
