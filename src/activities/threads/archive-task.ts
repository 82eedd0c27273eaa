import { readFileSync } from 'node:fs';
import { errnoOf, HoldfastError } from '../../errors.js';
import { ArchiveMembers, type ArchiveSource } from '../../repository/archive/members.js';
import { OwnChunks } from '../../repository/archive/own-chunks.js';
import { decompress } from '../../repository/codec.js';
import type { ArchiveFormat } from '../../repository/export/member.js';
import { writeTar } from '../../repository/export/tar-archive.js';
import { writeZip } from '../../repository/export/zip-archive.js';
import { archiveLineChunks, type IndexPack, indexPackLine } from '../../repository/index-file.js';
import { readLines } from '../../repository/lines.js';
import type { ChunkPlace } from '../../repository/pack-writer.js';
import { chunkAt, tarLimit } from '../../repository/reader.js';
import { type RepositoryKey, sealingFile } from '../../repository/seal.js';
import { threadCatalog } from './catalogs.js';
import { LineWriter, readJson } from './line-writer.js';
import { Meter, type TaskChannel } from './progress.js';
import { type LaneResult, spoolFiles } from './spool-files.js';

export interface OwnChunksTask {
  channel: TaskChannel;
  run: string;
  lanes: { batch: number; lane: number }[];
}

/** Notes where in the spool each chunk lies that was read for the archive. Runs in a worker thread. */
export function ownChunksTask({ run, lanes, channel }: OwnChunksTask): void {
  const meter = new Meter(channel);
  OwnChunks.make(spoolFiles.ownChunks(run), packs());

  function* packs(): Generator<readonly [string, ChunkPlace[]]> {
    for (const { batch, lane } of lanes) {
      meter.check();
      const result = readJson<LaneResult>(spoolFiles.laneResult(run, batch, lane));
      if (!result) throw new HoldfastError('SpoolLost', `batch ${batch} is gone from the spool ${run}`);
      for (const { name } of result.packs) {
        const chunks = readJson<ChunkPlace[]>(spoolFiles.packChunks(run, name));
        if (!chunks) throw new HoldfastError('SpoolLost', `the chunks of ${name} are gone from the spool ${run}`);
        yield [name, chunks];
      }
    }
  }
}

export interface ArchiveTask {
  channel: TaskChannel;
  run: string;
  sources: { within: string | undefined; manifest: string; base: string | undefined }[];
  format: ArchiveFormat;
  /** Encrypts tar archives. */
  key: RepositoryKey | undefined;
  /** Encrypts zip files. */
  password: string | undefined;
  about: object;
  /** Where the stored form goes. */
  target: string;
}

export interface ArchiveResult {
  sha256: string;
  /** Stored bytes. */
  bytes: number;
  /** Bytes of all contents. */
  plain: number;
  files: number;
  deleted: number;
  warnings: { code: string; message: string; path: string }[];
}

/** Puts an archive together of what the run has read. Runs in a worker thread. */
export async function archiveTask(task: ArchiveTask): Promise<ArchiveResult> {
  const meter = new Meter(task.channel);
  const own = OwnChunks.open(spoolFiles.ownChunks(task.run));
  const file = sealingFile(task.key, task.target);
  const warnings = new Map<string, { code: string; message: string; path: string; count: number }>();
  const stop = new AbortController();
  try {
    own.reset();
    const members = new ArchiveMembers({
      sources: sourcesOf(task),
      format: task.format,
      own,
      read: chunkReader(task.run, own),
      about: task.about,
      tick: () => meter.check(),
      warn: (code, message, path) => {
        const known = warnings.get(code);
        if (known) known.count++;
        else warnings.set(code, { code, message, path, count: 1 });
      },
    });
    const sink = {
      async write(bytes: Uint8Array): Promise<void> {
        await file.write(bytes);
        meter.add('stored', bytes.length);
      },
    };
    if (task.format === 'zip')
      await writeZip(members.all(), { sink, password: task.password, scratch: task.run, signal: stop.signal });
    else await writeTar(members.all(), sink, task.format === 'tar.gz' ? 'gzip' : 'zstd', stop.signal);
    const { sha256, bytes } = await file.end();
    own.commit();
    const { plain, files, deleted } = members;
    return {
      sha256,
      bytes,
      plain,
      files,
      deleted,
      warnings: [...warnings.values()].map(({ code, message, path, count }) => ({
        code,
        path,
        message: count === 1 ? message : `${message} (${count} of them)`,
      })),
    };
  } catch (error) {
    file.abandon();
    const code = errnoOf(error);
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
    throw new HoldfastError('SpoolFull', `the disk of the spool has no room for the archive (${task.target})`, {
      hint: 'Free some space, or set spool.path to a larger disk; the run goes on by itself.',
      retryAfterMs: 5000,
    });
  } finally {
    own.close();
  }
}

function* sourcesOf({ sources }: ArchiveTask): Generator<ArchiveSource> {
  for (const { within, manifest, base } of sources)
    yield { within, lines: readLines(manifest), base: base === undefined ? undefined : readLines(base) };
}

/** Reads chunks out of the spool's packs, which come in the order of the files; those of the last few packs are at hand. */
function chunkReader(run: string, own: OwnChunks): (id: string) => Promise<Buffer> {
  const open = new Map<string, Buffer>();
  const atHand = 3;
  return async (id) => {
    const place = own.place(id);
    if (!place) throw new HoldfastError('SpoolLost', `chunk ${id} is gone from the spool`);
    let tar = open.get(place.pack);
    if (!tar) {
      const file = spoolFiles.plainPack(run, place.pack);
      tar = decompress(readFileSync(file), tarLimit, file);
      for (const oldest of open.keys()) {
        if (open.size < atHand) break;
        open.delete(oldest);
      }
      open.set(place.pack, tar);
    }
    try {
      return chunkAt(tar, place.pack, id, place.at, place.length);
    } catch (error) {
      throw new HoldfastError('SpoolLost', `the spool's pack ${place.pack} is damaged`, { cause: error });
    }
  };
}

export interface ListArchiveTask {
  channel: TaskChannel;
  run: string;
  catalog: string;
  filter?: SharedArrayBuffer;
  index: string;
  generation: string;
  pack: string;
  name: string;
  size: number;
  plain: number;
}

/** Makes a finished archive known to the catalog, and writes its lines of the index. May be repeated. Runs in a worker thread. */
export function listArchiveTask(task: ListArchiveTask): void {
  const { run, index, generation, pack, name, size, plain } = task;
  const own = OwnChunks.open(spoolFiles.ownChunks(run));
  const lines = new LineWriter(spoolFiles.indexLine(run, pack));
  try {
    const listed = function* (): Generator<IndexPack> {
      for (const chunks of own.placed(archiveLineChunks)) {
        const part: IndexPack = { pack, kind: 'archive', name, generation, size, plain, chunks };
        lines.add(indexPackLine(part));
        yield part;
      }
    };
    threadCatalog(task.catalog, task.filter).addPacks(index, listed());
    lines.finish();
  } catch (error) {
    lines.abandon();
    throw error;
  } finally {
    own.close();
  }
}
