import { setImmediate as breathe } from 'node:timers/promises';
import type { Catalog } from './catalog.js';
import { indexName } from './layout.js';
import type { PackReader } from './reader.js';
import { refsOf } from './refs.js';
import type { Root } from './root.js';

/** A chunk that a snapshot needs and that no pack in its scope holds. */
export interface Unresolved {
  snapshot: string;
  source: string;
  chunk: string;
  /** The manifest itself could not be read on from here. */
  message?: string;
}

/** What a set of roots needs: one copy of every chunk per scope. */
export interface Liveness {
  /** Packs with at least one needed chunk: how many bytes of their content are needed. */
  packs: Map<string, number>;
  /** Indexes that a reader of these roots needs. */
  indexes: Set<string>;
  /** Per root, in the order given: the indexes its chunks resolve in, superseded ones replaced. */
  scopes: string[][];
  unresolved: Unresolved[];
}

export interface LivenessOptions {
  signal?: AbortSignal;
  /** Told about every manifest chunk that was looked at. */
  onProgress?: () => void;
  /** Go on behind what cannot be read, and name it; otherwise what reading threw is thrown. */
  tolerant?: boolean;
}

const breathMs = 20;
const unresolvedLimit = 10_000;
const idBytes = 32;

/**
 * Resolves every chunk of every root within its own scope and chooses one copy for each: one that is stored and bears no
 * mark before others. Which chunks of a pack were chosen is to be asked with `liveChunks` until the next call.
 */
export async function findLive(
  catalog: Catalog,
  reader: PackReader,
  roots: readonly Root[],
  options: LivenessOptions = {},
): Promise<Liveness> {
  const { db } = catalog;
  db.exec(`
    DROP TABLE IF EXISTS temp.live;
    CREATE TEMP TABLE live (pack INTEGER NOT NULL, at INTEGER NOT NULL, length INTEGER NOT NULL, PRIMARY KEY (pack, at)) WITHOUT ROWID;
  `);
  const live: Liveness = { packs: new Map(), indexes: new Set(), scopes: [], unresolved: [] };
  const chooser = new Chooser(catalog);
  /** Per manifest chunk: the sets of indexes it was resolved in. A scope that holds one of them resolves it the same way. */
  const done = new Map<string, ReadonlySet<string>[]>();
  const scopes = roots.map((root) => ({ root, scope: new RootScope(catalog, root) }));
  live.scopes = scopes.map(({ scope }) => scope.preferred);
  for (const { scope } of scopes) for (const index of scope.preferred) live.indexes.add(index);
  let last = performance.now();
  for (const { root, scope } of [...scopes].sort((a, b) => a.scope.preferred.length - b.scope.preferred.length)) {
    for (const source of root.sources) {
      for (const { chunk } of source.manifest) {
        options.signal?.throwIfAborted();
        if (done.get(chunk)?.some((used) => [...used].every((index) => scope.isPreferred(index)))) continue;
        const unresolved = (id: string, message?: string): void => {
          const entry = { snapshot: root.id, source: source.name, chunk: id };
          if (live.unresolved.length < unresolvedLimit)
            live.unresolved.push(message === undefined ? entry : { ...entry, message });
        };
        let refs: Buffer;
        try {
          refs = catalog.refs(chunk) ?? (await readRefs(catalog, reader, scope, chunk));
        } catch (error) {
          if (!options.tolerant || options.signal?.aborted) throw error;
          unresolved(chunk, error instanceof Error ? error.message : String(error));
          continue;
        }
        const used = new Set<string>();
        db.transaction(() => {
          for (const id of [chunk, ...idsOf(refs)]) {
            const index = chooser.choose(id, scope);
            if (index === undefined) unresolved(id);
            else used.add(index);
          }
        })();
        // What only an index that was superseded could resolve is looked up anew for every root.
        if ([...used].every((index) => scope.isPreferred(index))) done.set(chunk, [...(done.get(chunk) ?? []), used]);
        for (const index of used) live.indexes.add(index);
        options.onProgress?.();
        if (performance.now() - last > breathMs) {
          await breathe();
          last = performance.now();
        }
      }
    }
  }
  const sums = db.prepare<[], { pack: number; bytes: number }>(
    'SELECT pack, SUM(length) AS bytes FROM temp.live GROUP BY pack',
  );
  for (const { pack, bytes } of sums.iterate()) {
    const row = catalog.packByNumber(pack);
    if (row) live.packs.set(row.hash, bytes);
  }
  return live;
}

