const longest = 1 << 20;

/** A line, or a part of one that is longer than 1 MiB: `data` from `start` to `end`, its line feed included. */
export type OnLine = (data: Buffer, start: number, end: number, first: boolean, last: boolean) => void;

/** Cuts a stream into lines without ever holding much more than one chunk. */
export class LineSplitter {
  private rest: Buffer | undefined;
  private within = false;

  constructor(private readonly onLine: OnLine) {}

  push(chunk: Buffer): void {
    const data = this.rest === undefined ? chunk : Buffer.concat([this.rest, chunk]);
    let start = 0;
    for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, start)) {
      this.onLine(data, start, at + 1, !this.within, true);
      this.within = false;
      start = at + 1;
    }
    this.rest = start < data.length ? data.subarray(start) : undefined;
    if (this.rest === undefined || this.rest.length <= longest) return;
    this.onLine(this.rest, 0, this.rest.length, !this.within, false);
    this.within = true;
    this.rest = undefined;
  }

  /** A last line may be without its line feed. */
  end(): void {
    if (this.rest !== undefined) this.onLine(this.rest, 0, this.rest.length, !this.within, true);
    this.rest = undefined;
  }
}
