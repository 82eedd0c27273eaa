import type { Catalog, ChunkLocation } from '../catalog.js';
import { packName } from '../layout.js';
import { scopeOf } from '../reader.js';
import type { Root } from '../root.js';
import type { Scope } from '../scope.js';

/** Chooses the pack each chunk comes from: within the snapshot's indexes, one that is used anyway, one known to be stored. */
export class ChunkFinder {
  /** Packs in use, in the order of their first use: their numbers. */
  readonly packs: string[] = [];
  readonly scope: Scope;
  private readonly numbers = new Map<string, number>();
  private readonly stored = new Map<string, boolean>();

  constructor(
    private readonly catalog: Catalog,
    root: Root,
    private readonly bad: ReadonlySet<string> = new Set(),
  ) {
    this.scope = scopeOf(catalog, root);
  }

  /** Where to take a chunk from, `prefer` above others where it has it; undefined when no pack in scope holds it. */
  find(id: string, prefer?: string): ChunkLocation | undefined {
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
      const rank = (this.isStored(place.pack) ? 3 : 0) + used;
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

  private isStored(pack: string): boolean {
    let stored = this.stored.get(pack);
    if (stored === undefined) {
      stored = this.catalog.holders(packName(pack)).length > 0;
      this.stored.set(pack, stored);
    }
    return stored;
  }
}
