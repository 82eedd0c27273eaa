import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { HoldfastError } from '../../errors.js';
import type { TableRows } from '../database.js';

const copyLine = /^COPY ((?:"(?:[^"]|"")+"|[^\s".(]+))\.((?:"(?:[^"]|"")+"|[^\s".(]+)) .*FROM stdin;$/s;
/** No table has more than 1600 columns with names of 63 bytes. */
const longestHeader = 1 << 18;
const endMark = '-- PostgreSQL database dump complete';

/**
 * Reads a plain dump to its end mark and counts each table's rows: the lines between `COPY ... FROM stdin;` and `\.`.
 * @throws HoldfastError DumpIncomplete when the end mark is not there.
 */
export async function provePlain(file: string, signal: AbortSignal): Promise<TableRows[]> {
  const tables: TableRows[] = [];
  let open: TableRows | undefined;
  let ended = false;
  // A name may hold line feeds: the lines so far of a COPY whose last quote is open.
  let begun = '';
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
    const whole = begun === '' ? line : `${begun}\n${line}`;
    const isOpen = whole.startsWith('COPY ') && whole.length < longestHeader && whole.split('"').length % 2 === 0;
    begun = isOpen ? whole : '';
    const match = whole.startsWith('COPY ') ? copyLine.exec(whole) : null;
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
