import { closeSync, openSync, readSync } from 'node:fs';
import { HoldfastError } from '../errors.js';

// An index's line of a pack of the smallest chunks has 4 MB.
const lineLimit = 16 * 1024 * 1024;

/** The lines of an NDJSON file, read in pieces; never holds more than one piece and one line. */
export function* readLines(file: string, pieceBytes = 1 << 20): Generator<string> {
  const fd = openSync(file, 'r');
  try {
    const piece = Buffer.allocUnsafe(pieceBytes);
    let rest: Buffer[] = [];
    for (;;) {
      const count = readSync(fd, piece, 0, pieceBytes, null);
      if (count === 0) break;
      const lastEnd = piece.lastIndexOf(0x0a, count - 1);
      if (lastEnd < 0) {
        rest.push(Buffer.from(piece.subarray(0, count)));
        continue;
      }
      const text =
        rest.length > 0
          ? Buffer.concat([...rest, piece.subarray(0, lastEnd)]).toString('utf8')
          : piece.toString('utf8', 0, lastEnd);
      rest = lastEnd + 1 < count ? [Buffer.from(piece.subarray(lastEnd + 1, count))] : [];
      let from = 0;
      for (;;) {
        const to = text.indexOf('\n', from);
        if (to < 0) break;
        yield text.slice(from, to);
        from = to + 1;
      }
      yield text.slice(from);
    }
    if (rest.length > 0) yield Buffer.concat(rest).toString('utf8');
  } finally {
    closeSync(fd);
  }
}

/**
 * Lines of NDJSON held in memory, decoded a piece at a time: it may be larger than any string can be.
 * @throws HoldfastError IntegrityMismatch naming `name` for a line that is longer than any of ours.
 */
export function* eachLine(data: Buffer, name: string, pieceBytes = 1 << 20): Generator<string> {
  for (let from = 0; from < data.length; ) {
    let end = from + pieceBytes >= data.length ? data.length : data.lastIndexOf(0x0a, from + pieceBytes);
    if (end < from) end = data.indexOf(0x0a, from);
    if (end < 0) end = data.length;
    if (end - from > lineLimit) throw new HoldfastError('IntegrityMismatch', `${name} has a line that is too long`);
    // The line end at the very end begins no further line.
    const to = end === data.length && data[end - 1] === 0x0a ? end - 1 : end;
    yield* data.toString('utf8', from, to).split('\n');
    from = end + 1;
  }
}

/** The same, all at once. */
export function splitLines(data: Buffer): string[] {
  const lines = data.toString('utf8').split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
}
