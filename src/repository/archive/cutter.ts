import { sha256Hex } from '../hash.js';
import type { ChunkPlace } from '../pack-writer.js';

/** Told of each chunk in its order: with its content when that is what its id says, else without. */
export type OnChunk = (id: string, content: Buffer | undefined) => Promise<void> | void;

/** Cuts wanted chunks out of contents that pass by. Nothing in an archive is believed: a chunk counts by its hash alone. */
export class Cutter {
  private readonly places: Iterator<ChunkPlace>;
  private next: ChunkPlace | undefined;
  private content: Buffer | undefined;
  private filled = 0;

  /** `places` in ascending order of their offsets. */
  constructor(
    places: Iterable<ChunkPlace>,
    private readonly onChunk: OnChunk,
  ) {
    this.places = places[Symbol.iterator]();
    this.advance();
  }

  get done(): boolean {
    return this.next === undefined;
  }

  /** Whether a wanted chunk begins before `end`. */
  wants(end: number): boolean {
    return this.next !== undefined && this.next[1] < end;
  }

  /** Bytes that lie at `position` of the contents; positions only grow. */
  async feed(position: number, piece: Buffer): Promise<void> {
    const end = position + piece.length;
    while (this.next !== undefined && this.next[1] < end) {
      const [id, at, length] = this.next;
      const from = at + this.filled;
      if (from < position) {
        await this.lose();
        continue;
      }
      this.content ??= Buffer.allocUnsafeSlow(length);
      const count = Math.min(length - this.filled, end - from);
      piece.copy(this.content, this.filled, from - position, from - position + count);
      this.filled += count;
      if (this.filled < length) return;
      const { content } = this;
      this.advance();
      await this.onChunk(id, sha256Hex(content) === id ? content : undefined);
    }
  }

  /** What has not come by now does not come. */
  async end(): Promise<void> {
    while (this.next !== undefined) await this.lose();
    this.places.return?.();
  }

  private async lose(): Promise<void> {
    const id = this.next?.[0];
    this.advance();
    if (id !== undefined) await this.onChunk(id, undefined);
  }

  private advance(): void {
    const { value, done } = this.places.next();
    this.next = done === true ? undefined : value;
    this.content = undefined;
    this.filled = 0;
  }
}
