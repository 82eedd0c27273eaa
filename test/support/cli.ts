import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import type { ConfigInput } from '../../src/config/schema.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { ensureBuilt } from './build.js';

const root = resolve(import.meta.dirname, '../..');
/** Another built program than this tree's, for testing a packed or installed one. */
const otherProgram = process.env.HOLDFAST_TEST_PROGRAM;
const program = otherProgram ?? join(root, 'bin', 'holdfast.js');

/** How a command ended. */
export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A command of the built CLI that runs. */
export interface Running {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  /** What it has said so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** Sends the signal and waits for the end. */
  kill(signal: NodeJS.Signals): Promise<Ended>;
}

/** What a test says of its config; `host`, `state`, `spool` and `encryption` have defaults. */
export type TestConfig = Pick<ConfigInput, 'destinations' | 'jobs'> & Partial<ConfigInput>;

/** A host of its own for the real program: config, state and spool in a temporary folder. */
export class TestHost {
  private readonly commands = new Set<ChildProcess>();

  private constructor(
    readonly folder: string,
    private readonly env: NodeJS.ProcessEnv,
  ) {}

  static async make(): Promise<TestHost> {
    if (otherProgram === undefined) await ensureBuilt();
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-fault-'));
    const host = new TestHost(folder, { ...process.env, HOLDFAST_TEST_PASSPHRASE: 'correct horse battery staple' });
    for (const path of [host.source, host.spool]) await mkdir(path, { mode: 0o700 });
    return host;
  }

  get source(): string {
    return join(this.folder, 'source');
  }
  get state(): string {
    return join(this.folder, 'state');
  }
  get spool(): string {
    return join(this.folder, 'spool');
  }
  get configFile(): string {
    return join(this.folder, 'holdfast.json');
  }
  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  /** Writes the config file; a running `up` reads it again at each run. */
  async configure(config: TestConfig, file = this.configFile): Promise<void> {
    const whole: ConfigInput = {
      host: 'fault-host',
      state: this.state,
      spool: { path: this.spool, max: '2GB' },
      encryption: { passphrase: `\${env:HOLDFAST_TEST_PASSPHRASE}` },
      ...config,
    };
    await writeFile(file, JSON.stringify(whole, null, 2), { mode: 0o600 });
  }

