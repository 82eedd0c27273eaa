import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { HoldfastError } from '../../errors.js';
import type { TableRows } from '../database.js';
import { qualified, type Table } from './catalog.js';
import { countRows } from './rows.js';

/** One line of `pg_restore --list`. */
interface ListedData {
  /** Names the file: `3345.dat`. */
  dumpId: string;
  /** The table's oid at the server. */
  oid: string;
}

/** The tables whose rows a directory dump says it holds. */
export function listedData(list: string): ListedData[] {
  return [...list.matchAll(/^(\d+); \d+ (\d+) TABLE DATA /gm)].map(([, dumpId = '', oid = '']) => ({ dumpId, oid }));
}

/**
 * Proves a directory dump: every table of the server that should be in it is, and each one's file has its end mark.
 * @param tables the server's, in the dump's own snapshot, without those that are left out on purpose.
 * @returns their rows, in the order of their names.
 * @throws HoldfastError DumpIncomplete.
 */
export async function proveArchive(
  folder: string,
  list: string,
  tables: readonly Table[],
  signal: AbortSignal,
): Promise<TableRows[]> {
  const byOid = new Map(tables.map((table) => [table.oid, table]));
  const rows: TableRows[] = [];
  for (const { dumpId, oid } of listedData(list)) {
    const file = path.join(folder, `${dumpId}.dat`);
    const table = byOid.get(oid);
    byOid.delete(oid);
    if (statSync(file, { throwIfNoEntry: false }) === undefined)
      throw new HoldfastError(
        'DumpIncomplete',
        `the dump lacks the rows of ${table ? qualified(table) : `table ${oid}`}`,
      );
    const counted = await countRows(file, signal);
    // An extension's own table: its rows are dumped where the extension says so, and restored with it.
    if (table) rows.push({ name: qualified(table), rows: counted });
  }
  if (byOid.size > 0) {
    const names = [...byOid.values()].map(qualified);
    const more = names.length > 5 ? ` and ${names.length - 5} more` : '';
    throw new HoldfastError('DumpIncomplete', `the dump lacks ${names.slice(0, 5).join(', ')}${more}`);
  }
  return rows.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** Every file below the folder, `/`-separated and relative to it, sorted. */
export function filesBelow(folder: string): { path: string; bytes: number }[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => ({ name, stat: statSync(path.join(folder, name), { throwIfNoEntry: false }) }))
    .flatMap(({ name, stat }) => (stat?.isFile() ? [{ path: name.split(path.sep).join('/'), bytes: stat.size }] : []))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}
