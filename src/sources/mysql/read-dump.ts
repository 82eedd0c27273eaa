import { createReadStream } from 'node:fs';
import type { LogPosition, TableRows } from '../database.js';
import { DumpState } from './dump-state.js';
import { LineSplitter } from './line-splitter.js';

/** What a dump holds, read from itself: true of the very moment the dump shows. */
export interface DumpContent {
  /** Whether it ends as the tool ends a dump. */
  complete: boolean;
  /** In the order of their names. */
  tables: TableRows[];
  views: Set<string>;
  sequences: Set<string>;
  position?: LogPosition;
}

/** Reads a dump made with one row per INSERT. */
export async function readDump(file: string, signal: AbortSignal): Promise<DumpContent> {
  const state = new DumpState();
  const rows = new Map<string, number>();
  const views = new Set<string>();
  const sequences = new Set<string>();
  let position: LogPosition = {};
  let counting: string | undefined;
  let count = 0;
  let lastLine = '';
  /** MySQL's ids so far: a server to a line, up to the end of the comment. */
  let purged: string | undefined;
  const settle = (): void => {
    if (counting !== undefined) rows.set(counting, (rows.get(counting) ?? 0) + count);
    counting = state.table;
    count = 0;
  };
  const splitter = new LineSplitter((data, start, end, first, _last) => {
    if (!first) return;
    const kind = state.see(data, start, end);
    if (kind === 'row') {
      count++;
      return;
    }
    if (state.table !== counting) settle();
    const line = data.toString('utf8', start, Math.min(end, start + 4096)).trimEnd();
    if (line !== '') lastLine = line;
    if (kind === 'program') return;
    if (purged !== undefined || line.startsWith(purgedStart)) {
      purged = (purged ?? '') + line;
      const gtid = /='\+?([^']*)'/.exec(purged)?.[1];
      if (gtid !== undefined && gtid !== '') position = { ...position, gtid };
      if (gtid !== undefined || purged.length > longestPurged) purged = undefined;
      return;
    }
    if (state.named?.kind === 'view') views.add(state.named.name);
    else if (state.named?.kind === 'sequence') sequences.add(state.named.name);
    else if (line.startsWith('-- CHANGE ')) position = { ...position, ...filePosition(line) };
    else if (line.startsWith('-- SET GLOBAL gtid_slave_pos=')) position = { ...position, ...gtidPosition(line) };
  });
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 18, signal })) splitter.push(chunk);
  splitter.end();
  settle();
  return {
    complete: lastLine.startsWith('-- Dump completed'),
    tables: [...rows]
      .map(([name, rows]) => ({ name, rows }))
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)),
    views,
    sequences,
    ...(Object.keys(position).length === 0 ? {} : { position }),
  };
}

const purgedStart = '/* SET @@GLOBAL.GTID_PURGED=';
/** Characters; of more, only the position is told. */
const longestPurged = 1 << 20;

/** `-- CHANGE MASTER TO MASTER_LOG_FILE='b.1', MASTER_LOG_POS=4;`, or SOURCE in place of MASTER. */
function filePosition(line: string): LogPosition {
  const [, file, position] = /_LOG_FILE='([^']+)', \w+_LOG_POS=(\d+)/.exec(line) ?? [];
  return file === undefined ? {} : { file, position: Number(position) };
}

function gtidPosition(line: string): LogPosition {
  const [, gtid] = /='([^']*)'/.exec(line) ?? [];
  return gtid === undefined || gtid === '' ? {} : { gtid };
}