  /** Starts a command. */
  start(args: string[], config = this.configFile): Running {
    const child = spawn(process.execPath, [program, '--config', config, ...args], {
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.commands.add(child);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const ended = once(child, 'close').then(([code, signal]: (number | NodeJS.Signals | null)[]): Ended => {
      this.commands.delete(child);
      return {
        code: typeof code === 'number' ? code : null,
        signal: typeof signal === 'string' ? signal : null,
        stdout,
        stderr,
      };
    });
    return {
      pid: child.pid ?? 0,
      ended,
      get stdout() {
        return stdout;
      },
      get stderr() {
        return stderr;
      },
      kill(signal) {
        child.kill(signal);
        return ended;
      },
    };
  }

  /** Runs a command to its end. */
  run(args: string[], config = this.configFile): Promise<Ended> {
    return this.start(args, config).ended;
  }

  /** Runs a command with `--json` and reads its document; the exit code has to be one of `codes`. */
  async json<T>(args: string[], codes: number[] = [0], config = this.configFile): Promise<T> {
    const { code, stdout, stderr } = await this.run([...args, '--json'], config);
    if (code === null || !codes.includes(code)) {
      throw new Error(`holdfast ${args.join(' ')} ended with ${code}\n${stdout}\n${stderr}`);
    }
    return JSON.parse(stdout) as T;
  }

  /** Starts `up` and waits until its worker takes work. */
  async up(): Promise<Running> {
    const up = this.start(['up']);
    let over = false;
    void up.ended.then(() => {
      over = true;
    });
    for (const deadline = Date.now() + 60_000; !up.stderr.includes('the worker is ready'); await sleep(10)) {
      if (over || Date.now() > deadline) throw new Error(`up did not come up:\n${up.stdout}\n${up.stderr}`);
    }
    return up;
  }

  /** Starts a run without following it; resolves to its id. */
  async startRun(job: string, ...options: string[]): Promise<string> {
    const { run } = await this.json<{ run: string }>(['backup', job, '--detach', ...options]);
    return run;
  }

  /** The run's document in the host's history: what the program would report now, read without asking it. */
  document(run: string): RunDocument | undefined {
    const file = join(this.state, 'history.db');
    if (!existsSync(file)) return undefined;
    const db = new Database(file, { readonly: true, timeout: 5000 });
    try {
      const row = db.prepare<[string], { document: string }>('SELECT document FROM runs WHERE run = ?').get(run);
      return row === undefined ? undefined : (JSON.parse(row.document) as RunDocument);
    } finally {
      db.close();
    }
  }

  /** The id of the one run that is in progress, once there is one. */
  async onlyRun(): Promise<string> {
    const file = join(this.state, 'history.db');
    for (const deadline = Date.now() + 60_000; ; await sleep(10)) {
      if (existsSync(file)) {
        const db = new Database(file, { readonly: true, timeout: 5000 });
        try {
          const row = db.prepare<[], { run: string }>("SELECT run FROM runs WHERE status = 'running'").get();
          if (row !== undefined) return row.run;
        } catch (error) {
          // The table is not there yet.
          if (!(error instanceof Database.SqliteError)) throw error;
        } finally {
          db.close();
        }
      }
      if (Date.now() > deadline) throw new Error(`no run began: ${this.logTail()}`);
    }
  }

  /** Jobs that a run holds the lock of, or waits for. */
  locks(): string[] {
    const db = new Database(join(this.state, 'history.db'), { readonly: true, timeout: 5000 });
    try {
      return db
        .prepare<[], { job: string }>('SELECT job FROM locks')
        .all()
        .map((row) => row.job);
    } finally {
      db.close();
    }
  }

  /** Waits until the run's document is a final one. */
  async finished(run: string, timeoutMs = 60_000): Promise<RunDocument> {
    for (const deadline = Date.now() + timeoutMs; ; await sleep(20)) {
      const document = this.document(run);
      if (document !== undefined && document.endedAt !== null) return document;
      if (Date.now() > deadline) throw new Error(`${run} is not over after ${timeoutMs} ms: ${this.logTail()}`);
    }
  }

  /** The embedded Temporal server's process. */
  temporalPid(): number | undefined {
    try {
      const record = JSON.parse(readFileSync(join(this.state, 'run', 'server.json'), 'utf8')) as { pid: number };
      return record.pid;
    } catch {
      return undefined;
    }
  }

  /** Ends the embedded server as a crash would. */
  killTemporal(): void {
    const pid = this.temporalPid();
    if (pid !== undefined && pid > 0) kill(pid);
  }

  /** The end of the workers' log, for messages. */
  logTail(bytes = 4000): string {
    const file = join(this.state, 'logs', 'holdfast.log');
    return existsSync(file) ? readFileSync(file, 'utf8').slice(-bytes) : '(no log)';
  }

  /** Ends every command that still runs. */
  async killCommands(): Promise<void> {
    for (const child of this.commands) child.kill('SIGKILL');
    while (this.commands.size > 0) await sleep(5);
  }

  /** Ends what still runs and removes everything. */
  async remove(): Promise<void> {
    await this.killCommands();
    this.killTemporal();
    // A process that was just killed may still be writing a file into a folder that is being emptied.
    for (let tries = 0; ; tries++) {
      try {
        rmSync(this.folder, { recursive: true, force: true });
        return;
      } catch (error) {
        if (tries >= 20) throw error;
        await sleep(50);
      }
    }
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}

/** Copies a tree as hard links: an instant's picture of a repository whose files are never changed in place. */
export function freeze(from: string, to: string): void {
  execFileSync('cp', ['-al', from, to]);
}
