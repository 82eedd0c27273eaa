import { HoldfastError } from '../errors.js';
import { closeAbandoned, isOpen } from './begin.js';
import type { Host } from './host.js';

/**
 * Takes the job's lock for something other than a backup. A closed run's lock is free.
 * @throws HoldfastError JobBusy while another run has it; tried again when `wait`.
 */
export async function takeJobLock(host: Host, job: string, run: string, wait: boolean): Promise<void> {
  for (;;) {
    const held = host.history.lock(job);
    if (!held || held.owner === run) {
      if (host.history.takeLock(job, run)) return;
      continue;
    }
    if (await isOpen(host, held.owner)) {
      throw new HoldfastError('JobBusy', `job ${job} is in use by ${held.owner}`, {
        hint: `Wait for its end: holdfast runs watch ${held.owner}`,
        retryable: wait,
        ...(wait ? { retryAfterMs: 5000 } : {}),
      });
    }
    closeAbandoned(host, held.owner);
    if (host.history.takeLock(job, run, held.owner)) return;
  }
}
