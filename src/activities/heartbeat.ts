import { Context } from '@temporalio/activity';
import type { HeartbeatDetails, Phase } from '../workflows/types.js';
import type { TaskGroup } from './threads/pool.js';

const everyMs = 500;

/** Heartbeats while `work` runs, with what its threads have counted so far. */
export async function heartbeating<T>(
  phase: Phase,
  group: TaskGroup | undefined,
  extra: () => Partial<HeartbeatDetails>,
  work: () => Promise<T>,
): Promise<T> {
  const context = Context.current();
  const beat = (): void => {
    const counts = group?.counts;
    const details: HeartbeatDetails = {
      phase,
      files: counts?.files ?? 0,
      read: counts?.read ?? 0,
      new: counts?.new ?? 0,
      stored: counts?.stored ?? 0,
      ...extra(),
    };
    context.heartbeat(details);
  };
  const timer = setInterval(beat, everyMs);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
