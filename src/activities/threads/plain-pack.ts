import { writeFileSync } from 'node:fs';
import { type Codec, compressReusing } from '../../repository/codec.js';
import type { PackBuilder } from '../../repository/pack-writer.js';
import { type PlainPack, spoolFiles } from './spool-files.js';

/** Writes a filled pack, compressed, to the run's `plain` folder and empties the builder. */
export function writePlainPack(
  run: string,
  name: string,
  kind: PlainPack['kind'],
  builder: PackBuilder,
  codec: Codec,
): PlainPack {
  const tar = builder.finish();
  const compressed = compressReusing(tar, codec);
  writeFileSync(spoolFiles.plainPack(run, name), compressed, { mode: 0o600 });
  const pack: PlainPack = {
    name,
    kind,
    plain: tar.length,
    compressed: compressed.length,
    content: builder.contentBytes,
    chunks: builder.places,
  };
  builder.reset();
  return pack;
}
