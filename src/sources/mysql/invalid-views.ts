import { HoldfastError } from '../../errors.js';
import { serverNumber } from './errors.js';
import { type Renamed, viewRenamed } from './rename.js';
import { withoutDefiner } from './restore-stream.js';
import type { FoundTable } from './server.js';
import { quoteName, quoteText, type Sql } from './sql.js';
import { missingAccounts } from './users.js';

/** What views were that the dump tool would fail at. */
export const invalidViewsName = 'invalid-views.sql';

/** What the server says of a view whose tables, columns, functions or definer are gone. */
const invalidNumbers = new Set([1356, 1449, 1146, 1054, 1305, 1370]);
const isInvalid = (error: unknown): boolean => invalidNumbers.has(serverNumber(error) ?? 0);

/** Views that nobody can read any more, each with the statement that makes it. */
export async function invalidViews(
  sql: Sql,
  database: string,
  tables: readonly FoundTable[],
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const builtOnMissing = await aboveMissingDefiners(sql, database);
  for (const { name } of tables.filter(({ kind }) => kind === 'view')) {
    const view = `${quoteName(database)}.${quoteName(name)}`;
    try {
      await sql.query(`SHOW FIELDS FROM ${view}`);
      await sql.query(`SHOW CREATE VIEW ${view}`);
      if (builtOnMissing.has(name)) found.set(name, await definitionOf(sql, database, name));
    } catch (error) {
      if (!isInvalid(error)) throw error;
      found.set(name, await definitionOf(sql, database, name));
    }
  }
  return found;
}

/** Views that no server makes anew: they read others whose definers are gone, however far below. */
async function aboveMissingDefiners(sql: Sql, database: string): Promise<Set<string>> {
  const views = await sql.query(
    `SELECT table_name, definer, view_definition FROM information_schema.views WHERE table_schema = ${quoteText(database)}`,
  );
  const missing = new Set(await missingAccounts(sql, [...new Set(views.map(([, definer = '']) => definer))]));
  const above = new Set<string>();
  let below = views.filter(([, definer = '']) => missing.has(definer)).map(([name = '']) => name);
  while (below.length > 0) {
    const names = below.map(quoteName);
    below = views
      .filter(([name = '', , definition = '']) => !above.has(name) && names.some((one) => definition.includes(one)))
      .map(([name = '']) => name);
    for (const name of below) above.add(name);
  }
  return above;
}

async function definitionOf(sql: Sql, database: string, name: string): Promise<string> {
  try {
    // Else the text names the database.
    await sql.query(`USE ${quoteName(database)}`);
    const [[, shown = ''] = []] = await sql.query(`SHOW CREATE VIEW ${quoteName(name)}`);
    return shown;
  } catch (error) {
    if (!isInvalid(error)) throw error;
    const [[definition = '', definer = '', security = 'DEFINER', check = 'NONE'] = []] = await sql.query(
      `SELECT view_definition, definer, security_type, check_option FROM information_schema.views ` +
        `WHERE table_schema = ${quoteText(database)} AND table_name = ${quoteText(name)}`,
    );
    const [, user = '', host = ''] = /^(.*)@([^@]*)$/s.exec(definer) ?? [];
    const option = check === 'NONE' ? '' : ` WITH ${check} CHECK OPTION`;
    return `CREATE DEFINER=${quoteName(user)}@${quoteName(host)} SQL SECURITY ${security} VIEW ${quoteName(name)} AS ${definition}${option}`;
  }
}

export const asStatements = (views: ReadonlyMap<string, string>): string =>
  [...views.values()].map((definition) => `${definition};\n`).join('');

/**
 * Makes the views that can be made, those on which others build first: who is missing as a definer keeps no view from being
 * made, only from being read.
 * @returns what the server says of the others.
 */
export async function makeInvalidViews(
  sql: Sql,
  database: string,
  statements: string,
  { renamed, withoutDefiners }: { renamed: Renamed | undefined; withoutDefiners: boolean },
): Promise<string[]> {
  let left = statements.split(/;\n/).filter((statement) => statement !== '');
  await sql.query(`USE ${quoteName(database)}`);
  for (;;) {
    const failed: { statement: string; why: string }[] = [];
    for (const statement of left) {
      let text = Buffer.from(statement).toString('latin1');
      if (withoutDefiners) text = withoutDefiner(text);
      if (renamed !== undefined) text = viewRenamed(text, renamed);
      try {
        await sql.query(Buffer.from(text, 'latin1').toString());
      } catch (error) {
        if (!(error instanceof HoldfastError) || serverNumber(error) === undefined) throw error;
        failed.push({ statement, why: error.message });
      }
    }
    if (failed.length === 0 || failed.length === left.length) return failed.map(({ why }) => why);
    left = failed.map(({ statement }) => statement);
  }
}
