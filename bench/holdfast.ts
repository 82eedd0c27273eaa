import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Contender, Round } from './contender.js';
import { type Cost, run, Sampler } from './measure.js';

/** Memory of Holdfast's processes during the phases so far, in bytes: the worker is `up` without its Temporal server. */
export interface Watch {
  worker: number;
  server: number;
}

export interface HoldfastOptions {
  /** An empty folder for config, state and the embedded server. */
  home: string;
  /** Every round that will be run: each is a job of its own with its own repository. */
  rounds: Round[];
  /** A round's destination as the config has it; default: the folder `repository` in the round's own. */
  destination?: (round: Round) => object;
}

const bin = resolve('bin', 'holdfast.js');
const isServer = (program: string): boolean => program.startsWith('temporal');

/** Holdfast as a user runs it: `holdfast up` stands in the background, `backup` and `restore` are timed from start to exit. */
export class Holdfast implements Contender {
  readonly name = 'holdfast';
  readonly peak: Watch = { worker: 0, server: 0 };
  readonly #config: string;
  #up: ChildProcess | undefined;

  constructor(readonly options: HoldfastOptions) {
    mkdirSync(options.home, { recursive: true });
    this.#config = join(options.home, 'holdfast.json');
    writeFileSync(this.#config, JSON.stringify(this.#document(), null, 2));
  }

  async version(): Promise<string> {
    return (await run({ program: bin, args: ['--version'] })).stdout.trim();
  }

  async init(): Promise<void> {
    if (this.#up !== undefined) return;
    const log = join(this.options.home, 'up.log');
    const fd = openSync(log, 'w');
    this.#up = spawn(bin, ['--config', this.#config, 'up'], {
      stdio: ['ignore', fd, fd],
      env: environment(),
    });
    for (let n = 0; !/Web UI +http/.test(readFileSync(log, 'utf8')); n++) {
      if (this.#up.exitCode !== null || n > 3000)
        throw new Error(`holdfast up did not start:\n${readFileSync(log, 'utf8')}`);
      await wait(100);
    }
    // It says where the Web UI is once the server answers; the worker needs a moment more.
    await wait(3000);
  }

  backup(round: Round): Promise<Cost> {
    return this.#call(['backup', job(round), '--json']);
  }

  restore(round: Round, out: string): Promise<Cost> {
    return this.#call(['restore', job(round), '--to', out, '--json']);
  }

  repository(round: Round): string {
    return join(round.work, 'repository', 'bench', job(round));
  }

  restored(round: Round, out: string): string {
    return join(out, round.data);
  }

  async close(): Promise<void> {
    const up = this.#up;
    if (up === undefined || up.exitCode !== null) return;
    const gone = new Promise((done) => up.once('exit', done));
    up.kill('SIGTERM');
    await Promise.race([gone, wait(20_000)]);
    up.kill('SIGKILL');
  }

  async #call(args: string[]): Promise<Cost> {
    const pid = this.#up?.pid ?? 0;
    const worker = new Sampler(pid, isServer);
    const server = new Sampler(pid, (program) => !isServer(program));
    const cost = await run({
      program: bin,
      args: ['--config', this.#config, ...args],
      env: environment(),
    });
    const memory = Math.max(worker.stop(), cost.memory);
    this.peak.worker = Math.max(this.peak.worker, memory);
    this.peak.server = Math.max(this.peak.server, server.stop());
    return { ...cost, memory };
  }

  #document(): object {
    const { home, rounds } = this.options;
    const local = (round: Round): object => ({ type: 'local', path: join(round.work, 'repository') });
    const destination = this.options.destination ?? local;
    return {
      host: 'bench',
      state: join(home, 'state'),
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the config's own syntax
      encryption: { passphrase: '${env:HOLDFAST_PASSPHRASE}' },
      destinations: Object.fromEntries(rounds.map((round) => [job(round), destination(round)])),
      jobs: Object.fromEntries(
        rounds.map((round) => [
          job(round),
          {
            sources: [{ type: 'files', paths: [round.data] }],
            destinations: [job(round)],
            compression: { type: 'zstd', level: 3 },
          },
        ]),
      ),
    };
  }
}

const job = (round: Round): string => `${round.set}-${round.number}`;
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, HOLDFAST_PASSPHRASE: 'bench passphrase' });
