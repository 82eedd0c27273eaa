import { writeFileSync } from 'node:fs';
import { readContents } from '../../repository/archive/contents.js';
import type { Catalog } from '../../repository/catalog.js';
import { compress } from '../../repository/codec.js';
import { sha256Hex } from '../../repository/hash.js';
import type { ChunkPlace } from '../../repository/pack-writer.js';
import { packTarget } from '../../repository/pack-writer.js';
import { type RepositoryKey, sealBytes } from '../../repository/seal.js';
import { closeThreadCatalog, threadCatalog } from './catalogs.js';
import { sharedPack } from './pack-memory.js';
import { Meter, type TaskChannel } from './progress.js';

interface ContentsTask {
  channel: TaskChannel;
  /** The archive's stored form, on this machine. */
  file: string;
  name: string;
  /** SHA-256 of the stored form, as indexes name it. */
  pack: string;
  key: RepositoryKey | undefined;
  password: string | undefined;
}

export interface HydrateTask extends ContentsTask {
  /** The scratch catalog, with what is wanted of the archive in its table `todo`. */
  catalog: string;
  /** Folder of the packs that are made. */
  packs: string;
  index: string;
}

/**
 * Puts what is wanted of an archive into packs of a scratch repository, from which it is restored as from any other.
 * @returns what is wrong with the archive; chunks that can't be had are in no pack. Runs in a worker thread.
 */
export async function hydrateTask(task: HydrateTask): Promise<string | undefined> {
  const meter = new Meter(task.channel);
  const catalog = threadCatalog(task.catalog);
  const builder = sharedPack('archive');
  const flush = async (): Promise<void> => {
    if (builder.isEmpty) return;
    const tar = builder.finish();
    const stored = await sealBytes(task.key, 'pack', '', compress(tar, { type: 'zstd', level: 1 }));
    const pack = sha256Hex(stored);
    writeFileSync(`${task.packs}/${pack}`, stored, { mode: 0o600 });
    const { places: chunks } = builder;
    const listed = {
      pack,
      kind: 'data',
      generation: 'archive',
      size: stored.length,
      plain: tar.length,
      chunks,
    } as const;
    catalog.addPacks(task.index, [listed]);
    builder.reset();
  };
  try {
    const problem = await readContents({
      ...task,
      places: wantedPlaces(catalog, task.pack),
      tick: () => meter.check(),
      onChunk: async (id, content) => {
        if (!content) return;
        if (!builder.isEmpty && (builder.contentBytes + content.length > packTarget || !builder.fits(content.length)))
          await flush();
        builder.add(id, content);
        meter.add('read', content.length);
      },
    });
    await flush();
    return problem;
  } finally {
    closeThreadCatalog(task.catalog);
  }
}

type Row = { id: Buffer; at: number; length: number };
const pageRows = 1000;

/** What is wanted of an archive, page by page: an archive may hold millions of chunks, and the catalog is written to meanwhile. */
function* wantedPlaces(catalog: Catalog, archive: string): Generator<ChunkPlace> {
  const page = catalog.db.prepare<[string, number, number], Row>(
    'SELECT id, at, length FROM todo WHERE archive = ? AND at > ? ORDER BY at LIMIT ?',
  );
  for (let last = -1; ; ) {
    const rows = page.all(archive, last, pageRows);
    for (const { id, at, length } of rows) yield [id.toString('hex'), at, length];
    if (rows.length < pageRows) return;
    last = rows.at(-1)?.at ?? last;
  }
}

/** All that an index says is in an archive; the connection can't be written to until the end. */
function* listedPlaces(catalog: Catalog, archive: string): Generator<ChunkPlace> {
  const rows = catalog.db
    .prepare<[string], Row>(
      'SELECT id, at, length FROM chunks WHERE pack = (SELECT no FROM packs WHERE hash = ?) ORDER BY at',
    )
    .iterate(archive);
  for (const { id, at, length } of rows) yield [id.toString('hex'), at, length];
}

export interface VerifyArchiveTask extends ContentsTask {
  /** The job's catalog. */
  catalog: string;
}

/**
 * Reads an archive to its end and hashes every chunk that an index says is in it. Runs in a worker thread.
 * @returns what is wrong, and the chunks concerned; undefined when all is well.
 */
export async function verifyArchiveTask(
  task: VerifyArchiveTask,
): Promise<{ message: string; chunks: string[] } | undefined> {
  const meter = new Meter(task.channel);
  const bad: string[] = [];
  const places = listedPlaces(threadCatalog(task.catalog), task.pack);
  let problem: string | undefined;
  try {
    problem = await readContents({
      ...task,
      places,
      tick: () => meter.check(),
      onChunk: (id, content) => {
        if (content) meter.add('read', content.length);
        else bad.push(id);
      },
    });
  } finally {
    places.return(undefined);
  }
  if (problem === undefined && bad.length === 0) return undefined;
  return { message: problem ?? `${bad.length} pieces of its files are damaged`, chunks: bad };
}