/** The chunks of a pack that the last `findLive` chose, as an index lists them. */
export function liveChunks(catalog: Catalog, pack: string): [id: string, at: number, length: number][] {
  return catalog.db
    .prepare<[string], { id: Buffer; at: number; length: number }>(
      `SELECT chunks.id AS id, chunks.at AS at, chunks.length AS length FROM chunks
       JOIN temp.live ON live.pack = chunks.pack AND live.at = chunks.at
       WHERE chunks.pack = (SELECT no FROM packs WHERE hash = ?) ORDER BY chunks.at`,
    )
    .all(pack)
    .map(({ id, at, length }) => [id.toString('hex'), at, length]);
}

/** The ids that a manifest chunk's entries name, each once. */
async function readRefs(catalog: Catalog, reader: PackReader, scope: RootScope, chunk: string): Promise<Buffer> {
  const places = catalog
    .locate(chunk)
    .filter(({ row }) => catalog.indexesOf(row.no).some((index) => scope.all.has(index)))
    .sort((a, b) => Number(isStored(catalog, b.row.hash)) - Number(isStored(catalog, a.row.hash)))
    .map(({ row, at, length }) => ({ pack: row.hash, offset: at, length }));
  const refs = refsOf(await reader.chunk(chunk, places));
  catalog.putRefs(chunk, refs);
  return refs;
}

function* idsOf(refs: Buffer): Generator<string> {
  for (let at = 0; at + idBytes <= refs.length; at += idBytes) yield refs.toString('hex', at, at + idBytes);
}

const isStored = (catalog: Catalog, pack: string): boolean => catalog.holders(catalog.objectOf(pack)).length > 0;

/** The indexes of one root: those its chunks are to resolve in, and all that may. */
class RootScope {
  readonly preferred: string[];
  readonly all: ReadonlySet<string>;
  private readonly set: ReadonlySet<string>;

  constructor(catalog: Catalog, root: Root) {
    this.preferred = catalog.effective(root.indexes);
    this.set = new Set(this.preferred);
    this.all = catalog.expand(root.indexes);
  }

  isPreferred(index: string): boolean {
    return this.set.has(index);
  }
}

/** Chooses the copy of a chunk that is kept, and notes it in the table `live`. */
class Chooser {
  private readonly facts = new Map<number, { indexes: string[]; rank: number }>();

  constructor(private readonly catalog: Catalog) {
    this.note = catalog.db.prepare('INSERT OR IGNORE INTO temp.live VALUES (?, ?, ?)');
  }
  private readonly note;

  /** @returns the index that lists the chosen pack; undefined where none in scope does. */
  choose(id: string, scope: RootScope): string | undefined {
    let best: { pack: number; at: number; length: number; index: string; rank: number } | undefined;
    for (const { pack, at, length } of this.catalog.locateNumbers(id)) {
      const { indexes, rank } = this.factsOf(pack);
      // A pack that is nowhere holds nothing.
      if (rank === 0) continue;
      const preferred = indexes.find((index) => scope.isPreferred(index));
      const index = preferred ?? indexes.find((other) => scope.all.has(other));
      if (index === undefined) continue;
      const value = rank + (preferred === undefined ? 0 : 2);
      if (best === undefined || value > best.rank || (value === best.rank && pack < best.pack))
        best = { pack, at, length, index, rank: value };
    }
    if (best) this.note.run(best.pack, best.at, best.length);
    return best?.index;
  }

  /** Rank 0: at no destination, 1: marked, 2: fine. */
  private factsOf(pack: number): { indexes: string[]; rank: number } {
    let facts = this.facts.get(pack);
    if (!facts) {
      const hash = this.catalog.packByNumber(pack)?.hash ?? '';
      const rank = !isStored(this.catalog, hash) ? 0 : this.catalog.isMarked(hash) ? 1 : 2;
      facts = { indexes: this.catalog.indexesOf(pack), rank };
      this.facts.set(pack, facts);
    }
    return facts;
  }
}

/** Whether every index that the roots name can be found, itself or what took its place. */
export function missingIndex(catalog: Catalog, roots: readonly Root[]): string | undefined {
  const known = new Set(catalog.indexes());
  for (const root of roots) {
    const lost = catalog.effective(root.indexes).find((index) => !known.has(index));
    if (lost !== undefined) return indexName(lost);
  }
  return undefined;
}
