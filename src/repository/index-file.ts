import { HoldfastError } from '../errors.js';
import { archiveNameOf, archiveObject } from './layout.js';
import { eachLine } from './lines.js';
import { type ChunkPlace, packLimit } from './pack-writer.js';

/** `archive`: a file that people know by its name; chunks are pieces of its files' contents, one file behind the other. */
export type PackKind = 'data' | 'manifest' | 'archive';

/** One pack in an index. */
export interface IndexPack {
  /** SHA-256 of the stored bytes, hex. */
  pack: string;
  kind: PackKind;
  /** An archive's name in `archives/`. */
  name?: string;
  generation: string;
  /** Stored bytes. */
  size: number;
  /** Bytes of its tar; of an archive, those of its files' contents together. */
  plain: number;
  chunks: ChunkPlace[];
  /** On an index's first line: ids of the indexes whose place it takes. */
  supersedes?: string[];
}

export const indexPackLine = (pack: IndexPack): string => JSON.stringify(pack);

/** So many chunks of an archive stand on one line; the rest follow on further lines of the same pack. */
export const archiveLineChunks = 50_000;

function* inLines(pack: IndexPack): Generator<IndexPack> {
  if (pack.kind !== 'archive' || pack.chunks.length <= archiveLineChunks) {
    yield pack;
    return;
  }
  for (let at = 0; at < pack.chunks.length; at += archiveLineChunks)
    yield { ...pack, chunks: pack.chunks.slice(at, at + archiveLineChunks) };
}
export const indexLimit = 1024 * 1024 * 1024;

/** An index's plain bytes. Put together as bytes: it may be longer than a string can be. */
export function indexBytes(packs: Iterable<IndexPack>, supersedes: readonly string[] = []): Buffer {
  const lines: Buffer[] = [];
  for (const { supersedes: _, ...pack } of packs) {
    for (const part of inLines(pack)) {
      const first = lines.length === 0 && supersedes.length > 0;
      lines.push(Buffer.from(`${indexPackLine(first ? { ...part, supersedes: [...supersedes] } : part)}\n`, 'utf8'));
    }
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
      (pack.kind === 'data' || pack.kind === 'manifest' || pack.kind === 'archive') &&
      (pack.kind === 'archive') === (pack.name !== undefined) &&
      (pack.name === undefined ||
        (typeof pack.name === 'string' && archiveNameOf(archiveObject(pack.name)) === pack.name)) &&
      typeof pack.generation === 'string' &&
      isSize(pack.size, pack.kind === 'archive' ? Number.MAX_SAFE_INTEGER : packLimit * 2) &&
      isSize(pack.plain, pack.kind === 'archive' ? Number.MAX_SAFE_INTEGER : packLimit * 2) &&
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
