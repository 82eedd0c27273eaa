import { HoldfastError } from '../../errors.js';
import type { DatabaseWarning } from '../database.js';
import { serverNumber } from './errors.js';
import type { ServerFacts } from './server.js';
import { quoteName, quoteText, type Sql } from './sql.js';

/** Accounts that every server has for itself. */
const ownAccounts = new Set(['mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema']);

const noSuchGrant = 1141;
const noSuchUser = 1133;

/**
 * The server's users, roles and their rights as statements that leave users alone which are there already, one per line.
 * @throws HoldfastError AuthDenied when this user may not read them.
 */
export async function readUsers(sql: Sql, { flavour, version }: ServerFacts): Promise<string> {
  // Hashes of caching_sha2_password hold bytes that are no text.
  if (flavour === 'mysql' && version >= 8000) await sql.query('SET SESSION print_identified_with_as_hex = 1');
  const isRole = flavour === 'mariadb' ? 'is_role' : "'N'";
  const accounts = (await sql.query(`SELECT user, host, ${isRole} FROM mysql.user ORDER BY user, host`)).filter(
    ([user = '']) => !ownAccounts.has(user),
  );
  const made: string[] = [];
  const granted: string[] = [];
  for (const [user = '', host = '', role] of accounts) {
    const everybody = flavour === 'mariadb' && user === 'PUBLIC' && host === '';
    const name = everybody ? 'PUBLIC' : role === 'Y' ? quoteName(user) : `${quoteText(user)}@${quoteText(host)}`;
    const grants = await grantsOf(sql, name);
    if (grants === undefined) {
      made.push(`-- ${name} is in no use on this server: its host's name is not resolved there`);
      continue;
    }
    if (role === 'Y' && !everybody) made.push(`CREATE ROLE IF NOT EXISTS ${name}`);
    else if (!everybody) {
      const [[create = ''] = []] = await sql.query(`SHOW CREATE USER ${name}`);
      made.push(create.replace(/^CREATE USER /, 'CREATE USER IF NOT EXISTS '));
    }
    granted.push(...grants.map(withoutPassword));
  }
  // A role is granted to its maker by being made: roles first, and rights only when all are there.
  const roles = made.filter((statement) => statement.startsWith('CREATE ROLE'));
  const users = made.filter((statement) => !statement.startsWith('CREATE ROLE'));
  return [...roles, ...users, ...granted].map((statement) => `${statement.replaceAll('\n', ' ')};\n`).join('');
}

/** Undefined for accounts with a host's name on a server that resolves none (skip-name-resolve): listed, but not loaded. */
async function grantsOf(sql: Sql, name: string): Promise<string[] | undefined> {
  try {
    return (await sql.query(`SHOW GRANTS FOR ${name}`)).map(([grant = '']) => grant);
  } catch (error) {
    if (serverNumber(error) === noSuchGrant || serverNumber(error) === noSuchUser) return undefined;
    throw error;
  }
}

/** MariaDB repeats a user's password in its first grant, which would set it anew where the user has another by now. */
function withoutPassword(grant: string): string {
  return grant.replace(/ IDENTIFIED (?:BY|VIA) (?:'(?:[^'\\]|\\.|'')*'|[^'])*?(?= REQUIRE | WITH |$)/, '');
}

/**
 * Makes users that are missing and grants rights. What fails is tried again as long as others succeed: a user's default role
 * may be made after him.
 */
export async function restoreUsers(sql: Sql, statements: string): Promise<DatabaseWarning[]> {
  let left = statements.split(';\n').filter((statement) => statement !== '' && !statement.startsWith('-- '));
  let problems: string[] = [];
  for (let before = left.length + 1; left.length > 0 && left.length < before; ) {
    before = left.length;
    const failed: string[] = [];
    problems = [];
    for (const statement of left) {
      try {
        await sql.query(statement);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        failed.push(statement);
        problems.push(error.message);
      }
    }
    left = failed;
  }
  if (left.length === 0) return [];
  return [
    {
      code: 'GlobalsIncomplete',
      message: `${left.length} statements for users and rights failed; the first: ${problems[0]}`,
    },
  ];
}

/** The accounts as whom views and programs of a database run, as `user@host`. */
export async function definersOf(sql: Sql, database: string): Promise<string[]> {
  const own = quoteText(database);
  const rows = await sql.query(
    `SELECT definer FROM information_schema.views WHERE table_schema = ${own} ` +
      `UNION SELECT definer FROM information_schema.routines WHERE routine_schema = ${own} ` +
      `UNION SELECT definer FROM information_schema.triggers WHERE trigger_schema = ${own} ` +
      `UNION SELECT definer FROM information_schema.events WHERE event_schema = ${own}`,
  );
  return rows.map(([definer = '']) => definer).sort();
}

/** Those of `definers` that the server does not have, where this user may know. */
export async function missingAccounts(sql: Sql, definers: readonly string[]): Promise<string[]> {
  if (definers.length === 0) return [];
  try {
    const rows = await sql.query("SELECT CONCAT(user, '@', host) FROM mysql.user");
    const there = new Set(rows.map(([account = '']) => account.replace(/@$/, '')));
    return definers.filter((definer) => !there.has(definer.replace(/@$/, '')));
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'AuthDenied') return [];
    throw error;
  }
}

/** Whether this user may make views and programs that run as somebody else. */
export async function maySetDefiners(sql: Sql): Promise<boolean> {
  const grants = await sql.query('SHOW GRANTS');
  return grants.some(
    ([grant = '']) =>
      / ON \*\.\* /.test(grant) && /\b(ALL PRIVILEGES|SUPER|SET USER|SET_USER_ID|SET_ANY_DEFINER)\b/.test(grant),
  );
}
