import type { Catalog, ChunkLocation } from '../catalog.js';
import { scopeOf } from '../reader.js';
import type { Root } from '../root.js';
import type { Scope } from '../scope.js';
import { type ChunkPlaceNumbers, loadChunks } from './chunk-table.js';

/** Chooses the pack each chunk comes from: within the snapshot's indexes, one that is used anyway, one known to be stored. */
export class ChunkFinder {
  /** Packs in use, in the order of their first use: their numbers. */
  readonly packs: string[] = [];
  readonly scope: Scope;
  private readonly numbers = new Map<string, number>();
  private readonly indexes: ReadonlySet<string>;
  /** The catalog's pack numbers to hashes, of packs in scope. */
  private readonly hashes = new Map<number, string | undefined>();
  private table: Map<string, ChunkPlaceNumbers | null> | undefined;

  /** `bad` packs are not chosen. */
  constructor(
    private readonly catalog: Catalog,
    root: Root,
    private readonly bad: ReadonlySet<string> = new Set(),
  ) {
    this.scope = scopeOf(catalog, root);
    this.indexes = catalog.expand(root.indexes);
    catalog.db.pragma('mmap_size = 1073741824');
  }

  /** Reads all chunks into memory where they are few enough: for when most of them will be asked for. */
  preload(): void {
    this.table = loadChunks(this.catalog);
  }

  /** Where to take a chunk from, `prefer` above others where it has it; undefined when no pack in scope holds it. */
  find(id: string, prefer?: string): ChunkLocation | undefined {
    const known = this.table?.get(id);
    if (known) {
      const pack = this.hashOf(known.pack);
      return pack === undefined || this.bad.has(pack) ? undefined : { pack, offset: known.at, length: known.length };
    }
    const places = this.scope.locate(id);
    if (places.length === 1) {
      const only = places[0]!;
      return this.bad.has(only.pack) ? undefined : only;
    }
    let best: ChunkLocation | undefined;
    let bestRank = -1;
    for (const place of places) {
      if (this.bad.has(place.pack)) continue;
      const used = place.pack === prefer ? 2 : this.numbers.has(place.pack) ? 1 : 0;
      const rank = (this.scope.isStored(place.pack) ? 3 : 0) + used;
      if (rank > bestRank) {
        best = place;
        bestRank = rank;
      }
    }
    return best;
  }

  /** The pack's number, given at first use. */
  use(pack: string): number {
    let number = this.numbers.get(pack);
    if (number === undefined) {
      number = this.packs.push(pack) - 1;
      this.numbers.set(pack, number);
    }
    return number;
  }

  private hashOf(number: number): string | undefined {
    if (this.hashes.has(number)) return this.hashes.get(number);
    const listed = this.catalog.indexesOf(number).some((index) => this.indexes.has(index));
    const hash = listed ? this.catalog.packByNumber(number)?.hash : undefined;
    this.hashes.set(number, hash);
    return hash;
  }
}
