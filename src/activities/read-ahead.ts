import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { LaneTask } from './threads/lane-task.js';
import { TaskGroup } from './threads/pool.js';
import type { LaneResult } from './threads/spool-files.js';
import type { PlannedLane } from './threads/walk-task.js';

/** Lanes read before `compress` asks for them, at most: 256 MiB of source. */
const most = 4;

/**
 * Reads the first lanes while the walk still goes on, so that no core waits for it. What it does is what `compress`
 * would do, into the same files; `compress` takes the result, or does the work itself when there is none.
 */
export class ReadAhead {
  private readonly stopper = new AbortController();
  private readonly group = new TaskGroup(this.stopper.signal);
  private readonly lanes = new Map<string, Promise<LaneResult | undefined>>();
  private started = 0;

  /** A channel whose far end is told of planned lanes. */
  open(describe: (planned: PlannedLane) => Promise<Omit<LaneTask, 'channel'>>): {
    near: MessagePort;
    far: MessagePort;
  } {
    const { port1: near, port2: far } = new MessageChannel();
    near.on('message', (planned: PlannedLane) => {
      if (this.started >= most || this.stopper.signal.aborted) return;
      this.started++;
      const result = describe(planned)
        .then((task) => this.group.run('laneTask', task))
        // Whatever went wrong, `compress` meets it again and reports it.
        .catch(() => undefined);
      this.lanes.set(`${planned.batch}-${planned.lane}`, result);
    });
    return { near, far };
  }

  /** The lane's result when it was read ahead; stops with `group`. */
  async take(batch: number, lane: number, group: TaskGroup): Promise<LaneResult | undefined> {
    const result = this.lanes.get(`${batch}-${lane}`);
    if (!result) return undefined;
    group.onStop(() => this.stop());
    return result;
  }

  stop(): void {
    this.stopper.abort();
  }

  /** Stops, and waits until no thread writes to the spool any more. */
  async settle(): Promise<void> {
    this.stop();
    await Promise.all(this.lanes.values());
  }
}
