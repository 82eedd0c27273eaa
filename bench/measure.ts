import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

/** What a command cost: wall-clock seconds and the peak of its process tree's resident memory, in bytes. */
export interface Cost {
  seconds: number;
  memory: number;
  stdout: string;
}

export interface Command {
  program: string;
  args: string[];
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Exit codes that count as success; 0 alone when left out. */
  accept?: number[];
}

/** Runs a command from start to exit, sampling the memory of its whole process tree. Throws with its output when it fails. */
export async function run(command: Command): Promise<Cost> {
  const started = process.hrtime.bigint();
  const child = spawn(command.program, command.args, {
    cwd: command.cwd,
    env: { ...process.env, ...command.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => {
    output.stdout += data;
  });
  child.stderr.on('data', (data) => {
    output.stderr = (output.stderr + data).slice(-4000);
  });
  const sampler = new Sampler(child.pid ?? 0);
  const ended = await exitOf(child);
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  const memory = sampler.stop();
  if (!(command.accept ?? [0]).includes(ended)) {
    throw new Error(
      `${command.program} ${command.args.join(' ')} ended with ${ended}\n${output.stdout.slice(-2000)}\n${output.stderr}`,
    );
  }
  return { seconds, memory, stdout: output.stdout };
}

function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? -1));
  });
}

/** Watches a process tree and remembers the highest sum of resident memory, twenty times a second. Linux only: 0 elsewhere. */
export class Sampler {
  #peak = 0;
  #samples = 0;
  #pids: number[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(
    readonly pid: number,
    readonly except: (program: string) => boolean = () => false,
  ) {
    this.#timer = setInterval(() => this.#sample(), 50);
    this.#sample();
  }

  /** Ends the watch and returns the peak in bytes. */
  stop(): number {
    clearInterval(this.#timer);
    return this.#peak;
  }

  #sample(): void {
    if (process.platform !== 'linux') return;
    // Looking for descendants costs a hundred times what looking at them does, at the expense of what is timed.
    if (this.#samples++ % 10 === 0) this.#pids = tree(this.pid).filter((pid) => !this.except(program(pid)));
    const total = this.#pids.reduce((sum, pid) => sum + resident(pid), 0);
    this.#peak = Math.max(this.#peak, total);
  }
}

/** A process and all its descendants that live now. */
export function tree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = parentOf(pid);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const found = [root];
  for (const pid of found) found.push(...(children.get(pid) ?? []));
  return found;
}

function parentOf(pid: number): number {
  // The name in brackets may hold spaces and brackets itself.
  return Number(
    attempt(() => readFileSync(`/proc/${pid}/stat`, 'utf8'), '')
      .split(') ')
      .at(-1)
      ?.split(' ')[1] ?? 0,
  );
}

function resident(pid: number): number {
  const pages = attempt(() => readFileSync(`/proc/${pid}/statm`, 'utf8'), '0 0').split(' ')[1];
  return Number(pages) * 4096;
}

function program(pid: number): string {
  return basename(attempt(() => readlinkSync(`/proc/${pid}/exe`), ''));
}

/** Processes end while they are looked at. */
function attempt<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    return otherwise;
  }
}
