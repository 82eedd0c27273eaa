import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { HoldfastError } from '../../errors.js';
import { collectYoung } from '../../platform/collect.js';
import { type IndexPack, indexPackLine } from '../../repository/index-file.js';
import type { ChunkPlace } from '../../repository/pack-writer.js';
import { type RepositoryKey, sealPack } from '../../repository/seal.js';
import { fileSize } from '../files.js';
import { threadCatalog } from './catalogs.js';
import { readJson, writeJson } from './line-writer.js';
import { Meter, type TaskChannel } from './progress.js';
import { type PlainPack, type SealedPack, spoolFiles } from './spool-files.js';

interface ListTask {
  channel: TaskChannel;
  run: string;
  generation: string;
  index: string;
  catalog: string;
  filter?: SharedArrayBuffer;
}

export interface SealTask extends ListTask {
  pack: PlainPack;
  key: RepositoryKey | undefined;
}

/** Encrypts one pack, names it by its stored bytes and makes its chunks known to later batches. Runs in a worker thread. */
export async function sealTask(task: SealTask): Promise<SealedPack> {
  const source = spoolFiles.plainPack(task.run, task.pack.name);
  const mark = spoolFiles.sealedMark(task.run, task.pack.name);
  // A worker that died after the mark left a finished pack: encrypting again would store its content twice.
  const known = readJson<SealedPack>(mark);
  const whole = known !== undefined && fileSize(spoolFiles.pack(task.run, known.pack)) === known.size;
  const sealed = whole ? known : await seal(task, source);
  if (!whole) writeJson(mark, sealed);
  list(task, [{ pack: task.pack, sealed }]);
  // Last: while the plain pack is there, the catalog may not know the sealed one.
  rmSync(source, { force: true });
  collectYoung();
  return sealed;
}

/** Makes the chunks of packs that were sealed as they were filled known to later batches. Runs in a worker thread. */
export function listTask(task: ListTask & { packs: PlainPack[] }): void {
  const packs = task.packs.map((pack) => {
    const sealed = readJson<SealedPack>(spoolFiles.sealedMark(task.run, pack.name));
    if (!sealed) throw new HoldfastError('SpoolLost', `pack ${pack.name} is gone from the spool`);
    return { pack, sealed };
  });
  list(task, packs);
}

function list(task: ListTask, packs: { pack: PlainPack; sealed: SealedPack }[]): void {
  const meter = new Meter(task.channel);
  const listed = packs.map(({ pack, sealed }): IndexPack => {
    const chunks = readJson<ChunkPlace[]>(spoolFiles.packChunks(task.run, pack.name));
    if (!chunks) throw new HoldfastError('SpoolLost', `the chunks of pack ${pack.name} are gone from the spool`);
    return {
      pack: sealed.pack,
      kind: pack.kind,
      generation: task.generation,
      size: sealed.size,
      plain: pack.plain,
      chunks,
    };
  });
  threadCatalog(task.catalog, task.filter).addPacks(task.index, listed);
  for (const one of listed) {
    writeFileSync(spoolFiles.indexLine(task.run, one.pack), indexPackLine(one), { mode: 0o600 });
    meter.add('stored', one.size);
  }
}

async function seal(task: SealTask, source: string): Promise<SealedPack> {
  const there = fileSize(source);
  if (there !== task.pack.compressed) {
    throw new HoldfastError('SpoolLost', `${source} has ${there ?? 'no'} bytes instead of ${task.pack.compressed}`);
  }
  const temporary = spoolFiles.pack(task.run, `.${task.pack.name}-${process.pid}.tmp`);
  const { sha256, bytes } = await sealPack(task.key, source, temporary);
  renameSync(temporary, spoolFiles.pack(task.run, sha256));
  return { pack: sha256, size: bytes, kind: task.pack.kind };
}
