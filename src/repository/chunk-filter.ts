const bits = 26;
const mask = 2 ** bits - 1;

/**
 * A Bloom filter over a job's chunk ids, in memory that all threads share: most new chunks are known to be new without
 * asking the catalog. It never proves that a chunk exists.
 */
export class ChunkFilter {
  private readonly words: Int32Array;

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(2 ** bits / 8)) {
    this.words = new Int32Array(memory);
  }

  add(id: string): void {
    for (let from = 0; from < 21; from += 7) {
      const bit = Number.parseInt(id.slice(from, from + 7), 16) & mask;
      Atomics.or(this.words, bit >>> 5, 1 << (bit & 31));
    }
  }

  /** False: the id was never added. True: it may have been. */
  mayHave(id: string): boolean {
    for (let from = 0; from < 21; from += 7) {
      const bit = Number.parseInt(id.slice(from, from + 7), 16) & mask;
      if ((this.words[bit >>> 5]! & (1 << (bit & 31))) === 0) return false;
    }
    return true;
  }
}
