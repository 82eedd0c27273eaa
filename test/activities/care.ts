import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as CheckModule from '../../src/activities/check-run.js';
import type * as CopyModule from '../../src/activities/copy-run.js';
import type * as OpenModule from '../../src/activities/open-repository.js';
import type * as PinsModule from '../../src/activities/pins.js';
import type * as PruneModule from '../../src/activities/prune-run.js';
import type { Destination } from '../../src/destinations/destination.js';
import type { CheckDocument, CheckInput, PruneDestination } from '../../src/workflows/care-types.js';
import type { Backups } from './backups.js';

const built = <T>(file: string): Promise<T> =>
  import(pathToFileURL(path.resolve(import.meta.dirname, '../../dist', file)).href) as Promise<T>;
const signal = new AbortController().signal;
let runs = 0;

/** As the workflow `prune` goes about it. */
export async function prune(
  backups: Backups,
  options: { trustClock?: boolean; only?: string } = {},
): Promise<PruneDestination[]> {
  const { pruneAt, pruneBegin, pruneEnd } = await built<typeof PruneModule>('activities/prune-run.js');
  const { host } = backups;
  const { only, ...trust } = options;
  const input = { host: 'web-1', job: 'site', ...trust, sig: '' };
  const run = `prune/web-1/site/${++runs}`;
  try {
    const { destinations, skipped } = await pruneBegin(host, input, run, signal);
    const done = [...skipped];
    for (const name of destinations) {
      if (only === undefined || name === only)
        done.push(await pruneAt(host, input, run, name, signal, () => undefined));
    }
    return done;
  } finally {
    pruneEnd(host, input, run);
  }
}

/** As the workflow `check` goes about it. */
export async function check(backups: Backups, change: Partial<CheckInput> = {}): Promise<CheckDocument> {
  const steps = await built<typeof CheckModule>('activities/check-run.js');
  const { host } = backups;
  const input = { host: 'web-1', job: 'site', readData: 0, repair: false, sig: '', ...change };
  const run = `check/web-1/site/${++runs}`;
  const none = (): undefined => undefined;
  try {
    const { slices } = await steps.checkList(host, input, run, signal, none);
    for (const slice of slices) await steps.checkRead(host, input, run, slice, signal, none);
    if (input.repair) await steps.checkRepair(host, input, run, signal, none);
    return await steps.checkFinish(host, input, run, new Date().toISOString(), signal);
  } finally {
    steps.checkCleanUp(host, input, run);
  }
}

/** As the workflow `copy` goes about it. */
export async function copy(backups: Backups, from: string, to: string): Promise<CopyModule.CopyFinished> {
  const { copyMissing, finishCopy, planCopy } = await built<typeof CopyModule>('activities/copy-run.js');
  const { host } = backups;
  const input = { host: 'web-1', job: 'site', from, to, sig: '' };
  await planCopy(host, input, signal);
  const { damaged } = await copyMissing(host, input, `copy/web-1/site/${++runs}`, signal, () => undefined);
  return finishCopy(host, input, damaged, signal);
}

/** Pins a snapshot, or takes the pin away. */
export async function pin(backups: Backups, snapshot: string, pinned = true): Promise<PinsModule.PinResult> {
  const { pinSnapshot, unpinSnapshot } = await built<typeof PinsModule>('activities/pins.js');
  const { openRepository } = await built<typeof OpenModule>('activities/open-repository.js');
  const target = await openRepository(backups.host, 'site', { sync: true });
  return pinned ? pinSnapshot(target, snapshot, 'for the test') : unpinSnapshot(target, snapshot);
}

/** A power cut after so many writes: from then on every operation fails. */
export class PowerCut extends Error {}

/** Lets `writes` puts and deletes through and cuts the power then; returns how to restore it and how many were made. */
export function cutPowerAfter(backups: Backups, writes: number): { restore(): void; count(): number } {
  const { host } = backups;
  const real = host.destination.bind(host);
  let count = 0;
  host.destination = async (...args) => {
    const destination = await real(...args);
    return new Proxy<Destination>(destination, {
      get(target, property) {
        const value: unknown = Reflect.get(target, property);
        if (typeof value !== 'function') return value;
        if (property !== 'put' && property !== 'delete') return value.bind(target) as unknown;
        return async (...given: unknown[]): Promise<unknown> => {
          if (count >= writes) throw new PowerCut('the power is gone');
          count++;
          return (value as (...all: unknown[]) => Promise<unknown>).apply(target, given);
        };
      },
    });
  };
  return {
    restore() {
      host.destination = real;
    },
    count: () => count,
  };
}
