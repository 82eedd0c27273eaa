import { HoldfastError } from '../../errors.js';
import type { DatabaseContext, RestoreTarget } from '../database.js';
import { quoteName, quoteText, type Sql } from './sql.js';

/** A table that is there while a restore is at work: what else the database holds is then only half of a dump. */
const unfinished = 'holdfast_unfinished_restore';

/**
 * Makes sure that there is an empty database of that name, marked as not yet restored. One that an interrupted restore
 * left counts as empty.
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
  const create = async (): Promise<void> => {
    await sql.query(`CREATE DATABASE ${name}${madeLike(made)}`);
    await sql.query(makeMark(name));
  };
  const [there] = await sql.query(`SELECT schema_name FROM information_schema.schemata WHERE schema_name = ${own}`);
  if (there === undefined) {
    if (!target.create) {
      throw new HoldfastError('RestoreFailed', `the server has no database ${database}`, {
        hint: '--create makes it.',
      });
    }
    await create();
    return;
  }
  const mark = await sql.query(
    `SELECT table_name FROM information_schema.tables WHERE table_schema = ${own} AND table_name = '${unfinished}'`,
  );
  const [[objects = '0'] = []] = await sql.query(
    `SELECT (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ${own})` +
      ` + (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = ${own})` +
      ` + (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = ${own})`,
  );
  if (objects === '0') {
    await sql.query(makeMark(name));
    return;
  }
  if (!target.clean && mark.length === 0) {
    throw new HoldfastError('TargetConflict', `the database ${database} holds ${objects} tables, views and programs`, {
      hint: 'Restore into another one (--into NEWNAME --create), or --clean empties it first.',
    });
  }
  await sql.query(`DROP DATABASE ${name}`);
  await create();
}

const makeMark = (database: string): string => `CREATE TABLE ${database}.${unfinished} (a INT)`;

/** The restore has come to its end. */
export async function removeMark(sql: Sql, database: string): Promise<void> {
  await sql.query(`DROP TABLE IF EXISTS ${quoteName(database)}.${unfinished}`);
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
