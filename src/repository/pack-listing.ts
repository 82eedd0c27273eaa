import { HoldfastError } from '../errors.js';
import type { ChunkPlace } from './pack-writer.js';
import { tarHeaderSize, tarMemberSize } from './tar.js';

/** What a pack says of itself. */
export interface PackListing {
  generation: string;
  chunks: ChunkPlace[];
}

const chunkName = /^[0-9a-f]{64}$/;
const sizeText = /^[0-7]{11}$/;

/**
 * Reads a pack's tar by its own headers, for when no index lists it any more. Chunks are not hashed.
 * @throws HoldfastError IntegrityMismatch naming the pack where it is not such a tar.
 */
export function listPack(tar: Buffer, name: string): PackListing {
  const bad = (): HoldfastError => new HoldfastError('IntegrityMismatch', `${name} is not a pack`);
  const chunks: ChunkPlace[] = [];
  let generation: string | undefined;
  for (let at = 0; at + tarHeaderSize <= tar.length && tar[at] !== 0; ) {
    const size = tar.toString('latin1', at + 124, at + 135);
    const length = sizeText.test(size) ? Number.parseInt(size, 8) : Number.NaN;
    const offset = at + tarHeaderSize;
    if (!(offset + length <= tar.length)) throw bad();
    const member = tar.toString('latin1', at, at + 100).replace(/\0.*$/s, '');
    if (generation === undefined) {
      if (member !== 'generation') throw bad();
      generation = tar.toString('latin1', offset, offset + length);
    } else if (chunkName.test(member)) chunks.push([member, offset, length]);
    else throw bad();
    at += tarMemberSize(length);
  }
  if (generation === undefined) throw bad();
  return { generation, chunks };
}
