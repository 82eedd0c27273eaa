import { setImmediate as breathe } from 'node:timers/promises';
import type { Catalog } from './catalog.js';
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
  /** Ids of the roots, in the order given. */
  roots: string[];
  /** Per root, in the same order: the indexes its chunks resolve in, superseded ones replaced. */
  scopes: string[][];
  /** The first 10,000 of what is missing. */
  unresolved: Unresolved[];
  /** Ids of all snapshots that lack anything. */
  damaged: Set<string>;
}

export interface LivenessOptions {
  signal?: AbortSignal;
  /** Told about every manifest chunk that was looked at. */
  onProgress?: () => void;
  /** Go on behind what cannot be read, and name it; otherwise what reading threw is thrown. Or: behind which errors. */
  tolerant?: boolean | ((error: unknown) => boolean);
  /** Packs that are not to be relied on, though a destination lists them. */
  lost?: ReadonlySet<string>;
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
  const live: Liveness = {
    packs: new Map(),
    indexes: new Set(),
    roots: roots.map(({ id }) => id),
    scopes: [],
    unresolved: [],
    damaged: new Set(),
  };
  const chooser = new Chooser(catalog, options.lost);
  /** Per manifest chunk: the sets of indexes it was resolved in. A scope that holds one of them resolves it the same way. */
  const done = new Map<string, ReadonlySet<string>[]>();
  const scopes = roots.map((root) => ({ root, scope: new RootScope(catalog, root) }));
  live.scopes = scopes.map(({ scope }) => scope.preferred);
  for (const { scope } of scopes) for (const index of scope.preferred) live.indexes.add(index);
  const goesOn = (error: unknown): boolean =>
    typeof options.tolerant === 'function' ? options.tolerant(error) : options.tolerant === true;
  const unread: { root: Root; scope: RootScope; source: string; chunk: string; message: string }[] = [];
  let last = performance.now();
  const lacks = (root: Root, source: string, chunk: string, message?: string): void => {
    live.damaged.add(root.id);
    const entry = { snapshot: root.id, source, chunk };
    if (live.unresolved.length < unresolvedLimit)
      live.unresolved.push(message === undefined ? entry : { ...entry, message });
  };
  /** @returns the indexes that served; undefined where something is missing. */
  const take = (root: Root, scope: RootScope, source: string, ids: Iterable<string>): Set<string> | undefined => {
    const used = new Set<string>();
    let whole = true;
    db.transaction(() => {
      for (const id of ids) {
        const index = chooser.choose(id, scope);
        if (index !== undefined) used.add(index);
        else {
          whole = false;
          lacks(root, source, id);
        }
      }
    })();
    for (const index of used) live.indexes.add(index);
    return whole ? used : undefined;
  };
  for (const { root, scope } of [...scopes].sort((a, b) => a.scope.preferred.length - b.scope.preferred.length)) {
    for (const source of root.sources) {
      for (const { chunk } of source.manifest) {
        options.signal?.throwIfAborted();
        if (done.get(chunk)?.some((used) => [...used].every((index) => scope.isPreferred(index)))) continue;
        let refs: Buffer;
        try {
          refs = catalog.refs(chunk) ?? (await readRefs(catalog, reader, scope, chunk, options.lost));
        } catch (error) {
          if (!goesOn(error) || options.signal?.aborted) throw error;
          const message = error instanceof Error ? error.message : String(error);
          unread.push({ root, scope, source: source.name, chunk, message });
          continue;
        }
        const used = take(root, scope, source.name, chain(chunk, refs));
        // What only an index that was superseded could resolve, or none could, is looked up anew for every root.
        if (used && [...used].every((index) => scope.isPreferred(index)))
          done.set(chunk, [...(done.get(chunk) ?? []), used]);
        options.onProgress?.();
        if (performance.now() - last > breathMs) {
          await breathe();
          last = performance.now();
        }
      }
    }
  }
  for (const { root, scope, source, chunk, message } of unread) {
    lacks(root, source, chunk, message);
    // Another snapshot's copy may have told what it names.
    const refs = catalog.refs(chunk);
    if (refs) take(root, scope, source, idsOf(refs));
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
async function readRefs(
  catalog: Catalog,
  reader: PackReader,
  scope: RootScope,
  chunk: string,
  lost: ReadonlySet<string> | undefined,
): Promise<Buffer> {
  const places = catalog
    .locate(chunk)
    .filter(({ row }) => lost?.has(row.hash) !== true)
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

function* chain(chunk: string, refs: Buffer): Generator<string> {
  yield chunk;
  yield* idsOf(refs);
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

  constructor(
    private readonly catalog: Catalog,
    private readonly lost: ReadonlySet<string> | undefined,
  ) {
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

  /** Rank 0: at no destination, or lost; 1: marked; 2: fine. */
  private factsOf(pack: number): { indexes: string[]; rank: number } {
    let facts = this.facts.get(pack);
    if (!facts) {
      const hash = this.catalog.packByNumber(pack)?.hash ?? '';
      const gone = !isStored(this.catalog, hash) || this.lost?.has(hash) === true;
      const rank = gone ? 0 : this.catalog.isMarked(hash) ? 1 : 2;
      facts = { indexes: this.catalog.indexesOf(pack), rank };
      this.facts.set(pack, facts);
    }
    return facts;
  }
}

/** An index that roots name and that nobody has any more, nor one that took its place. */
export interface LostIndex {
  index: string;
  /** Of the roots that name it. */
  generations: Set<string>;
}

/** Indexes that roots name and that the catalog does not know: which packs they list is not known. */
export function lostIndexes(catalog: Catalog, roots: readonly Root[]): LostIndex[] {
  const known = new Set(catalog.indexes());
  const lost = new Map<string, LostIndex>();
  for (const root of roots) {
    for (const index of catalog.effective(root.indexes)) {
      if (known.has(index)) continue;
      const entry = lost.get(index) ?? { index, generations: new Set() };
      entry.generations.add(root.generation);
      lost.set(index, entry);
    }
  }
  return [...lost.values()];
}
