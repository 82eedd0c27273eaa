const atOnce = 4;

/** Groups of packs, by number of their batch or `manifest`, that wait to be sent to one destination, in order. */
export class SendQueue {
  private waiting: string[] = [];
  /** How many packs a group has, where that is known. */
  private readonly packs = new Map<string, number>();
  /** Groups that are being sent. */
  readonly sending = new Set<string>();

  constructor(carried: readonly [from: number, to: number][] = []) {
    for (const [from, to] of carried) for (let batch = from; batch <= to; batch++) this.waiting.push(String(batch));
  }

  get isEmpty(): boolean {
    return this.waiting.length === 0 && this.sending.size === 0;
  }

  /** Packs that are being sent at once, about: each group sends up to four. */
  get load(): number {
    return [...this.sending].reduce((sum, group) => sum + Math.min(atOnce, this.packs.get(group) ?? atOnce), 0);
  }

  add(group: string, packs?: number): void {
    this.waiting.push(group);
    if (packs !== undefined) this.packs.set(group, packs);
  }

  /** The next group, which then counts as being sent; undefined when none waits. */
  take(): string | undefined {
    const group = this.waiting.shift();
    if (group !== undefined) this.sending.add(group);
    return group;
  }

  done(group: string): void {
    this.sending.delete(group);
    this.packs.delete(group);
  }

  /** What is left to be sent, also what is being sent, as ranges of batches. The manifest is never carried over. */
  ranges(): [from: number, to: number][] {
    const batches = [...this.sending, ...this.waiting].map(Number).sort((a, b) => a - b);
    const ranges: [number, number][] = [];
    for (const batch of batches) {
      const last = ranges.at(-1);
      if (last !== undefined && batch === last[1] + 1) last[1] = batch;
      else ranges.push([batch, batch]);
    }
    return ranges;
  }
}
