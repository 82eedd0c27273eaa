import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import { HoldfastError } from '../../errors.js';
import { type Counts, newChannel, readCounts, stopTask, type TaskChannel } from './progress.js';
import type * as Tasks from './tasks.js';

type TaskName = keyof typeof Tasks;
type TaskInput<N extends TaskName> = Parameters<(typeof Tasks)[N]>[0];
type TaskOutput<N extends TaskName> = Awaited<ReturnType<(typeof Tasks)[N]>>;

let pool: Piscina | undefined;

function threads(): Piscina {
  pool ??= new Piscina({
    filename: fileURLToPath(new URL('./tasks.js', import.meta.url)),
    minThreads: 1,
    maxThreads: Math.max(2, Math.min(availableParallelism(), 8)),
    idleTimeout: 60_000,
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
  async run<N extends TaskName>(name: N, input: Omit<TaskInput<N>, 'channel'>): Promise<TaskOutput<N>> {
    const channel = newChannel();
    this.channels.push(channel);
    if (this.stopped || this.signal.aborted) stopTask(channel);
    try {
      return (await threads().run({ ...input, channel }, { name })) as TaskOutput<N>;
    } catch (error) {
      throw revived(error);
    }
  }

  get counts(): Counts {
    return readCounts(this.channels);
  }

  stop(): void {
    this.stopped = true;
    for (const channel of this.channels) stopTask(channel);
  }
}

/** Errors lose their class on the way from a thread; their fields stay. */
function revived(error: unknown): unknown {
  if (error instanceof Error && error.name === 'HoldfastError' && !(error instanceof HoldfastError)) {
    const plain = error as Partial<HoldfastError> & Error;
    return new HoldfastError(plain.code ?? 'Internal', error.message, {
      hint: plain.hint,
      file: plain.file,
      key: plain.key,
      retryable: plain.retryable,
      retryAfterMs: plain.retryAfterMs,
    });
  }
  return error;
}

export async function closePool(): Promise<void> {
  await pool?.close({ force: true });
  pool = undefined;
}
