/** Groups of packs, by number of their batch or `manifest`, that wait to be sent to one destination, in order. */
export class SendQueue {
  private waiting: string[] = [];
  /** Groups that are being sent. */
  readonly sending = new Set<string>();

  constructor(carried: readonly [from: number, to: number][] = []) {
    for (const [from, to] of carried) for (let batch = from; batch <= to; batch++) this.waiting.push(String(batch));
  }

  get isEmpty(): boolean {
    return this.waiting.length === 0 && this.sending.size === 0;
  }

  add(group: string): void {
    this.waiting.push(group);
  }

  /** The next group, which then counts as being sent; undefined when none waits. */
  take(): string | undefined {
    const group = this.waiting.shift();
    if (group !== undefined) this.sending.add(group);
    return group;
  }

  done(group: string): void {
    this.sending.delete(group);
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
