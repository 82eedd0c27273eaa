import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { errnoOf, HoldfastError } from '../errors.js';
import { YoungGarbage } from '../platform/collect.js';
import { comparePaths, isBelow } from '../platform/paths.js';
import type { Catalog, ChunkLocation } from './catalog.js';
import { decompress } from './codec.js';
import { sha256Hex } from './hash.js';
import { packName } from './layout.js';
import { splitLines } from './lines.js';
import { packLimit } from './pack-writer.js';
import type { ManifestPart, Root } from './root.js';
import { Scope } from './scope.js';
import { openBytes, type RepositoryKey } from './seal.js';
import type { Store } from './store.js';
import { tarEndSize } from './tar.js';

/** A pack that one destination could not serve. */
export interface PackProblem {
  destination: string;
  pack: string;
  kind: 'damaged' | 'missing' | 'unreachable';
  message: string;
}

export interface PackReaderOptions {
  key: RepositoryKey | undefined;
  /** Destinations in the order to ask them. */
  stores: readonly Store[];
  /** A pack's local copy, asked first; it need not exist. */
  local?: (pack: string) => string;
  /** Destinations known to hold an object: they are asked before the others. */
  holders?: (name: string) => string[];
  /** A pack's stored bytes by number, where known: a longer object is damaged, and takes no more memory than that. */
  sizeOf?: (pack: string) => number | undefined;
  /** Told of every pack that a destination should have had. */
  onProblem?: (problem: PackProblem) => void;
  /** Decompressed packs kept at most, bytes; default 96 MiB. The newest is kept whatever its size. */
  cacheBytes?: number;
  signal?: AbortSignal;
}

/** Whether what was asked for is damaged or gone: asking again does not help. */
export const isLoss = (error: unknown): error is HoldfastError =>
  error instanceof HoldfastError && (error.code === 'IntegrityMismatch' || error.code === 'ObjectMissing');

/** No pack's stored bytes are more. */
export const storedLimit = packLimit + (packLimit >> 3) + (1 << 20);

/** No pack's tar is larger. */
export const tarLimit = packLimit + tarEndSize;

/**
 * Decrypts and decompresses a pack whose stored bytes were checked against its name. IntegrityMismatch names the pack.
 * With `into` the tar may lie there, and what is decrypted takes the place of `stored`.
 */
export async function openPack(
  key: RepositoryKey | undefined,
  pack: string,
  stored: Uint8Array,
  into?: Buffer,
): Promise<Buffer> {
  const name = packName(pack);
  return decompress(await openBytes(key, 'pack', name, stored, into !== undefined), tarLimit, name, into);
}

/** A chunk out of a pack's tar; IntegrityMismatch when its bytes are not what its id says. */
export function chunkAt(tar: Buffer, pack: string, id: string, offset: number, length: number): Buffer {
  const content = tar.subarray(offset, offset + length);
  if (content.length !== length || sha256Hex(content) !== id) {
    throw new HoldfastError('IntegrityMismatch', `chunk ${id} in ${packName(pack)} is damaged`);
  }
  return content;
}

/** Reads packs and chunks from whichever destination has them whole. */
export class PackReader {
  private readonly cache = new Map<string, Promise<Buffer>>();
  private readonly sizes = new Map<string, number>();
  /** Packs that no destination has whole, and why: each is asked for once. */
  private readonly lost = new Map<string, HoldfastError>();

  constructor(private readonly options: PackReaderOptions) {}

