import { HoldfastError } from '../../errors.js';
import type { DatabaseContext, RestoreTarget } from '../database.js';
import { quoteName, quoteText, type Sql } from './sql.js';

/**
 * Makes sure that there is an empty database of that name.
 * @throws HoldfastError TargetConflict when it holds something and `clean` is not set; RestoreFailed when there is none
 * and `create` is not set.
 */
export async function prepareTarget(
  sql: Sql,
  target: Pick<RestoreTarget, 'database' | 'create' | 'clean'>,
  made: Readonly<Record<string, string>>,
): Promise<void> {
  const { database } = target;
  const name = quoteName(database);
  const own = quoteText(database);
  const [there] = await sql.query(`SELECT schema_name FROM information_schema.schemata WHERE schema_name = ${own}`);
  if (there === undefined) {
    if (!target.create) {
      throw new HoldfastError('RestoreFailed', `the server has no database ${database}`, {
        hint: '--create makes it.',
      });
    }
    await sql.query(`CREATE DATABASE ${name}${madeLike(made)}`);
    return;
  }
  const [[objects = '0'] = []] = await sql.query(
    `SELECT (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ${own})` +
      ` + (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = ${own})` +
      ` + (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = ${own})`,
  );
  if (objects === '0') return;
  if (!target.clean) {
    throw new HoldfastError('TargetConflict', `the database ${database} holds ${objects} tables, views and programs`, {
      hint: 'Restore into another one (--into NEWNAME --create), or --clean empties it first.',
    });
  }
  await sql.query(`DROP DATABASE ${name}`);
  await sql.query(`CREATE DATABASE ${name}${madeLike(made)}`);
}

/** Names of character sets and collations are words; anything else did not come from a server. */
function madeLike({ charset = '', collation = '' }: Readonly<Record<string, string>>): string {
  const word = /^\w+$/;
  return `${word.test(charset) ? ` CHARACTER SET ${charset}` : ''}${word.test(collation) ? ` COLLATE ${collation}` : ''}`;
}

/** Drops a database even when the work was cancelled; what can't be dropped is for the log. */
export async function dropScratch(sql: Sql, database: string, context: DatabaseContext): Promise<void> {
  try {
    await sql.query(`DROP DATABASE IF EXISTS ${quoteName(database)}`);
  } catch (error) {
    context.log(`the temporary database ${database} could not be dropped`, {
      reason: error instanceof Error ? error.message : String(error),
    });
  }
}
