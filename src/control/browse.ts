import type { Logger } from 'pino';
import { Host } from '../activities/host.js';
import { openRepository } from '../activities/open-repository.js';
import type { LoadedConfig } from '../config/load.js';
import { PackReader } from '../repository/reader.js';
import type { Warning } from '../workflows/types.js';
import type { Browser } from './snapshots.js';

export interface OpenBrowser extends Browser {
  /** Destinations that did not answer, damaged indexes and the like. */
  warnings: readonly Warning[];
}

/**
 * Opens a job's repository for looking into it, for as long as `action` takes. Needs no Temporal server.
 *
 * @param sync take in what the destinations hold now; else the catalog alone has to do.
 * @throws HoldfastError: see `openRepository`.
 */
export async function withBrowser<T>(
  loaded: LoadedConfig,
  job: string,
  options: { sync: boolean; log: Logger; signal?: AbortSignal },
  action: (browser: OpenBrowser) => Promise<T>,
): Promise<T> {
  const host = new Host(loaded, undefined, options.log);
  const { sync, signal } = options;
  try {
    const { catalog, stores, key, warnings } = await openRepository(host, job, { sync, ...(signal ? { signal } : {}) });
    const reader = new PackReader({
      key,
      stores,
      holders: (name) => catalog.holders(name),
      ...(signal ? { signal } : {}),
    });
    return await action({ catalog, reader, warnings });
  } finally {
    await host.close();
  }
}
