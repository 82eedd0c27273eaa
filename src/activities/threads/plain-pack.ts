import { renameSync, writeFileSync } from 'node:fs';
import { type Codec, compressPack } from '../../repository/codec.js';
import type { PackBuilder } from '../../repository/pack-writer.js';
import { type RepositoryKey, sealPackBytes } from '../../repository/seal.js';
import { writeJson } from './line-writer.js';
import { type PlainPack, type SealedPack, spoolFiles } from './spool-files.js';

/** Writes a filled pack, compressed, and the list of its chunks to the run's `plain` folder and empties the builder. */
export function writePlainPack(
  run: string,
  name: string,
  kind: PlainPack['kind'],
  builder: PackBuilder,
  codec: Codec,
): PlainPack {
  const { pack, compressed } = filled(run, name, kind, builder, codec);
  writeFileSync(spoolFiles.plainPack(run, name), compressed, { mode: 0o600 });
  builder.reset();
  return pack;
}

/** As `writePlainPack`, but what comes to the disk is the stored form, in `packs`, and its mark. */
export async function writeSealedPack(
  run: string,
  name: string,
  kind: PlainPack['kind'],
  builder: PackBuilder,
  codec: Codec,
  key: RepositoryKey | undefined,
): Promise<PlainPack> {
  const { pack, compressed } = filled(run, name, kind, builder, codec);
  const temporary = spoolFiles.pack(run, `.${name}-${process.pid}.tmp`);
  const { sha256, bytes } = await sealPackBytes(key, compressed, temporary);
  renameSync(temporary, spoolFiles.pack(run, sha256));
  writeJson(spoolFiles.sealedMark(run, name), { pack: sha256, size: bytes, kind } satisfies SealedPack);
  builder.reset();
  return pack;
}

/** `compressed` is valid until the next pack is compressed. */
function filled(
  run: string,
  name: string,
  kind: PlainPack['kind'],
  builder: PackBuilder,
  codec: Codec,
): { pack: PlainPack; compressed: Uint8Array } {
  const tar = builder.finish();
  writeJson(spoolFiles.packChunks(run, name), builder.places);
  const compressed = compressPack(tar, codec);
  const { contentBytes: content } = builder;
  return { pack: { name, kind, plain: tar.length, compressed: compressed.length, content }, compressed };
}
