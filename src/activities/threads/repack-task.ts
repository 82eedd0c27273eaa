import { readFileSync } from 'node:fs';
import type { Codec } from '../../repository/codec.js';
import { type ChunkPlace, packTarget } from '../../repository/pack-writer.js';
import { chunkAt, openPack } from '../../repository/reader.js';
import type { RepositoryKey } from '../../repository/seal.js';
import { sharedPack } from './pack-memory.js';
import { writePlainPack } from './plain-pack.js';
import { Meter, type TaskChannel } from './progress.js';
import type { PlainPack } from './spool-files.js';

export interface RepackTask {
  channel: TaskChannel;
  run: string;
  /** Begins the names of the packs that are written. */
  name: string;
  kind: 'data' | 'manifest';
  generation: string;
  codec: Codec;
  key: RepositoryKey | undefined;
  /** Packs, as files with their stored bytes, and the chunks to take over from each. */
  sources: { pack: string; file: string; chunks: ChunkPlace[] }[];
}

/** Puts the wanted chunks of several packs into as few new ones. Runs in a worker thread. */
export async function repackTask(task: RepackTask): Promise<PlainPack[]> {
  const meter = new Meter(task.channel);
  const builder = sharedPack(task.generation);
  const packs: PlainPack[] = [];
  const seen = new Set<string>();
  const write = (): void => {
    if (builder.isEmpty) return;
    packs.push(writePlainPack(task.run, `${task.name}-${packs.length}`, task.kind, builder, task.codec));
  };
  for (const { pack, file, chunks } of task.sources) {
    const tar = await openPack(task.key, pack, readFileSync(file));
    for (const [id, at, length] of chunks) {
      if (seen.has(id)) continue;
      seen.add(id);
      const content = chunkAt(tar, pack, id, at, length);
      if (builder.contentBytes + length > packTarget || !builder.fits(length)) write();
      builder.add(id, content);
      meter.add('read', length);
    }
  }
  write();
  return packs;
}
