import type { Catalog, ChunkLocation } from './catalog.js';

/** Answers where chunks may be taken from, within the indexes of one snapshot. */
export class Scope {
  private readonly allowed = new Map<number, string | undefined>();
  private readonly stores = new Map<string, boolean>();
  private readonly indexes: ReadonlySet<string>;

  /**
   * @param own the index being written: its packs count even while they are only in the spool.
   * @param stored when true, packs of other indexes count only if some destination lists them and no mark is on them.
   */
  constructor(
    private readonly catalog: Catalog,
    indexes: Iterable<string>,
    private readonly own: string | undefined,
    private readonly stored: boolean,
  ) {
    this.indexes = catalog.expand(own === undefined ? indexes : [...indexes, own]);
  }

  has(id: string): boolean {
    const { filter } = this.catalog;
    if (filter && !filter.mayHave(id)) return false;
    return this.catalog.packNumbers(id).some((pack) => this.packHash(pack) !== undefined);
  }

  /** Hashes of the packs in scope that hold the chunk. */
  packs(id: string): string[] {
    return this.catalog.packNumbers(id).flatMap((pack) => this.packHash(pack) ?? []);
  }

  /** Every place in scope that holds the chunk, those known to be stored somewhere first. */
  locate(id: string): ChunkLocation[] {
    const places: ChunkLocation[] = [];
    for (const { pack, at, length } of this.catalog.locateNumbers(id)) {
      const hash = this.packHash(pack);
      if (hash !== undefined) places.push({ pack: hash, offset: at, length });
    }
    if (places.length < 2) return places;
    const isStored = ({ pack }: ChunkLocation): boolean => this.isStored(pack);
    return [...places.filter(isStored), ...places.filter((place) => !isStored(place))];
  }

  /** Whether any destination was known to hold the pack when it was first asked. */
  isStored(pack: string): boolean {
    let stored = this.stores.get(pack);
    if (stored === undefined) {
      stored = this.catalog.holders(this.catalog.objectOf(pack)).length > 0;
      this.stores.set(pack, stored);
    }
    return stored;
  }

  /** The pack's hash when it is in scope. */
  private packHash(no: number): string | undefined {
    if (this.allowed.has(no)) return this.allowed.get(no);
    const row = this.catalog.packByNumber(no);
    const listed = this.catalog.indexesOf(no).filter((index) => this.indexes.has(index));
    const fine =
      row !== undefined &&
      listed.length > 0 &&
      (!this.stored ||
        (this.own !== undefined && listed.includes(this.own)) ||
        (!this.catalog.isMarked(row.hash) && this.catalog.holders(this.catalog.objectOf(row.hash)).length > 0));
    const hash = fine ? row.hash : undefined;
    this.allowed.set(no, hash);
    return hash;
  }
}
