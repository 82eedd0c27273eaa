import { HoldfastError } from '../../errors.js';
import { isPassing, type TableRows } from '../database.js';
import { serverNumber } from './errors.js';
import type { Flavour } from './option-file.js';
import { quoteName, quoteText, type Sql } from './sql.js';

/** What the server says of itself. */
export interface ServerFacts {
  /** `MariaDB 10.11.19` */
  product: string;
  flavour: Flavour;
  /** Major and minor as a number: 10.11 is 10_011. */
  version: number;
  /** Whether it keeps a binary log whose position this user may read. */
  logPosition: boolean;
  /** MySQL's own transaction ids are on; MariaDB's always are. */
  gtids: boolean;
}

/** Databases that belong to the server itself. */
const systemDatabases = new Set(['information_schema', 'performance_schema', 'mysql', 'sys', 'ndbinfo']);

export async function serverFacts(sql: Sql): Promise<ServerFacts> {
  const [[version = '', comment = '', log = ''] = []] = await sql.query(
    'SELECT @@version, @@version_comment, @@log_bin',
  );
  const flavour = /mariadb/i.test(version + comment) ? 'mariadb' : 'mysql';
  // Old MariaDB servers put 5.5.5- in front, for clients that knew no 10.
  const number = /^\d+\.\d+\.\d+/.exec(version.replace(/^5\.5\.5-(?=10\.)/, ''))?.[0] ?? version;
  const [major = 0, minor = 0] = number.split('.').map(Number);
  const mode = flavour === 'mysql' ? await sql.query("SHOW VARIABLES LIKE 'gtid_mode'") : [];
  return {
    product: `${flavour === 'mariadb' ? 'MariaDB' : 'MySQL'} ${number}`,
    flavour,
    version: major * 1000 + minor,
    logPosition: log === '1' && (await mayReadPosition(sql, flavour, major * 1000 + minor)),
    gtids: (mode[0]?.[1] ?? 'OFF') !== 'OFF',
  };
}

/** Asked beforehand: mysqldump would fail for want of a right that the dump itself doesn't need. */
async function mayReadPosition(sql: Sql, flavour: Flavour, version: number): Promise<boolean> {
  try {
    await sql.query(flavour === 'mysql' && version >= 8004 ? 'SHOW BINARY LOG STATUS' : 'SHOW MASTER STATUS');
    if (flavour === 'mariadb') return true;
    // MySQL's tool locks all tables for a moment.
    const rights = await sql.query('SHOW GRANTS');
    return rights.some(([grant = '']) => / ON \*\.\* /.test(grant) && /\b(RELOAD|SUPER|ALL PRIVILEGES)\b/.test(grant));
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'AuthDenied') return false;
    throw error;
  }
}

export interface FoundDatabase {
  name: string;
  estimatedBytes: number;
}

/** The databases to dump, in the order of their names, with a guess at the size of their dumps. */
export async function findDatabases(
  sql: Sql,
  wanted: 'all' | readonly string[],
  exclude: readonly string[],
): Promise<FoundDatabase[]> {
  const there = (await sql.query('SELECT schema_name FROM information_schema.schemata ORDER BY schema_name')).map(
    ([name = '']) => name,
  );
  const left = exclude.map(namePattern);
  const names =
    wanted === 'all'
      ? there.filter(
          (name) => !systemDatabases.has(name.toLowerCase()) && !isPassing(name) && !left.some((one) => one.test(name)),
        )
      : [...new Set(wanted)];
  const missing = names.filter((name) => !there.includes(name));
  if (missing.length > 0) {
    throw new HoldfastError(
      'SourceMissing',
      `the server has no database ${missing.join(', ')} that this user may see`,
      {
        hint: `Correct \`databases\`, or grant the user rights to it. It sees: ${there.join(', ') || 'none'}.`,
      },
    );
  }
  const sizes = new Map(
    (
      await sql.query(
        'SELECT table_schema, SUM(data_length + 30 * table_rows) FROM information_schema.tables GROUP BY table_schema',
      )
    ).map(([name = '', bytes]) => [name, Math.ceil(Number(bytes))]),
  );
  return names.map((name) => ({ name, estimatedBytes: sizes.get(name) || 0 }));
}

