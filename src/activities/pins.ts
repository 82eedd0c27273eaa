import { HoldfastError } from '../errors.js';
import type { Catalog } from '../repository/catalog.js';
import { pinName } from '../repository/layout.js';
import type { RepositoryKey } from '../repository/seal.js';
import { type Store, sealMeta } from '../repository/store.js';

/** A job's repository where pins are put: its catalog, its destinations, its key. */
export interface PinTarget {
  catalog: Catalog;
  stores: readonly Store[];
  key: RepositoryKey | undefined;
}

export interface PinResult {
  /** Where it is done. */
  destinations: string[];
  /** Where it is not, and why. */
  failed: { name: string; message: string }[];
}

/**
 * Pins a snapshot: no retention removes it any more. The pin is an object of its own at every destination that answers, so
 * that it outlives this host; one anywhere is enough. Pinning again replaces the reason.
 * @throws HoldfastError what the last destination failed with, when none took the pin.
 */
export async function pinSnapshot(
  target: PinTarget,
  snapshot: string,
  reason: string,
  signal?: AbortSignal,
): Promise<PinResult> {
  const name = pinName(snapshot);
  const pin = { format: 1, snapshot, time: new Date().toISOString(), reason };
  const bytes = await sealMeta(target.key, 'pin', name, Buffer.from(`${JSON.stringify(pin)}\n`, 'utf8'));
  return everywhere(target, signal, async (store) => {
    await store.destination.put(store.key(name), { bytes }, signal ? { signal } : {});
    target.catalog.addPresence(store.name, name, bytes.length);
  });
}

/**
 * Takes a snapshot's pins away. A destination that does not answer keeps its own, and with it the snapshot stays pinned.
 * @throws HoldfastError as `pinSnapshot`.
 */
export async function unpinSnapshot(target: PinTarget, snapshot: string, signal?: AbortSignal): Promise<PinResult> {
  const name = pinName(snapshot);
  return everywhere(target, signal, async (store) => {
    await store.destination.delete(store.key(name), signal);
    target.catalog.dropPresence(store.name, name);
  });
}

async function everywhere(
  { stores }: PinTarget,
  signal: AbortSignal | undefined,
  work: (store: Store) => Promise<void>,
): Promise<PinResult> {
  const result: PinResult = { destinations: [], failed: [] };
  let last: HoldfastError | undefined;
  for (const store of stores) {
    try {
      // Below an unmounted disk's mount point there is a folder, too.
      if ((await store.keyFile(signal)) === undefined)
        throw new HoldfastError('DestinationLost', `${store.name}: there is no repository at ${store.prefix}`);
      await work(store);
      result.destinations.push(store.name);
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof HoldfastError)) throw error;
      last = error;
      result.failed.push({ name: store.name, message: error.message });
    }
  }
  if (result.destinations.length === 0 && last) throw last;
  return result;
}
