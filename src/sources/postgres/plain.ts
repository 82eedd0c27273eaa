import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { HoldfastError } from '../../errors.js';
import type { TableRows } from '../database.js';

const copyLine = /^COPY ((?:"(?:[^"]|"")+"|[^\s".(]+))\.((?:"(?:[^"]|"")+"|[^\s".(]+)) .*FROM stdin;$/;
const endMark = '-- PostgreSQL database dump complete';

/**
 * Reads a plain dump to its end mark and counts each table's rows: the lines between `COPY ... FROM stdin;` and `\.`.
 * @throws HoldfastError DumpIncomplete when the end mark is not there.
 */
export async function provePlain(file: string, signal: AbortSignal): Promise<TableRows[]> {
  const tables: TableRows[] = [];
  let open: TableRows | undefined;
  let ended = false;
  // latin1: fast, and a byte stays a byte; names are decoded.
  const lines = createInterface({ input: createReadStream(file, { encoding: 'latin1', signal }), crlfDelay: 0 });
  for await (const line of lines) {
    if (open !== undefined) {
      if (line === '\\.') {
        tables.push(open);
        open = undefined;
      } else open.rows++;
      continue;
    }
    const match = line.startsWith('COPY ') ? copyLine.exec(line) : null;
    if (match) open = { name: `${plainName(match[1] ?? '')}.${plainName(match[2] ?? '')}`, rows: 0 };
    else if (line === endMark) ended = true;
  }
  if (!ended || open !== undefined)
    throw new HoldfastError('DumpIncomplete', 'the dump ends without its end mark', {
      hint: 'Did the server, or the way to it, go away?',
    });
  return tables.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

const plainName = (identifier: string): string => {
  const text = Buffer.from(identifier, 'latin1').toString('utf8');
  return text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text;
};
