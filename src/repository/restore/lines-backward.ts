import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** The lines of a file from the last to the first; never holds more than one piece and one line. */
export function* readLinesBackward(file: string, pieceBytes = 1 << 18): Generator<string> {
  const fd = openSync(file, 'r');
  try {
    let end = fstatSync(fd).size;
    // Pieces of the line whose start is not found yet, the last first.
    let rest: Buffer[] = [];
    let first = true;
    while (end > 0) {
      const start = Math.max(0, end - pieceBytes);
      const piece = Buffer.allocUnsafe(end - start);
      for (let done = 0; done < piece.length; ) done += readSync(fd, piece, done, piece.length - done, start + done);
      end = start;
      let to = piece.length;
      if (first && piece[to - 1] === 0x0a) to--;
      first = false;
      for (;;) {
        const at = to === 0 ? -1 : piece.lastIndexOf(0x0a, to - 1);
        if (at < 0) break;
        yield Buffer.concat([piece.subarray(at + 1, to), ...rest]).toString('utf8');
        rest = [];
        to = at;
      }
      rest.unshift(piece.subarray(0, to));
    }
    if (!first) yield Buffer.concat(rest).toString('utf8');
  } finally {
    closeSync(fd);
  }
}
