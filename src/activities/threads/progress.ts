/** Counters that a thread's task shares with the activity that waits for it. */
export const counters = ['files', 'read', 'new', 'stored', 'skipped', 'failed'] as const;
export type Counter = (typeof counters)[number];

/** Shared memory of one task: counters it writes, and the order to stop it reads. */
export interface TaskChannel {
  counts: SharedArrayBuffer;
  stop: SharedArrayBuffer;
}

export const newChannel = (): TaskChannel => ({
  counts: new SharedArrayBuffer(counters.length * 8),
  stop: new SharedArrayBuffer(4),
});

/** The task's end of a channel. */
export class Meter {
  private readonly counts: Float64Array;
  private readonly stop: Int32Array;

  constructor(channel: TaskChannel) {
    this.counts = new Float64Array(channel.counts);
    this.stop = new Int32Array(channel.stop);
  }

  add(counter: Counter, amount: number): void {
    const at = counters.indexOf(counter);
    this.counts[at] = (this.counts[at] ?? 0) + amount;
  }

  get stopped(): boolean {
    return Atomics.load(this.stop, 0) !== 0;
  }

  /** Throws when the activity was cancelled. */
  check(): void {
    if (this.stopped) throw new Stopped();
  }
}

/** Thrown by a task whose activity was cancelled. */
export class Stopped extends Error {
  constructor() {
    super('stopped');
    this.name = 'Stopped';
  }
}

export type Counts = Record<Counter, number>;

export function readCounts(channels: Iterable<TaskChannel>): Counts {
  const sum = Object.fromEntries(counters.map((name) => [name, 0])) as Counts;
  for (const channel of channels) {
    const values = new Float64Array(channel.counts);
    counters.forEach((name, at) => {
      sum[name] += values[at] ?? 0;
    });
  }
  return sum;
}

export function stopTask(channel: TaskChannel): void {
  Atomics.store(new Int32Array(channel.stop), 0, 1);
}
