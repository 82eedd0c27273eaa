import { HoldfastError } from '../../errors.js';
import type { ServerFacts } from './server.js';
import type { Sql } from './sql.js';

/** Rights of this user that hold for a place: `*.*`, `db.*`, or a table. */
interface Grant {
  rights: ReadonlySet<string>;
  /** `*` for all. */
  database: string;
  /** `*` for all. */
  object: string;
}

/** A right that a dump needs, and what it is for. */
export interface NeededRight {
  right: string;
  /** What of a database is not seen without it. */
  what: string;
  /** Without it the dump is less, and its tool does not say so; without another one the tool fails. */
  silent: boolean;
}

const identifier = '(?:`(?:[^`]|``)*`|[^\\s.`]+)';
const grantLine = new RegExp(`^GRANT (.+?) ON (?:TABLE )?(${identifier})\\.(${identifier}) TO `, 's');

function parse(line: string): Grant | undefined {
  const [, rights = '', database = '', object = ''] = grantLine.exec(line) ?? [];
  if (database === '') return undefined;
  // Rights to columns alone are in parentheses behind the right's name.
  const names = rights.replace(/\s*\([^)]*\)/g, ' (COLUMNS)').split(',');
  const plain = (name: string): string => (name.startsWith('`') ? name.slice(1, -1).replaceAll('``', '`') : name);
  return {
    rights: new Set(names.map((name) => name.trim().toUpperCase())),
    database: plain(database),
    object: plain(object),
  };
}

/** Databases of a grant are patterns: `_` and `%` stand for others unless escaped. */
function covers(pattern: string, database: string): boolean {
  if (pattern === '*') return true;
  let source = '';
  for (const [whole, escaped, wild] of pattern.matchAll(/\\([\\_%])|([_%])|./gsu)) {
    if (wild !== undefined) source += wild === '_' ? '.' : '.*';
    else source += (escaped ?? whole).replace(/[\\^$.|?*+()[\]{}]/, '\\$&');
  }
  return new RegExp(`^${source}$`, 'su').test(database);
}

/** What this user may do, its active roles included. */
export async function grantsOfUser(sql: Sql, { flavour, version }: ServerFacts): Promise<string[]> {
  const plain = async (): Promise<string[]> => (await sql.query('SHOW GRANTS')).map(([grant = '']) => grant);
  if (flavour === 'mariadb' || version < 8000) return plain();
  const [[roles = 'NONE'] = []] = await sql.query('SELECT CURRENT_ROLE()');
  if (roles === 'NONE') return plain();
  return (await sql.query(`SHOW GRANTS FOR CURRENT_USER() USING ${roles}`)).map(([grant = '']) => grant);
}

/** Rights to a database that a dump needs and this user does not have. */
export function missingRights(
  lines: readonly string[],
  database: string,
  flavour: ServerFacts['flavour'],
): NeededRight[] {
  const grants = lines.flatMap((line) => parse(line) ?? []);
  const has = (right: string, where: string, object?: string): boolean =>
    grants.some(
      (grant) =>
        covers(grant.database, where) &&
        (grant.object === '*' || grant.object === object) &&
        (grant.rights.has(right) || grant.rights.has('ALL PRIVILEGES') || grant.rights.has('ALL')),
    );
  // Programs can be seen by whoever may read where they are kept, or may do something with those of the database.
  const routines =
    flavour === 'mariadb'
      ? has('SELECT', 'mysql', 'proc')
      : grants.some(
          ({ database: on, rights }) => on === '*' && ['SELECT', 'SHOW_ROUTINE'].some((one) => rights.has(one)),
        );
  const some = ['EXECUTE', 'ALTER ROUTINE', 'CREATE ROUTINE', 'SHOW CREATE ROUTINE'].some((one) => has(one, database));
  const all: (NeededRight & { held: boolean })[] = [
    { right: 'SELECT', what: 'all tables', silent: true, held: has('SELECT', database) },
    { right: 'SHOW VIEW', what: 'views', silent: false, held: has('SHOW VIEW', database) },
    { right: 'TRIGGER', what: 'triggers', silent: true, held: has('TRIGGER', database) },
    { right: 'EVENT', what: 'events', silent: false, held: has('EVENT', database) },
    {
      right: flavour === 'mariadb' ? 'SELECT ON mysql.proc' : 'SHOW_ROUTINE',
      what: 'procedures and functions',
      silent: true,
      held: routines || some || has('ALL PRIVILEGES', database),
    },
  ];
  return all.filter(({ held }) => !held).map(({ held: _, ...right }) => right);
}

/** For messages: `triggers (TRIGGER), events (EVENT)`. */
export const rightsText = (missing: readonly NeededRight[]): string =>
  missing.map(({ right, what }) => `${what} (${right})`).join(', ');

/** Whether the user may read the server's accounts. */
export async function mayReadUsers(sql: Sql): Promise<boolean> {
  try {
    await sql.query('SELECT user FROM mysql.user LIMIT 1');
    return true;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'AuthDenied') return false;
    throw error;
  }
}
