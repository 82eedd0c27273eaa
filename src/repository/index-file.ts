import { HoldfastError } from '../errors.js';
import { eachLine } from './lines.js';
import { type ChunkPlace, packLimit } from './pack-writer.js';

export type PackKind = 'data' | 'manifest';

/** One pack in an index. */
export interface IndexPack {
  /** SHA-256 of the stored bytes, hex. */
  pack: string;
  kind: PackKind;
  generation: string;
  /** Stored bytes. */
  size: number;
  /** Bytes of its tar. */
  plain: number;
  chunks: ChunkPlace[];
  /** On an index's first line: ids of the indexes whose place it takes. */
  supersedes?: string[];
}

export const indexPackLine = (pack: IndexPack): string => JSON.stringify(pack);
export const indexLimit = 1024 * 1024 * 1024;

/** An index's plain bytes. Put together as bytes: it may be longer than a string can be. */
export function indexBytes(packs: Iterable<IndexPack>, supersedes: readonly string[] = []): Buffer {
  const lines: Buffer[] = [];
  for (const { supersedes: _, ...pack } of packs) {
    const first = lines.length === 0 && supersedes.length > 0;
    lines.push(Buffer.from(`${indexPackLine(first ? { ...pack, supersedes: [...supersedes] } : pack)}\n`, 'utf8'));
  }
  return Buffer.concat(lines);
}

const hex16 = /^[0-9a-f]{16}$/;
const hex64 = /^[0-9a-f]{64}$/;
const isSize = (value: unknown, limit: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= limit;

/**
 * Parses an index's NDJSON, one pack a line.
 * @throws HoldfastError IntegrityMismatch naming the index and the line.
 */
export function* parseIndex(data: Buffer, name: string): Generator<IndexPack> {
  let number = 0;
  for (const line of eachLine(data, name)) {
    number++;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      value = undefined;
    }
    const pack = value as Partial<IndexPack> | undefined | null;
    const fine =
      typeof pack?.pack === 'string' &&
      hex64.test(pack.pack) &&
      (pack.kind === 'data' || pack.kind === 'manifest') &&
      typeof pack.generation === 'string' &&
      isSize(pack.size, packLimit * 2) &&
      isSize(pack.plain, packLimit * 2) &&
      (pack.supersedes === undefined ||
        (number === 1 &&
          Array.isArray(pack.supersedes) &&
          pack.supersedes.every((id) => typeof id === 'string' && hex16.test(id)))) &&
      Array.isArray(pack.chunks) &&
      pack.chunks.every(
        (place) =>
          Array.isArray(place) &&
          typeof place[0] === 'string' &&
          hex64.test(place[0]) &&
          isSize(place[1], pack.plain ?? 0) &&
          isSize(place[2], (pack.plain ?? 0) - place[1]),
      );
    if (!fine) throw new HoldfastError('IntegrityMismatch', `${name} line ${number} is not an index entry`);
    yield pack as IndexPack;
  }
}
