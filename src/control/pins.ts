import type { Logger } from 'pino';
import { Host } from '../activities/host.js';
import { openRepository } from '../activities/open-repository.js';
import { type PinResult, pinSnapshot, unpinSnapshot } from '../activities/pins.js';
import { findJob, type LoadedConfig } from '../config/load.js';
import { resolveSnapshot } from '../repository/snapshots.js';

/** `snapshots pin --json` and `snapshots unpin --json`. */
export interface PinDocument extends PinResult {
  job: string;
  snapshot: string;
  pinned: boolean;
}

/**
 * Pins a snapshot, or takes its pins away, at every destination of the job.
 * @throws HoldfastError `JobUnknown`, `SnapshotUnknown`; what every destination failed with.
 */
export async function setPin(
  loaded: LoadedConfig,
  job: string,
  reference: string,
  change: { pinned: true; reason: string } | { pinned: false },
  log: Logger,
): Promise<PinDocument> {
  const { destinations } = findJob(loaded.config, job);
  const host = new Host(loaded, undefined, log);
  try {
    const target = await openRepository(host, job, { sync: true });
    const snapshot = resolveSnapshot(target.catalog, reference).id;
    const result = change.pinned
      ? await pinSnapshot(target, snapshot, change.reason)
      : await unpinSnapshot(target, snapshot);
    const reached = new Set([...result.destinations, ...result.failed.map(({ name }) => name)]);
    for (const name of destinations) {
      if (!reached.has(name)) result.failed.push({ name, message: `${name} could not be opened` });
    }
    return { job, snapshot, pinned: target.catalog.isPinned(snapshot), ...result };
  } finally {
    await host.close();
  }
}
