import { startsWith } from './dump-state.js';

/** One INSERT of so many bytes at most, so that no server finds it too large. */
const largest = 512 * 1024;
const endOfInsert = Buffer.from(';\n');
const comma = Buffer.from(',');

/** Joins INSERTs of one row each, as long as they are into the same columns, to large ones. */
export class InsertJoiner {
  private prefix: Buffer | undefined;
  private joined = 0;

  constructor(private readonly out: (part: Buffer) => void) {}

  /** A whole line with one row. */
  add(data: Buffer, start: number, end: number): void {
    const { prefix } = this;
    if (!endsRow(data, end)) {
      this.flush();
      this.out(data.subarray(start, end));
      return;
    }
    if (prefix !== undefined && this.joined + (end - start) <= largest && startsWith(data, start, end, prefix)) {
      const values = data.subarray(start + prefix.length, end - endOfInsert.length);
      this.out(comma);
      this.out(values);
      this.joined += values.length + 1;
      return;
    }
    this.flush();
    const length = prefixLength(data, start, end);
    if (length === undefined) {
      this.out(data.subarray(start, end));
      return;
    }
    this.prefix = Buffer.from(data.subarray(start, start + length));
    this.out(data.subarray(start, end - endOfInsert.length));
    this.joined = end - start;
  }

  /** Ends the statement that is open. */
  flush(): void {
    if (this.joined > 0) this.out(endOfInsert);
    this.joined = 0;
    this.prefix = undefined;
  }
}

const endsRow = (data: Buffer, end: number): boolean =>
  data[end - 1] === 0x0a && data[end - 2] === 0x3b && data[end - 3] === 0x29;

const name = '`(?:[^`]|``)*`';
const insertInto = new RegExp(`^INSERT INTO ${name}(?: \\(${name}(?:, ?${name})*\\))? VALUES ?(?=\\()`);

/** How long `INSERT INTO table [(columns)] VALUES ` is; names may hold anything, doubled backquotes too. */
function prefixLength(data: Buffer, start: number, end: number): number | undefined {
  // Latin 1 keeps one character per byte.
  return insertInto.exec(data.toString('latin1', start, Math.min(end, start + 300_000)))?.[0].length;
}
