import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { collectAll } from '../../platform/collect.js';
import { compressPack, dropPackScratch } from '../../repository/codec.js';
import { warmSealing } from '../../repository/seal.js';
import { closeThreadCatalog, threadCatalog } from './catalogs.js';
import { dropReadBuffer, laneTask } from './lane-task.js';
import { mergeTask } from './merge-task.js';
import { dropPackMemory } from './pack-memory.js';
import type { TaskChannel } from './progress.js';
import { listTask } from './seal-task.js';
import { spoolFiles, spoolFolders } from './spool-files.js';
import { type WalkTask, walkTask } from './walk-task.js';

/** Loads compression and encryption into this thread. Runs in a worker thread. */
export async function warmTask(): Promise<void> {
  compressPack(Buffer.alloc(4096), { type: 'zstd', level: 3 });
  await warmSealing();
}

/** Gives back the memory that this thread keeps for its next pack, and what is dead. Runs in a worker thread. */
export function collectTask(): void {
  dropPackMemory();
  dropReadBuffer();
  dropPackScratch();
  collectAll();
}

const program = fileURLToPath(new URL('../../', import.meta.url));
const passes = 8;
const generation = '0'.repeat(16);

/**
 * Backs up this program's own files to a scratch folder, a few times, so that the first real backup finds its code compiled.
 * Ends with `Stopped` as soon as there is real work. Runs in a worker thread.
 */
export async function rehearseTask(task: { channel: TaskChannel; folder: string }): Promise<void> {
  const catalog = path.join(task.folder, 'catalog.db');
  mkdirSync(task.folder, { recursive: true, mode: 0o700 });
  try {
    let parent: string | undefined;
    for (let pass = 0; pass < passes; pass++) {
      const run = path.join(task.folder, String(pass));
      for (const name of spoolFolders) mkdirSync(path.join(run, name), { recursive: true, mode: 0o700 });
      // Every other pass compares with the one before and finds nothing changed.
      parent = await rehearse(task.channel, run, catalog, `${pass - (pass % 2)}`, pass % 2 === 1 ? parent : undefined);
    }
  } finally {
    closeThreadCatalog(catalog);
    rmSync(task.folder, { recursive: true, force: true });
  }
}

/** One backup of the program; returns its manifest's file. */
async function rehearse(
  channel: TaskChannel,
  run: string,
  catalog: string,
  index: string,
  parent: string | undefined,
): Promise<string> {
  const codec = { type: 'zstd', level: 3 } as const;
  const shared = { channel, run, generation, codec, catalog, indexes: parent ? [index] : [], ownIndex: index };
  const key = { repository: 'warm', key: new Uint8Array(randomBytes(32)) };
  threadCatalog(catalog);
  const { batches } = walkTask({
    channel,
    run,
    source: 0,
    options: { paths: [program], include: [], exclude: [], excludeIfPresent: [], oneFileSystem: false },
    detect: ['size', 'mtime', 'ctime', 'inode'],
    ...(parent === undefined ? {} : { parent }),
    reread: false,
    firstBatch: 0,
    batchBytes: 2 ** 28,
    laneBytes: 2 ** 26,
  } satisfies WalkTask);
  const lanes = batches.flatMap((planned, batch) => planned.lanes.map(({ bytes }, lane) => ({ batch, lane, bytes })));
  for (const lane of lanes) {
    const { packs } = await laneTask({ ...shared, ...lane, seal: { key } });
    listTask({ ...shared, index, packs });
  }
  mergeTask({ ...shared, source: 0, lanes });
  return spoolFiles.manifest(run, 0);
}
