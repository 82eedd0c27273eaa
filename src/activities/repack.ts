import { mkdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { DestinationConfig, JobConfig } from '../config/schema.js';
import type { Catalog } from '../repository/catalog.js';
import { indexBytes } from '../repository/index-file.js';
import { indexName, newObjectId, packName } from '../repository/layout.js';
import { liveChunks } from '../repository/liveness.js';
import { isLoss, type PackReader } from '../repository/reader.js';
import { mergeCount, type RepackGroup } from '../repository/repack-plan.js';
import type { RepositoryKey } from '../repository/seal.js';
import { type Store, sealMeta } from '../repository/store.js';
import { codecOf } from './batch.js';
import type { Host } from './host.js';
import { TaskGroup } from './threads/pool.js';
import { spoolFiles } from './threads/spool-files.js';

/** What looking after a job's repository needs of a run. */
export interface CareContext {
  host: Host;
  catalog: Catalog;
  catalogFile: string;
  job: JobConfig;
  jobName: string;
  /** A spool folder with the folders of a run. */
  folder: string;
  destinationConfig(name: string): DestinationConfig;
  store(name: string): Promise<Store>;
  key(): Promise<RepositoryKey | undefined>;
}

/** Source packs taken at once: what they hold fits into a few new ones. */
const batchSize = 16;

/**
 * Writes the needed chunks of the group's packs to new packs, stores these and then an index that supersedes the group's.
 * The old ones are left as they are: nobody refers to them any more once the new index is there. A pack that no destination
 * has whole stays as it is and is added to `lost`.
 *
 * @returns how many packs and indexes were replaced.
 */
export async function repackGroup(
  context: CareContext,
  store: Store,
  reader: PackReader,
  group: RepackGroup,
  lost: Set<string>,
  signal: AbortSignal,
  onProgress: (sent: number, landed?: number) => void,
): Promise<number> {
  const { catalog, folder, host } = context;
  const key = await context.key();
  const index = newObjectId();
  const tasks = new TaskGroup(signal);
  const scratch = path.join(folder, 'repack');
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const filter = await host.filter(context.jobName);
  const written: string[] = [];
  const kept = [...group.keep];
  let replaced = 0;
  for (const kind of ['data', 'manifest'] as const) {
    for (let at = 0; at < group.merge[kind].length; at += batchSize) {
      const sources = [];
      for (const pack of group.merge[kind].slice(at, at + batchSize)) {
        signal.throwIfAborted();
        const file = path.join(scratch, pack);
        try {
          writeFileSync(file, await reader.fetch(pack), { mode: 0o600 });
        } catch (error) {
          if (!isLoss(error)) throw error;
          lost.add(pack);
          kept.push(pack);
          continue;
        }
        sources.push({ pack, file, chunks: liveChunks(catalog, pack) });
        onProgress(0);
      }
      if (sources.length === 0) continue;
      const task = {
        run: folder,
        name: `r${index}-${kind}-${at}`,
        kind,
        generation: group.generation,
        codec: codecOf(context.job.compression),
        key,
        sources,
      };
      const packs = await tasks.run('repackTask', task).catch((error: unknown) => {
        // What was stored is not what its index says: left for `check` to name.
        if (!isLoss(error)) throw error;
        return undefined;
      });
      if (packs) replaced += sources.length;
      else kept.push(...sources.map(({ pack }) => pack));
      for (const { file } of sources) await rm(file, { force: true });
      for (const pack of packs ?? []) {
        const { generation } = group;
        const task = { run: folder, pack, generation, index, catalog: context.catalogFile, filter, key };
        const sealed = await tasks.run('sealTask', task);
        const file = spoolFiles.pack(folder, sealed.pack);
        await store.putPack(sealed.pack, file, { signal, onProgress });
        catalog.addPresence(store.name, packName(sealed.pack), sealed.size);
        onProgress(0, sealed.size);
        written.push(sealed.pack);
      }
    }
  }
  if (replaced === 0 && group.indexes.length < mergeCount) return 0;
  const supersedes = [...new Set([...group.indexes, ...group.indexes.flatMap((old) => catalog.supersededBy(old))])];
  const packs = [...kept, ...written].flatMap((pack) => catalog.indexPack(pack) ?? []);
  const name = indexName(index);
  const bytes = await sealMeta(key, 'index', name, indexBytes(packs, supersedes));
  await store.destination.put(store.key(name), { bytes }, { signal });
  // In this order: an index that the catalog knows to be stored takes the others' place.
  catalog.addPacks(
    index,
    packs.map((pack, at) => (at === 0 ? { ...pack, supersedes } : pack)),
  );
  catalog.addPresence(store.name, name, bytes.length);
  return replaced + group.indexes.length;
}
