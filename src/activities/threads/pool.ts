import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { collectAll } from '../../platform/collect.js';
import { warmSealing } from '../../repository/seal.js';
import { type Answer, unpack } from './answer.js';
import { type Counts, newChannel, readCounts, stopTask, type TaskChannel } from './progress.js';
import { SoonFirst, soon } from './task-queue.js';
import type * as Tasks from './tasks.js';

type TaskName = keyof typeof Tasks;
type TaskInput<N extends TaskName> = Parameters<(typeof Tasks)[N]>[0];
type TaskOutput<N extends TaskName> = Awaited<ReturnType<(typeof Tasks)[N]>> extends Answer<infer T> ? T : never;

let pool: Piscina | undefined;

function threads(): Piscina {
  pool ??= new Piscina({
    filename: fileURLToPath(new URL('./tasks.js', import.meta.url)),
    minThreads: 2,
    maxThreads: Math.max(2, Math.min(availableParallelism(), 8)),
    idleTimeout: 60_000,
    taskQueue: new SoonFirst(),
    // Lines and file names die young; without a limit each thread keeps tens of megabytes for them.
    resourceLimits: { maxYoungGenerationSizeMb: 12 },
  });
  return pool;
}

/** The tasks of one activity: they stop together and their counters add up. */
export class TaskGroup {
  private readonly channels: TaskChannel[] = [];
  private stopped = false;

  constructor(private readonly signal: AbortSignal) {
    signal.addEventListener('abort', () => this.stop(), { once: true });
  }

  /** Runs a task in a worker thread; rejects with HoldfastError where the task threw one. */
  async run<N extends TaskName>(
    name: N,
    input: Omit<TaskInput<N>, 'channel'>,
    transferList: (MessagePort | ArrayBuffer)[] = [],
  ): Promise<TaskOutput<N>> {
    const channel = newChannel();
    this.channels.push(channel);
    if (name !== 'rehearseTask') rehearsal?.abort();
    if (this.stopped || this.signal.aborted) stopTask(channel);
    const task = { ...input, channel, ...(name === 'sealTask' || name === 'listTask' ? soon : {}) };
    return unpack((await threads().run(task, { name, transferList })) as Answer<TaskOutput<N>>);
  }

  get counts(): Counts {
    return readCounts(this.channels);
  }

  /** Calls `also` when the group is stopped. */
  onStop(also: () => void): void {
    this.signal.addEventListener('abort', also, { once: true });
  }

  stop(): void {
    this.stopped = true;
    for (const channel of this.channels) stopTask(channel);
  }
}

/** Loads in both standing threads what a backup needs, so that its first seconds do not go into it. */
export async function warmPool(): Promise<void> {
  const group = new TaskGroup(new AbortController().signal);
  await Promise.all([group.run('warmTask', {}), group.run('warmTask', {})]);
}

/** Gives back what is dead in this thread and in the standing ones: else what one kind of work left is held beside what the next needs. */
export async function collectGarbage(): Promise<void> {
  const group = new TaskGroup(new AbortController().signal);
  const threads = Promise.all([group.run('collectTask', {}), group.run('collectTask', {})]);
  collectAll();
  await threads;
}

let rehearsal: AbortController | undefined;

/** Runs the code of a backup in both standing threads, and what encrypts here, until it is compiled or there is real work. */
export async function rehearse(folder: string): Promise<void> {
  rehearsal = new AbortController();
  const { signal } = rehearsal;
  rmSync(folder, { recursive: true, force: true });
  const group = new TaskGroup(signal);
  const tasks = ['a', 'b'].map((name) => group.run('rehearseTask', { folder: path.join(folder, name) }));
  const results = await Promise.allSettled(tasks);
  rmSync(folder, { recursive: true, force: true });
  const failure = results.find((result) => result.status === 'rejected');
  if (signal.aborted) return;
  if (failure?.status === 'rejected') throw failure.reason;
  await warmSealing();
}

export async function closePool(): Promise<void> {
  rehearsal?.abort();
  await pool?.close({ force: true });
  pool = undefined;
}
