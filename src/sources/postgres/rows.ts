import { createReadStream } from 'node:fs';
import { HoldfastError } from '../../errors.js';

const newline = 0x0a;

/**
 * Rows in one table's file of a directory dump: a line each, as COPY's text format escapes newlines, up to the end mark
 * `\.` on a line of its own.
 * @throws HoldfastError DumpIncomplete when the mark is not there, or something follows it.
 */
export async function countRows(file: string, signal: AbortSignal): Promise<number> {
  let lines = 0;
  // The last bytes: the mark and the empty lines after it.
  let tail = '';
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20, signal }) as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, at + 1)) lines++;
    tail = (tail + chunk.subarray(-16).toString('latin1')).slice(-16);
  }
  const mark = /(?:^|\n)\\\.(\n+)$/.exec(tail);
  if (!mark) throw new HoldfastError('DumpIncomplete', `${file} ends without its end mark`);
  return lines - (mark[1]?.length ?? 0);
}
