import { access, constants, lstat, open, opendir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { LoadedConfig } from '../config/load.js';
import type { Config, DatabaseSourceConfig, SourceConfig } from '../config/schema.js';
import { resolveSecret, resolveSecrets } from '../config/secrets.js';
import { errnoOf, HoldfastError } from '../errors.js';
import { connect } from './connection.js';
import { workerHolder } from './hosted-worker.js';
import { probeDestination } from './probe.js';
import { runningServer, temporalOf } from './session.js';

export interface Check {
  name: string;
  status: 'ok' | 'warn' | 'fail';
  message: string;
  hint?: string;
}

const maxSkewMs = 60_000;
const GB = 1e9;

/** Checks every part. Nothing is thrown: what goes wrong is a check that failed. */
export async function diagnose(loaded: LoadedConfig): Promise<Check[]> {
  const { config } = loaded;
  const groups = await Promise.all([
    configChecks(loaded),
    nodeCheck(),
    folderCheck('state', config.state),
    folderCheck('spool', config.spool.path),
    platformChecks(),
    temporalCheck(loaded),
    workerCheck(config),
    secretChecks(config),
    ...sourcesOf(config).map(([job, source, number]) => sourceCheck(config, job, source, number)),
    ...Object.entries(config.destinations).map(([name]) => destinationCheck(config, name)),
    ...Object.keys(config.jobs).map((job) => keyCheck(config, job)),
    spaceChecks(config),
    zstdCheck(config),
  ]);
  return groups.flat();
}

/** Probes one destination; also for `destinations test`. */
export async function destinationCheck(config: Config, name: string): Promise<Check[]> {
  const destination = config.destinations[name];
  if (destination === undefined) return [];
  const title = `destination ${name}`;
  return guarded(title, async () => {
    const probe = await probeDestination(name, destination, config.state);
    if (probe === undefined) {
      return [
        warn(
          title,
          'its folder does not exist yet; the first backup makes it',
          destination.type === 'local' ? 'Is the right disk mounted there?' : undefined,
        ),
      ];
    }
    const checks = [ok(title, `written, read back and deleted in ${Math.round(probe.tookMs)} ms`)];
    if (Math.abs(probe.skewMs) > maxSkewMs) {
      const seconds = Math.round(probe.skewMs / 1000);
      checks.push(
        warn(`${title} clock`, `it differs from this machine's by ${seconds} s`, 'Synchronize both clocks (NTP).'),
      );
    }
    if (probe.account !== undefined) checks.push(ok(`${title} account`, `logged in as ${probe.account}`));
    if (probe.space !== undefined) checks.push(spaceCheck(`${title} space`, probe.space));
    return checks;
  });
}

async function configChecks({ path, warnings }: LoadedConfig): Promise<Check[]> {
  return [
    ok('config', path),
    ...warnings.map(({ message, path: key }) => warn('config', key === undefined ? message : `${key}: ${message}`)),
  ];
}

async function nodeCheck(): Promise<Check[]> {
  return [ok('node', `${process.versions.node} on ${process.platform} ${process.arch}`)];
}

async function folderCheck(name: string, path: string): Promise<Check[]> {
  return guarded(`${name} folder`, async () => {
    const title = `${name} folder`;
    try {
      const { mode, uid } = await stat(path);
      await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
      const own = process.getuid?.();
      if (own !== undefined && own !== 0 && uid !== own) {
        return [warn(title, `${path} belongs to another user (${uid})`, `chown it to the user that runs Holdfast`)];
      }
      if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
        const octal = (mode & 0o777).toString(8);
        return [fail(title, `${path} has mode ${octal}: others on this machine can look in`, `chmod 700 ${path}`)];
      }
      return [ok(title, path)];
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    await access(await nearestFolder(path), constants.W_OK);
    return [ok(title, `${path} is made when it is needed`)];
  });
}

async function platformChecks(): Promise<Check[]> {
  return guarded('platform', async () => {
    const { abilities } = await import('../platform/native.js');
    const missing = Object.entries(abilities()).filter(([, ability]) => !ability.available);
    if (missing.length === 0) return [ok('platform', 'ns times, xattrs, owners, devices and sparse files work')];
    return missing.map(([name, { reason }]) =>
      warn(
        `platform ${name}`,
        reason ?? 'not available',
        'Backups work; this part of metadata is left out, with a warning.',
      ),
    );
  });
}

async function temporalCheck(loaded: LoadedConfig): Promise<Check[]> {
  return guarded('temporal', async () => {
    const configured = await temporalOf(loaded);
    const running = configured === undefined ? await runningServer(loaded.config.state) : undefined;
    if (configured !== undefined || running !== undefined) {
      const { address, namespace, close } = await connect(configured, running);
      await close();
      return [
        ok('temporal', `answers at ${address}, namespace ${namespace}${running ? `, Web UI ${running.ui}` : ''}`),
      ];
    }
    const { findTemporal } = await import('../worker/temporal/find.js');
    try {
      // A doctor looks; getting the program is left to `up`.
      const binary = await findTemporal(() => undefined, { downloadTimeoutMs: 1, buildTimeoutMs: 1 });
      return [ok('temporal', `embedded server ${binary.version} (${binary.path}), not running now`)];
    } catch (error) {
      if (!(error instanceof HoldfastError) || process.env.HOLDFAST_TEMPORAL) throw error;
      return [
        warn(
          'temporal',
          'the temporal program for the embedded server is not on this machine yet',
          '`holdfast up` downloads it, or builds it with Go in a few minutes.',
        ),
      ];
    }
  });
}

async function workerCheck({ state }: Config): Promise<Check[]> {
  return guarded('worker', async () => {
    await import('@temporalio/worker');
    const holder = workerHolder(state);
    if (holder === undefined)
      return [warn('worker', 'none runs on this host', '`holdfast up` runs one; schedules need it.')];
    return [ok('worker', holder === 'unknown' ? 'runs' : `runs: \`${holder.command}\`, process ${holder.pid}`)];
  });
}

async function secretChecks(config: Config): Promise<Check[]> {
  const { encryption } = config;
  const parts = [
    ...Object.entries(config.destinations).map(([name, part]) => [`destinations.${name}`, part] as const),
    ...Object.entries(config.notify).map(([name, part]) => [`notify.${name}`, part] as const),
  ];
  const checks = await Promise.all([
    encryption === undefined
      ? [
          warn(
            'encryption',
            'repositories are in the clear',
            'Set encryption.passphrase; `holdfast init` shows how. Existing repositories stay as they are.',
          ),
        ]
      : guarded('encryption', async () => {
          const { passphrase, publicKey, privateKey } = encryption;
          if (passphrase !== undefined) await resolveSecret(passphrase, 'encryption.passphrase');
          if (publicKey !== undefined) {
            const { readPublicKey } = await import('../repository/rsa.js');
            const key = 'encryption.publicKey';
            const { bits } = readPublicKey(await resolveSecret(publicKey, key), key);
            const reads =
              privateKey === undefined ? 'this host can write backups and not read them' : 'with its private key';
            return [ok('encryption', `an RSA public key of ${bits} bits; ${reads}`)];
          }
          return [ok('encryption', 'the passphrase can be read')];
        }),
    ...parts.map(([key, part]) =>
      guarded(`secrets of ${key}`, async () => {
        await resolveSecrets(part, key);
        return [];
      }),
    ),
  ]);
  return checks.flat();
}

const nagAfterMs = 7 * 24 * 3600 * 1000;

/** Whether somebody has proved to hold what opens the job's repository: a lost passphrase loses every backup. */
async function keyCheck(config: Config, job: string): Promise<Check[]> {
  const title = `key of ${job}`;
  return guarded(title, async () => {
    const [{ stateKeyFile }, { keyProof }] = await Promise.all([
      import('../activities/key-file.js'),
      import('../activities/key-proof.js'),
    ]);
    const file = stateKeyFile({ keyFilePath: () => join(config.state, 'keys', `${job}.json`) }, job);
    if (file === undefined || file.objects === 'none') return [];
    const proof = keyProof(config, file);
    if (proof !== undefined) return [ok(title, `somebody proved to hold it on ${proof.at.slice(0, 10)}`)];
    if (Date.now() - Date.parse(file.created) < nagAfterMs) return [];
    const what = file.objects === 'rsa' ? 'the private key' : 'the passphrase';
    const command = `holdfast key verify ${job}${file.objects === 'rsa' ? ' --identity FILE' : ''}`;
    return [
      warn(
        title,
        `nobody has proved to hold ${what} apart from this machine: if it is lost, so are the backups`,
        `Type it from where you keep it: \`${command}\`. \`holdfast key export ${job}\` prints a recovery sheet.`,
      ),
    ];
  });
}

function sourcesOf(config: Config): [job: string, source: SourceConfig, number: number][] {
  return Object.entries(config.jobs).flatMap(([job, { sources }]) =>
    sources.map((source, number): [string, SourceConfig, number] => [job, source, number]),
  );
}

async function sourceCheck(config: Config, job: string, source: SourceConfig, number: number): Promise<Check[]> {
  const title = `source ${job}/${source.name}`;
  if (source.type !== 'files') return guarded(title, () => databaseCheck(title, config, job, source, number));
  const checks = await Promise.all(source.paths.map((path) => guarded(title, () => readable(title, path))));
  return checks.flat();
}

const databaseTimeoutMs = 30_000;

/** Whether a database source can be dumped, as far as that is seen without reading what is in it. */
async function databaseCheck(
  title: string,
  config: Config,
  job: string,
  source: DatabaseSourceConfig,
  number: number,
): Promise<Check[]> {
  const [{ openDatabaseSource }, { withPrivateContext }] = await Promise.all([
    import('../sources/open-database.js'),
    import('../activities/private-context.js'),
  ]);
  const signal = AbortSignal.timeout(databaseTimeoutMs);
  const opened = await openDatabaseSource(await resolveSecrets(source, `jobs.${job}.sources[${number}]`));
  try {
    const { server, tool, databases, problems } = await withPrivateContext(
      config.state,
      { signal, log: () => undefined },
      (context) => opened.examine(context),
    );
    const using = tool === server ? '' : `, with ${tool}`;
    const findings = problems.map(({ status, message, hint }): Check => ({ name: title, status, message, hint }));
    // What fails says enough.
    if (findings.some(({ status }) => status === 'fail')) return findings;
    return [ok(title, `${server}, ${databases} ${databases === 1 ? 'database' : 'databases'}${using}`), ...findings];
  } catch (error) {
    if (!signal.aborted) throw error;
    return [
      fail(title, `did not answer within ${databaseTimeoutMs / 1000} s`, 'Is the server there, and is it very busy?'),
    ];
  } finally {
    await opened.close();
  }
}

async function readable(title: string, path: string): Promise<Check[]> {
  try {
    const found = await lstat(path);
    if (found.isDirectory()) await (await opendir(path)).close();
    else if (found.isFile()) await (await open(path, 'r')).close();
    return [ok(title, path)];
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT')
      return [fail(title, `${path} does not exist`, 'Is its disk mounted? Else correct the path.')];
    if (errno !== 'EACCES' && errno !== 'EPERM') throw error;
    return [fail(title, `this user may not read ${path}`, 'Run Holdfast as a user who may.')];
  }
}

async function spaceChecks(config: Config): Promise<Check[]> {
  const { freeSpace } = await import('../platform/space.js');
  const parts = [
    ['state space', config.state, GB / 2],
    ['spool space', config.spool.path, Math.min(config.spool.max, 2 * GB)],
  ] as const;
  const checks = await Promise.all(
    parts.map(([title, path, wanted]) =>
      guarded(title, async () => {
        const { free } = await freeSpace(await nearestFolder(path));
        const text = `${(free / GB).toFixed(1)} GB free`;
        if (free >= wanted) return [ok(title, text)];
        return [(free < wanted / 10 ? fail : warn)(title, text, `Free some space where ${path} is, or move it.`)];
      }),
    ),
  );
  return checks.flat();
}

function spaceCheck(title: string, { free, total }: { free: number; total: number }): Check {
  const text = `${(free / GB).toFixed(1)} of ${(total / GB).toFixed(1)} GB free`;
  if (free < GB / 10) return fail(title, text, 'Free some space, or keep fewer snapshots (retention).');
  return free < total / 20
    ? warn(title, text, 'Free some space, or keep fewer snapshots (retention).')
    : ok(title, text);
}

async function zstdCheck(config: Config): Promise<Check[]> {
  if (!Object.values(config.jobs).some((job) => job.compression.type === 'zstd')) return [];
  return guarded('zstd', async () => {
    const { compress, decompress } = await import('../repository/codec.js');
    const sample = Buffer.alloc(1000, 'holdfast');
    const back = decompress(compress(sample, { type: 'zstd', level: 3 }), 2000, 'zstd');
    return back.equals(sample)
      ? [ok('zstd', 'works')]
      : [fail('zstd', 'gives back something else', 'Reinstall Holdfast.')];
  });
}

async function nearestFolder(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    const exists = await stat(folder).then(
      () => true,
      () => false,
    );
    if (exists || folder === dirname(folder)) return folder;
  }
}

async function guarded(name: string, check: () => Promise<Check[]>): Promise<Check[]> {
  try {
    return await check();
  } catch (error) {
    const hint = error instanceof HoldfastError ? error.hint : undefined;
    return [fail(name, error instanceof Error ? error.message : String(error), hint ?? 'Correct that and try again.')];
  }
}

const ok = (name: string, message: string): Check => ({ name, status: 'ok', message });
const warn = (name: string, message: string, hint?: string): Check => ({
  name,
  status: 'warn',
  message,
  ...(hint === undefined ? {} : { hint }),
});
const fail = (name: string, message: string, hint: string): Check => ({ name, status: 'fail', message, hint });
