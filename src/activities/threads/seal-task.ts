import { renameSync, rmSync, statSync } from 'node:fs';
import { errnoOf, HoldfastError } from '../../errors.js';
import { Catalog } from '../../repository/catalog.js';
import { type RepositoryKey, sealPack } from '../../repository/seal.js';
import { writeJson } from './line-writer.js';
import { Meter, type TaskChannel } from './progress.js';
import { type PlainPack, type SealedPack, spoolFiles } from './spool-files.js';

export interface SealTask {
  channel: TaskChannel;
  run: string;
  pack: PlainPack;
  generation: string;
  index: string;
  catalog: string;
  key: RepositoryKey | undefined;
}

/** Encrypts one pack, names it by its stored bytes and makes its chunks known to later batches. Runs in a worker thread. */
export async function sealTask(task: SealTask): Promise<SealedPack> {
  const meter = new Meter(task.channel);
  const source = spoolFiles.plainPack(task.run, task.pack.name);
  const there = fileSize(source);
  if (there !== task.pack.compressed) {
    throw new HoldfastError('SpoolLost', `${source} has ${there ?? 'no'} bytes instead of ${task.pack.compressed}`);
  }
  const temporary = spoolFiles.pack(task.run, `.${task.pack.name}-${process.pid}.tmp`);
  const { sha256, bytes } = await sealPack(task.key, source, temporary);
  renameSync(temporary, spoolFiles.pack(task.run, sha256));
  const catalog = new Catalog(task.catalog);
  try {
    catalog.addPacks(task.index, [
      {
        pack: sha256,
        kind: task.pack.kind,
        generation: task.generation,
        size: bytes,
        plain: task.pack.plain,
        chunks: task.pack.chunks,
      },
    ]);
  } finally {
    catalog.close();
  }
  const sealed: SealedPack = { pack: sha256, size: bytes, kind: task.pack.kind };
  writeJson(`${source}.sealed`, sealed);
  rmSync(source);
  meter.add('stored', bytes);
  return sealed;
}

function fileSize(file: string): number | undefined {
  try {
    return statSync(file).size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
