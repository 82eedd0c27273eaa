import { collectYoung } from '../platform/collect.js';
import { storedLimit } from '../repository/reader.js';

/**
 * Memory for the stored bytes of packs on their way to a thread, shared with it and used again: packs that wait for the garbage
 * collector would add up to hundreds of megabytes.
 */
export class PackSlots {
  private free: SharedArrayBuffer[] = [];
  private used = 0;
  private readonly waiting: (() => void)[] = [];

  /** `most`: packs in memory at once. */
  constructor(private readonly most: number) {}

  /** Calls `work` with memory for one pack, which is another's once `work` has ended. */
  async with<T>(work: (memory: Buffer) => Promise<T>): Promise<T> {
    while (this.used >= this.most) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.used++;
    // Pages that no pack touches take no memory.
    const memory = this.free.pop() ?? new SharedArrayBuffer(storedLimit);
    try {
      return await work(Buffer.from(memory));
    } finally {
      this.used--;
      // The pieces it came in.
      collectYoung();
      if (this.used === 0) this.free = [];
      else this.free.push(memory);
      this.waiting.shift()?.();
    }
  }
}

/** One in each of two threads: a third being fetched would save hardly any time. */
export const packSlots = new PackSlots(2);