  /**
   * A pack's stored bytes, their SHA-256 checked. Damaged or missing at one destination, it is taken from the next.
   * @throws HoldfastError IntegrityMismatch or ObjectMissing naming the pack when no destination has it; a retryable
   * error when one that might have it can't be asked now. The bytes lie in `into` where they fit.
   */
  async fetch(pack: string, into?: Buffer): Promise<Buffer> {
    const problems: PackProblem[] = [];
    let later: HoldfastError | undefined;
    const local = this.readLocal(pack, problems);
    if (local) return local;
    const name = packName(pack);
    for (const store of this.inOrder(name)) {
      this.options.signal?.throwIfAborted();
      try {
        const stored = await this.download(store, name, this.options.sizeOf?.(pack), into);
        if (stored.sha256 === pack) return stored.bytes;
        problems.push({
          destination: store.name,
          pack,
          kind: 'damaged',
          message: `${store.name}: ${store.key(name)} is damaged`,
        });
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code === 'Cancelled') throw error;
        const kind =
          error.code === 'ObjectMissing' ? 'missing' : error.code === 'IntegrityMismatch' ? 'damaged' : 'unreachable';
        if (kind === 'unreachable' && error.retryable) later ??= error;
        problems.push({ destination: store.name, pack, kind, message: error.message });
      }
      const last = problems.at(-1);
      if (last) this.options.onProblem?.(last);
    }
    if (later) throw later;
    const said = problems.map((problem) => problem.message).join('; ');
    const damaged = problems.some((problem) => problem.kind === 'damaged');
    throw new HoldfastError(
      damaged ? 'IntegrityMismatch' : 'ObjectMissing',
      `no destination has ${name} whole${said === '' ? '' : `: ${said}`}`,
      { hint: 'Add a destination that still has it, or restore an older snapshot.', retryable: false },
    );
  }

  /** A pack's tar, from memory where it was read lately. Errors as `fetch`. */
  async open(pack: string): Promise<Buffer> {
    const known = this.cache.get(pack);
    if (known) {
      this.cache.delete(pack);
      this.cache.set(pack, known);
      return known;
    }
    const lost = this.lost.get(pack);
    if (lost) throw lost;
    const opening = this.fetch(pack).then((stored) => openPack(this.options.key, pack, stored));
    this.cache.set(pack, opening);
    try {
      const tar = await opening;
      this.sizes.set(pack, tar.length);
      this.shrink(pack);
      return tar;
    } catch (error) {
      this.cache.delete(pack);
      if (isLoss(error)) this.lost.set(pack, error);
      throw error;
    }
  }

  /** A chunk, checked, from the first of `places` that has it whole. */
  async chunk(id: string, places: readonly ChunkLocation[]): Promise<Buffer> {
    let first: unknown;
    // A pack at hand is better than one to fetch.
    const sorted = [...places].sort((a, b) => Number(this.cache.has(b.pack)) - Number(this.cache.has(a.pack)));
    for (const { pack, offset, length } of sorted) {
      try {
        return chunkAt(await this.open(pack), pack, id, offset, length);
      } catch (error) {
        if (!isLoss(error)) {
          if (error instanceof HoldfastError && error.code !== 'Cancelled') first = error;
          else throw error;
        }
        first ??= error;
      }
    }
    throw first ?? new HoldfastError('IntegrityMismatch', `chunk ${id} is in no pack of the snapshot's indexes`);
  }

  private readLocal(pack: string, problems: PackProblem[]): Buffer | undefined {
    const file = this.options.local?.(pack);
    if (file === undefined) return undefined;
    try {
      const bytes = readFileSync(file);
      if (sha256Hex(bytes) === pack) return bytes;
      problems.push({ destination: 'local', pack, kind: 'damaged', message: `${file} is damaged` });
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    return undefined;
  }

  private inOrder(name: string): readonly Store[] {
    const { stores, holders } = this.options;
    if (!holders || stores.length < 2) return stores;
    const known = new Set(holders(name));
    return [...stores].sort((a, b) => Number(known.has(b.name)) - Number(known.has(a.name)));
  }

  private async download(
    store: Store,
    name: string,
    expected: number | undefined,
    into: Buffer | undefined,
  ): Promise<{ bytes: Buffer; sha256: string }> {
    const { signal } = this.options;
    const memory = into !== undefined && into.length >= (expected ?? 0) ? into : undefined;
    const whole =
      expected === undefined ? undefined : (memory?.subarray(0, expected) ?? Buffer.allocUnsafeSlow(expected));
    const parts: Buffer[] = [];
    const hash = createHash('sha256');
    let size = 0;
    const garbage = new YoungGarbage();
    for await (const part of await store.destination.get(store.key(name), signal ? { signal } : {})) {
      const bytes = part as Buffer;
      if (size + bytes.length > Math.min(storedLimit, expected ?? storedLimit)) {
        throw new HoldfastError('IntegrityMismatch', `${store.name}: ${store.key(name)} is damaged: it is too long`);
      }
      hash.update(bytes);
      if (whole) bytes.copy(whole, size);
      else parts.push(bytes);
      size += bytes.length;
      if (whole) garbage.add(bytes.length);
    }
    if (whole) return { bytes: whole.subarray(0, size), sha256: hash.digest('hex') };
    return { bytes: parts.length === 1 ? parts[0]! : Buffer.concat(parts, size), sha256: hash.digest('hex') };
  }

  private shrink(keep: string): void {
    const limit = this.options.cacheBytes ?? 96 * 1024 * 1024;
    let total = 0;
    for (const pack of this.cache.keys()) total += this.sizes.get(pack) ?? 0;
    for (const pack of this.cache.keys()) {
      if (total <= limit) return;
      if (pack === keep || !this.sizes.has(pack)) continue;
      total -= this.sizes.get(pack) ?? 0;
      this.cache.delete(pack);
      this.sizes.delete(pack);
    }
  }
}

