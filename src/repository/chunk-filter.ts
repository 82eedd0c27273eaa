/** Bits for each chunk that is expected: of a hundred that are not there, the catalog is asked about one. */
const bitsPerChunk = 16;
const [leastBits, mostBits] = [23, 27];

/**
 * A Bloom filter over a job's chunk ids, in memory that all threads share: most new chunks are known to be new without
 * asking the catalog. It never proves that a chunk exists.
 */
export class ChunkFilter {
  private readonly words: Int32Array;
  private readonly mask: number;

  constructor(readonly memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory);
    this.mask = memory.byteLength * 8 - 1;
  }

  /** Room for about so many chunks, and half a million at least: with more it is right less often. */
  static for(chunks: number): ChunkFilter {
    const bits = Math.ceil(Math.log2(Math.max(1, chunks * bitsPerChunk)));
    return new ChunkFilter(new SharedArrayBuffer(2 ** Math.min(mostBits, Math.max(leastBits, bits)) / 8));
  }

  add(id: string): void {
    for (let from = 0; from < 21; from += 7) {
      const bit = Number.parseInt(id.slice(from, from + 7), 16) & this.mask;
      Atomics.or(this.words, bit >>> 5, 1 << (bit & 31));
    }
  }

  /** False: the id was never added. True: it may have been. */
  mayHave(id: string): boolean {
    for (let from = 0; from < 21; from += 7) {
      const bit = Number.parseInt(id.slice(from, from + 7), 16) & this.mask;
      if ((this.words[bit >>> 5]! & (1 << (bit & 31))) === 0) return false;
    }
    return true;
  }
}
