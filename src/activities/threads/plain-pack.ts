import { writeFileSync } from 'node:fs';
import { type Codec, compressPack } from '../../repository/codec.js';
import type { PackBuilder } from '../../repository/pack-writer.js';
import { writeJson } from './line-writer.js';
import { type PlainPack, spoolFiles } from './spool-files.js';

/** Writes a filled pack, compressed, and the list of its chunks to the run's `plain` folder and empties the builder. */
export function writePlainPack(
  run: string,
  name: string,
  kind: PlainPack['kind'],
  builder: PackBuilder,
  codec: Codec,
): PlainPack {
  const tar = builder.finish();
  writeJson(spoolFiles.packChunks(run, name), builder.places);
  const compressed = compressPack(tar, codec);
  writeFileSync(spoolFiles.plainPack(run, name), compressed, { mode: 0o600 });
  const pack: PlainPack = {
    name,
    kind,
    plain: tar.length,
    compressed: compressed.length,
    content: builder.contentBytes,
  };
  builder.reset();
  return pack;
}