export const partPath = (part: ManifestPart): string | Buffer =>
  part.path64 === undefined ? (part.path ?? '') : Buffer.from(part.path64, 'base64');

/** Whether `path` is `directory` or lies below it; either may be raw bytes. */
export function isWithin(path: string | Buffer, directory: string | Buffer): boolean {
  if (typeof path === 'string' && typeof directory === 'string') return path === directory || isBelow(path, directory);
  const bytes = Buffer.from(path);
  const folder = Buffer.from(directory);
  if (!bytes.subarray(0, folder.length).equals(folder)) return false;
  return bytes.length === folder.length || folder.at(-1) === 0x2f || bytes[folder.length] === 0x2f;
}

/** The parts of a source's manifest that can hold an entry at or below `below`. */
export function partsWithin(parts: readonly ManifestPart[], below: string | Buffer): ManifestPart[] {
  return parts.filter((part, at) => {
    const first = partPath(part);
    if (isWithin(first, below)) return true;
    if (comparePaths(first, below) > 0) return false;
    const next = parts[at + 1];
    return next === undefined || comparePaths(partPath(next), below) > 0 || isWithin(partPath(next), below);
  });
}

/** The parts that can hold the entry at exactly `path`: one, or none. */
export function partsAt(parts: readonly ManifestPart[], path: string | Buffer): ManifestPart[] {
  let low = 0;
  let high = parts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (comparePaths(partPath(parts[middle]!), path) <= 0) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? [] : [parts[low - 1]!];
}

/** @throws HoldfastError PathUnknown when the snapshot has no such source. */
export function manifestOf(root: Root, source: string): readonly ManifestPart[] {
  const found = root.sources.find((candidate) => candidate.name === source);
  if (!found) throw new HoldfastError('PathUnknown', `snapshot ${root.id} has no source ${source}`);
  return found.manifest;
}

/** Where a snapshot's chunks may be taken from: its own indexes alone. */
export const scopeOf = (catalog: Catalog, root: Root): Scope => new Scope(catalog, root.indexes, undefined, false);

/** The lines of one manifest chunk. Errors as `PackReader.chunk`. */
export async function readPart(reader: PackReader, scope: Scope, part: ManifestPart): Promise<string[]> {
  return splitLines(await reader.chunk(part.chunk, scope.locate(part.chunk)));
}

/**
 * One source's manifest lines in order. With `from` only chunks that can hold something at or below that path are
 * read; lines outside of it may come along at both ends.
 */
export async function* readManifest(
  reader: PackReader,
  catalog: Catalog,
  root: Root,
  source: string,
  options: { from?: string | Buffer } = {},
): AsyncGenerator<string> {
  const scope = scopeOf(catalog, root);
  const all = manifestOf(root, source);
  for (const part of options.from === undefined ? all : partsWithin(all, options.from)) {
    yield* await readPart(reader, scope, part);
  }
}