/** `*` stands for any characters. */
export function namePattern(pattern: string): RegExp {
  return new RegExp(
    `^${pattern
      .split('*')
      .map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'))
      .join('.*')}$`,
    'su',
  );
}

export interface FoundTable {
  name: string;
  kind: 'table' | 'view' | 'sequence';
  engine: string;
  /** Whether a dump in one transaction sees it as of one moment. */
  transactional: boolean;
}

/** Engines whose rows are elsewhere: dumped as definitions only. */
const withoutRows = new Set(['mrg_myisam', 'mrg_isam', 'connect', 'oqgraph', 'spider', 'vp', 'federated', 'blackhole']);

export async function findTables(sql: Sql, database: string): Promise<FoundTable[]> {
  const rows = await sql.query(
    `SELECT t.table_name, t.table_type, IFNULL(t.engine, ''), IFNULL(e.transactions, '') FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine WHERE t.table_schema = ${quoteText(database)} ORDER BY t.table_name`,
  );
  return rows
    .filter(([, type = '']) => !type.includes('TEMPORARY'))
    .map(([name = '', type = '', engine = '', transactions]) => ({
      name,
      kind: type.includes('VIEW') ? 'view' : type === 'SEQUENCE' ? 'sequence' : 'table',
      engine,
      transactional: transactions === 'YES',
    }));
}

/**
 * What of each table changes when somebody alters, empties, renames or makes it anew; nothing of it when rows are written.
 * The time is of whole seconds, the columns are not.
 */
export async function tableMarks(sql: Sql, database: string): Promise<Map<string, string>> {
  const own = quoteText(database);
  const rows = await sql.query(
    `SELECT t.table_name, IFNULL(t.create_time, ''), IFNULL(c.mark, '') FROM information_schema.tables t LEFT JOIN (` +
      `SELECT table_name, SUM(CRC32(CONCAT_WS('|', column_name, ordinal_position, column_type, is_nullable, extra))) AS mark ` +
      `FROM information_schema.columns WHERE table_schema = ${own} GROUP BY table_name) c ON c.table_name = t.table_name ` +
      `WHERE t.table_schema = ${own} AND t.table_type NOT LIKE '%VIEW%'`,
  );
  return new Map(rows.map(([name = '', made = '', columns = '']) => [name, `${made} ${columns}`]));
}

/** Whether a table's rows are its own. */
export const hasRows = ({ kind, engine }: FoundTable): boolean =>
  kind === 'table' && !withoutRows.has(engine.toLowerCase());

/** Counts every table's rows. */
export async function countRows(sql: Sql, database: string, tables: readonly FoundTable[]): Promise<TableRows[]> {
  const counted: TableRows[] = [];
  const names = tables.filter(hasRows).map(({ name }) => name);
  for (let at = 0; at < names.length; at += 50) {
    const group = names.slice(at, at + 50);
    const rows = await sql.query(
      group
        .map((name, index) => `SELECT ${index}, COUNT(*) FROM ${quoteName(database)}.${quoteName(name)}`)
        .join(' UNION ALL '),
    );
    const byIndex = new Map(rows.map(([index, count]) => [Number(index), Number(count)]));
    for (const [index, name] of group.entries()) counted.push({ name, rows: byIndex.get(index) ?? 0 });
  }
  return counted;
}

/** What a new database is made with: character set, collation, and its comment where there is one. */
export async function madeWith(sql: Sql, database: string): Promise<Record<string, string>> {
  const ask = (columns: string): Promise<string[][]> =>
    sql.query(`SELECT ${columns} FROM information_schema.schemata WHERE schema_name = ${quoteText(database)}`);
  const plain = 'default_character_set_name, default_collation_name';
  const [[charset = '', collation = '', comment = ''] = []] = await ask(`${plain}, schema_comment`).catch(
    (error: unknown) => {
      // Only MariaDB has comments, since 10.5.
      if (serverNumber(error) !== unknownColumn) throw error;
      return ask(plain);
    },
  );
  return { charset, collation, ...(comment === '' ? {} : { comment }) };
}

const unknownColumn = 1054;
