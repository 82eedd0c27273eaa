import type { DatabaseWarning } from '../database.js';
import { quoteName, quoteText, type Sql } from './sql.js';

/** Each of their characters is one of Unicode's, and the server lets nothing else in. */
const exact = ['utf8', 'utf8mb3', 'utf8mb4', 'ucs2', 'utf16', 'utf16le', 'utf32', 'latin1', 'binary'];

/**
 * Columns with values that a dump, which is in UTF-8, can't hold: bytes that their character set does not define become `?`,
 * and an ENUM's invalid value becomes the member `''` where there is one. Reads only tables that may have some.
 */
export async function inexactText(
  sql: Sql,
  database: string,
  excluded: ReadonlySet<string>,
): Promise<DatabaseWarning[]> {
  const columns = await sql.query(
    `SELECT c.table_name, c.column_name, c.character_set_name, ` +
      `c.data_type = 'enum' AND c.column_type REGEXP '[(,]\\'\\'[,)]' ` +
      `FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name) ` +
      `WHERE c.table_schema = ${quoteText(database)} AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ` +
      `AND (c.character_set_name NOT IN (${exact.map(quoteText).join(', ')}) ` +
      `OR c.data_type = 'enum' AND c.column_type REGEXP '[(,]\\'\\'[,)]') ORDER BY 1, c.ordinal_position`,
  );
  const tables = new Map<string, { column: string; test: string }[]>();
  for (const [table = '', column = '', charset = '', emptyMember] of columns) {
    if (excluded.has(table)) continue;
    const name = quoteName(column);
    const tests = exact.includes(charset)
      ? []
      : [`CAST(${name} AS BINARY) <> CAST(CONVERT(CONVERT(${name} USING utf8mb4) USING ${charset}) AS BINARY)`];
    if (emptyMember === '1') tests.push(`${name} + 0 = 0`);
    tables.set(table, [...(tables.get(table) ?? []), { column, test: tests.join(' OR ') }]);
  }
  const found: string[] = [];
  for (const [table, tests] of tables) {
    const [row = []] = await sql.query(
      `SELECT ${tests.map(({ test }) => `IFNULL(SUM(${test}), 0)`).join(', ')} FROM ${quoteName(database)}.${quoteName(table)}`,
    );
    for (const [at, { column }] of tests.entries())
      if (Number(row[at]) > 0) found.push(`${table}.${column} (${row[at]} rows)`);
  }
  if (found.length === 0) return [];
  const more = found.length > 20 ? ` and ${found.length - 20} more` : '';
  return [
    {
      code: 'TextInexact',
      message: `${database}: values that no dump holds as they are, because the column's character set or list does not define them: ${found.slice(0, 20).join(', ')}${more}`,
    },
  ];
}
