import { execFile, spawn } from 'node:child_process';
import { access, constants, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { HoldfastError } from '../../errors.js';
import { type Lock, tryExclusive } from '../locks.js';

/** The last version that `go install` accepts; later ones have replace directives in their go.mod. */
export const cliModule = 'github.com/temporalio/cli/cmd/temporal@v1.5.1';

export interface TemporalBinary {
  path: string;
  /** What `temporal --version` prints, without its own name. */
  version: string;
  via: 'HOLDFAST_TEMPORAL' | 'PATH' | 'cache' | 'download' | 'go install';
}

export interface FindOptions {
  /** Default: this process's environment. */
  env?: NodeJS.ProcessEnv;
  /** Milliseconds. */
  downloadTimeoutMs?: number;
  buildTimeoutMs?: number;
}

/**
 * The `temporal` program that serves as embedded server: $HOLDFAST_TEMPORAL, then PATH, then our cache, then a download by
 * Temporal's SDK into the cache, then a build by `go install` into the cache.
 *
 * @throws HoldfastError `TemporalMissing`, naming what was tried.
 */
export async function findTemporal(
  onProgress: (message: string) => void,
  options: FindOptions = {},
): Promise<TemporalBinary> {
  const env = options.env ?? process.env;
  const explicit = env.HOLDFAST_TEMPORAL;
  if (explicit) {
    const version = await versionOf(explicit, env);
    if (version !== undefined) return { path: explicit, version, via: 'HOLDFAST_TEMPORAL' };
    throw new HoldfastError(
      'TemporalMissing',
      `HOLDFAST_TEMPORAL names ${explicit}, but that does not run as temporal`,
      {
        hint: `Run \`${explicit} --version\` to see why, or unset HOLDFAST_TEMPORAL.`,
      },
    );
  }
  for (const path of await onPath('temporal', env)) {
    const version = await versionOf(path, env);
    if (version !== undefined) return { path, version, via: 'PATH' };
    onProgress(`${path} does not answer to --version; looking further`);
  }
  const cache = cacheDir(env);
  const cached = join(cache, 'bin', executable('temporal'));
  const inCache = async (): Promise<TemporalBinary | undefined> => {
    const version = await versionOf(cached, env);
    return version === undefined ? undefined : { path: cached, version, via: 'cache' };
  };
  return (
    (await inCache()) ??
    (await withInstallLock(
      cache,
      onProgress,
      async () => (await inCache()) ?? (await install(cache, cached, env, options, onProgress)),
    ))
  );
}

async function install(
  cache: string,
  target: string,
  env: NodeJS.ProcessEnv,
  options: FindOptions,
  onProgress: (message: string) => void,
): Promise<TemporalBinary> {
  await mkdir(join(cache, 'bin'), { recursive: true, mode: 0o700 });
  const work = await mkdtemp(join(cache, 'install-'));
  const tried: string[] = [];
  try {
    const steps: [TemporalBinary['via'], () => Promise<string>][] = [
      ['download', () => download(work, env, options.downloadTimeoutMs ?? 180_000, onProgress)],
      ['go install', () => build(work, env, options.buildTimeoutMs ?? 1_200_000, onProgress)],
    ];
    for (const [via, step] of steps) {
      try {
        const path = await step();
        const version = await versionOf(path, env);
        if (version === undefined) throw new Error('what came does not answer to --version');
        await rename(path, target);
        onProgress(`temporal is now at ${target}`);
        return { path: target, version, via };
      } catch (error) {
        const reason = `${via}: ${error instanceof Error ? error.message : String(error)}`;
        tried.push(reason);
        onProgress(reason);
      }
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  throw new HoldfastError('TemporalMissing', `no Temporal server: ${tried.join('; ')}`, {
    hint: 'Install the temporal CLI (https://docs.temporal.io/cli) and put it on PATH or name it in HOLDFAST_TEMPORAL; or install Go, which can build it; or configure a Temporal cluster under `temporal:`.',
  });
}

/** The SDK downloads only on the way to starting a server, without a time limit, and binds its runtime: a child process bears that. */
async function download(
  work: string,
  env: NodeJS.ProcessEnv,
  timeoutMs: number,
  onProgress: (message: string) => void,
): Promise<string> {
  const script = `
    const { Runtime } = await import(process.argv[2]);
    Runtime.install({ telemetryOptions: { logging: { filter: 'OFF', forward: false } } });
    const { TestWorkflowEnvironment } = await import(process.argv[1]);
    const server = { executable: { type: 'cached-download', downloadDir: process.argv[3] }, ip: '127.0.0.1' };
    try {
      await (await TestWorkflowEnvironment.createLocal({ server })).teardown();
      process.exit(0);
    } catch (error) {
      console.error(String(error?.message ?? error));
      process.exit(1);
    }`;
  const args = ['--input-type=module', '--eval', script, '--'];
  const { resolve } = createRequire(import.meta.url);
  const modules = ['@temporalio/testing', '@temporalio/worker'].map((name) => pathToFileURL(resolve(name)).href);
  onProgress('downloading the temporal CLI (about 50 MB)');
  await runChild(
    process.execPath,
    [...args, ...modules, work],
    env,
    timeoutMs,
    onProgress,
    'downloading the temporal CLI',
  );
  for (const name of await readdir(work)) {
    if (name.startsWith('temporal')) return join(work, name);
  }
  throw new Error('the SDK left no file');
}

async function build(
  work: string,
  env: NodeJS.ProcessEnv,
  timeoutMs: number,
  onProgress: (message: string) => void,
): Promise<string> {
  const [go] = await onPath('go', env);
  if (go === undefined) throw new Error('Go is not installed');
  onProgress(`building the temporal CLI with \`go install ${cliModule}\` (2-3 minutes, once)`);
  await runChild(
    go,
    ['install', cliModule],
    { ...env, GOBIN: work },
    timeoutMs,
    onProgress,
    'building the temporal CLI',
  );
  return join(work, executable('temporal'));
}

async function runChild(
  file: string,
  args: string[],
  env: NodeJS.ProcessEnv,
  timeoutMs: number,
  onProgress: (message: string) => void,
  what: string,
): Promise<void> {
  const started = Date.now();
  const elapsed = () => `${Math.round((Date.now() - started) / 1000)} s`;
  const ticker = setInterval(() => onProgress(`still ${what} (${elapsed()})`), 15_000);
  try {
    await new Promise<void>((resolve, reject) => {
      const child = spawn(file, args, { env, stdio: ['ignore', 'ignore', 'pipe'], windowsHide: true });
      let tail = '';
      let timedOut = false;
      const timer = setTimeout(() => {
        timedOut = true;
        child.kill('SIGKILL');
      }, timeoutMs);
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        tail = (tail + text).slice(-2000);
      });
      child.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      child.on('exit', (code) => {
        clearTimeout(timer);
        if (timedOut) reject(new Error(`not done after ${elapsed()}`));
        else if (code === 0) resolve();
        else reject(new Error(tail.trim().split('\n').slice(-3).join(' | ') || `exit code ${code}`));
      });
    });
  } finally {
    clearInterval(ticker);
  }
}

async function withInstallLock<T>(
  cache: string,
  onProgress: (message: string) => void,
  action: () => Promise<T>,
): Promise<T> {
  let lock: Lock | undefined;
  for (let tries = 0; lock === undefined; tries++) {
    lock = tryExclusive(join(cache, 'install.lock'));
    if (lock !== undefined) break;
    if (tries % 150 === 0) onProgress('waiting for another process that is getting the temporal CLI');
    await sleep(100);
  }
  try {
    return await action();
  } finally {
    lock.release();
  }
}

async function versionOf(path: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(path, ['--version'], { env, timeout: 20_000, windowsHide: true });
    return /^temporal version (.+)$/m.exec(stdout)?.[1]?.trim();
  } catch {
    return undefined;
  }
}

async function onPath(name: string, env: NodeJS.ProcessEnv): Promise<string[]> {
  const found: string[] = [];
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    if (folder === '') continue;
    const path = join(folder, executable(name));
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      found.push(path);
  }
  return found;
}

function cacheDir(env: NodeJS.ProcessEnv): string {
  const base = env.XDG_CACHE_HOME || (process.platform === 'win32' && env.LOCALAPPDATA) || join(homedir(), '.cache');
  return join(base, 'holdfast', 'temporal');
}

function executable(name: string): string {
  return process.platform === 'win32' ? `${name}.exe` : name;
}
