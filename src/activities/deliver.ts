import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../errors.js';
import { commitRun, type SendProgress } from './commit.js';
import type { Host } from './host.js';
import { RunContext, runFolder } from './run-context.js';

export interface DeliverAnswer {
  delivered: string[];
  left: number;
}

/** Brings every snapshot a destination missed to it, oldest first, from the spool or from another destination. */
export async function deliver(
  host: Host,
  job: string,
  destination: string,
  signal: AbortSignal,
  onProgress: SendProgress,
): Promise<DeliverAnswer> {
  const delivered: string[] = [];
  if (!(await pluggedIn(host, destination, signal))) {
    return { delivered, left: host.history.owed(job, destination).length };
  }
  for (const run of host.history.owed(job, destination)) {
    signal.throwIfAborted();
    try {
      const context = RunContext.load(host, run);
      const answer = await commitRun(context, destination, signal, onProgress);
      markDelivered(host, run, destination, answer.healed, answer.healedBytes, context.begun.snapshot);
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'SpoolLost') throw error;
      // What no destination and no spool holds any more cannot be delivered: the next run stores it again.
      host.log.warn({ run, destination, reason: error.message }, 'a missed snapshot cannot be delivered any more');
    }
    host.history.settleDebt(job, destination, run);
    if (!host.history.isOwed(run)) rmSync(runFolder(host.config.spool.path, run), { recursive: true, force: true });
    delivered.push(run);
  }
  return { delivered, left: host.history.owed(job, destination).length };
}

const lookEveryMs = 2000;
/** One activity looks out for so long; then the workflow starts the next. */
const lookOutMs = 3600_000;

/** Waits for a drive that comes and goes; false when it did not come for a long time. */
async function pluggedIn(host: Host, name: string, signal: AbortSignal): Promise<boolean> {
  const config = host.config.destinations[name];
  if (config?.type !== 'local' || config.presence !== 'optional') return true;
  const destination = await host.destination(name, config);
  for (const end = Date.now() + lookOutMs; Date.now() < end; ) {
    try {
      await destination.space(signal);
      return true;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'DestinationMissing') throw error;
    }
    await sleep(lookEveryMs, undefined, { signal });
  }
  return false;
}

function markDelivered(
  host: Host,
  run: string,
  destination: string,
  packs: number,
  bytes: number,
  snapshot: string,
): void {
  const document = host.history.get(run);
  if (!document) return;
  host.history.put(host.config.host, {
    ...document,
    snapshot,
    destinations: document.destinations.map((entry) =>
      entry.name === destination
        ? { ...entry, status: 'healed', packs: entry.packs + packs, bytes: entry.bytes + bytes, error: null }
        : entry,
    ),
  });
}
