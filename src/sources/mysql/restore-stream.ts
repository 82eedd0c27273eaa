import { createReadStream } from 'node:fs';
import { DumpState, startsWith } from './dump-state.js';
import { LineSplitter } from './line-splitter.js';

export interface RestoreStreamOptions {
  /** Leave events out: they would begin to run. */
  withoutEvents: boolean;
  /** Views and programs become the restoring user's, who may not make them anybody else's. */
  withoutDefiners: boolean;
  /** Leave out the line by which MariaDB's client locks itself in, which other clients refuse. */
  withoutSandbox: boolean;
  onProgress(bytes: number): void;
  signal: AbortSignal;
}

/** One INSERT of so many bytes at most, so that no server finds it too large. */
const largestInsert = 512 * 1024;
const sandbox = Buffer.from('/*M!999999');

/**
 * A dump on its way into the server: rows that were dumped one per INSERT, so that dumps of similar data have long equal
 * stretches, are joined to large INSERTs, which are many times faster.
 */
export async function* restoreStream(file: string, options: RestoreStreamOptions): AsyncGenerator<Buffer> {
  const state = new DumpState();
  let out: Buffer[] = [];
  let prefix: Buffer | undefined;
  let joined = 0;
  const flush = (): void => {
    if (joined > 0) out.push(endOfInsert);
    joined = 0;
    prefix = undefined;
  };
  const row = (data: Buffer, start: number, end: number): void => {
    if (!endsRow(data, end)) {
      flush();
      out.push(data.subarray(start, end));
      return;
    }
    const same =
      prefix !== undefined && joined + (end - start) <= largestInsert && startsWith(data, start, end, prefix);
    if (same && prefix !== undefined) {
      const values = data.subarray(start + prefix.length, end - endOfInsert.length);
      out.push(comma, values);
      joined += values.length + 1;
      return;
    }
    flush();
    const length = prefixLength(data, start, end);
    if (length === undefined) {
      out.push(data.subarray(start, end));
      return;
    }
    prefix = Buffer.from(data.subarray(start, start + length));
    out.push(data.subarray(start, end - endOfInsert.length));
    joined = end - start;
  };
  let skipping = false;
  const splitter = new LineSplitter((data, start, end, first, last) => {
    if (!first) {
      if (!skipping) out.push(data.subarray(start, end));
      return;
    }
    const kind = state.see(data, start, end);
    if (kind === 'row' && last) {
      row(data, start, end);
      return;
    }
    flush();
    skipping =
      (options.withoutEvents && state.events) || (options.withoutSandbox && startsWith(data, start, end, sandbox));
    if (skipping) return;
    const changed =
      options.withoutDefiners && kind !== 'row' && last ? withoutDefiner(data.toString('utf8', start, end)) : undefined;
    out.push(changed === undefined ? data.subarray(start, end) : Buffer.from(changed));
  });
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 18, signal: options.signal })) {
    splitter.push(chunk);
    if (out.length > 0) yield Buffer.concat(out);
    out = [];
    options.onProgress(chunk.length);
  }
  splitter.end();
  flush();
  yield Buffer.concat(out);
}

const endOfInsert = Buffer.from(';\n');
const comma = Buffer.from(',');

const endsRow = (data: Buffer, end: number): boolean =>
  data[end - 1] === 0x0a && data[end - 2] === 0x3b && data[end - 3] === 0x29;

/** How long `INSERT INTO table [(columns)] VALUES ` is; names may hold anything, doubled backquotes too. */
function prefixLength(data: Buffer, start: number, end: number): number | undefined {
  const name = '`(?:[^`]|``)*`';
  const pattern = new RegExp(`^INSERT INTO ${name}(?: \\(${name}(?:, ?${name})*\\))? VALUES ?(?=\\()`);
  // Latin 1 keeps one character per byte.
  return pattern.exec(data.toString('latin1', start, Math.min(end, start + 300_000)))?.[0].length;
}

const account = '`(?:[^`]|``)*`@`(?:[^`]|``)*`';
const definerPatterns = [
  // /*!50003 CREATE*/ /*!50017 DEFINER=`u`@`h`*/ /*!50003 TRIGGER ...
  new RegExp(`^(/\\*!\\d+ CREATE\\*/ )/\\*!\\d+ DEFINER=${account}\\*/ `),
  // /*!50013 DEFINER=`u`@`h` SQL SECURITY DEFINER */
  new RegExp(`^(/\\*!\\d+ )DEFINER=${account} (?=SQL SECURITY)`),
  // CREATE DEFINER=`u`@`h` PROCEDURE ...
  new RegExp(`^(CREATE )DEFINER=${account} (?=(?:AGGREGATE )?(?:PROCEDURE|FUNCTION|PACKAGE|EVENT|TRIGGER))`),
];

function withoutDefiner(line: string): string | undefined {
  for (const pattern of definerPatterns) if (pattern.test(line)) return line.replace(pattern, '$1');
  return undefined;
}
