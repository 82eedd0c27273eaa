import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, constants, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { answers } from './answers.js';
import { freePort } from './free-port.js';

const source = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0';
const toolsFolder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'holdfast', 'tools', 'bin');

async function isProgram(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** Finds versitygw, or builds it into the user's cache, which takes minutes and happens once. */
async function findServer(): Promise<string> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), join(homedir(), 'go', 'bin'), toolsFolder];
  for (const folder of folders) {
    if (folder !== '' && (await isProgram(join(folder, 'versitygw')))) return join(folder, 'versitygw');
  }
  await mkdir(toolsFolder, { recursive: true });
  try {
    await promisify(execFile)('go', ['install', source], { env: { ...process.env, GOBIN: toolsFolder } });
  } catch (error) {
    throw new Error(`The S3 tests need versitygw. Install Go, then run: go install ${source}`, { cause: error });
  }
  return join(toolsFolder, 'versitygw');
}

export interface S3ServerOptions {
  /** Folder whose folders are the buckets; default: a temporary one, removed by `stop`. */
  dir?: string;
  readOnly?: boolean;
  /** With versions and object lock, for buckets made by a client that asks for it. */
  versioning?: boolean;
}

/** A real S3 server (versitygw) on the loopback, for one test file. */
export interface S3Server {
  readonly endpoint: string;
  readonly port: number;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
  /** Buckets are the folders in here, objects the files in those. */
  readonly dir: string;
  /** Makes a bucket; returns its folder. */
  bucket(name: string): Promise<string>;
  /** Ends the server at once, as a crash would; its objects stay. */
  kill(): Promise<void>;
  /** Starts it again on the same port. */
  restart(): Promise<void>;
  /** Ends the server and removes its temporary folder. */
  stop(): Promise<void>;
}

export async function startS3(options: S3ServerOptions = {}): Promise<S3Server> {
  const program = await findServer();
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'holdfast-s3-')));
  const versions = options.versioning ? await mkdtemp(join(tmpdir(), 'holdfast-s3-versions-')) : undefined;
  const port = await freePort();
  const accessKeyId = 'holdfast-test';
  const secretAccessKey = 'correct-horse-battery-staple';
  let child: ChildProcess | undefined;

  const kill = async (): Promise<void> => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const ended = once(running, 'exit');
    running.kill('SIGKILL');
    await ended;
  };

  const start = async (): Promise<void> => {
    const listen = [
      '--port',
      `127.0.0.1:${port}`,
      '--quiet',
      '--keep-alive',
      ...(options.readOnly ? ['--readonly'] : []),
    ];
    const posix = ['posix', ...(versions === undefined ? [] : ['--versioning-dir', versions]), dir];
    const started = spawn(program, [...listen, ...posix], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ROOT_ACCESS_KEY: accessKeyId, ROOT_SECRET_KEY: secretAccessKey },
    });
    child = started;
    let said = '';
    started.stderr?.on('data', (data) => {
      said = (said + String(data)).slice(-2000);
    });
    for (const deadline = Date.now() + 20_000; !(await answers(port)); await sleep(20)) {
      if (started.exitCode !== null || Date.now() > deadline) throw new Error(`versitygw did not start: ${said}`);
    }
  };

  const endWithTests = (): void => {
    child?.kill('SIGKILL');
  };
  process.once('exit', endWithTests);
  await start();

  return {
    endpoint: `http://127.0.0.1:${port}`,
    port,
    accessKeyId,
    secretAccessKey,
    region: 'us-east-1',
    dir,
    async bucket(name) {
      const path = join(dir, name);
      await mkdir(path, { recursive: true });
      return path;
    },
    kill,
    async restart() {
      await kill();
      await start();
    },
    async stop() {
      await kill();
      process.off('exit', endWithTests);
      if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
      if (versions !== undefined) await rm(versions, { recursive: true, force: true });
    },
  };
}
