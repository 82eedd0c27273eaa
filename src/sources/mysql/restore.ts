import { HoldfastError } from '../../errors.js';
import { type DatabaseContext, type RestoreTarget, unfinishedMark } from '../database.js';
import { madeWith } from './server.js';
import { quoteName, quoteText, type Sql } from './sql.js';

/**
 * Makes sure that there is an empty database of that name, marked as not yet restored. One that an interrupted restore
 * left counts as empty.
 * @throws HoldfastError TargetConflict when it holds something and `clean` is not set; RestoreFailed when there is none
 * and `create` is not set.
 */
export async function prepareTarget(
  sql: Sql,
  target: Omit<RestoreTarget, 'globals'>,
  made: Readonly<Record<string, string>>,
): Promise<void> {
  const { database } = target;
  const name = quoteName(database);
  const own = quoteText(database);
  const create = async (): Promise<void> => {
    await sql.query(`CREATE DATABASE ${name}${madeLike(made)}`);
  };
  const mark = async (isNew: boolean): Promise<void> => {
    await sql.query(`CREATE TABLE ${name}.${unfinishedMark} (id TEXT, made INT)`);
    await sql.query(`INSERT INTO ${name}.${unfinishedMark} VALUES (${quoteText(target.id)}, ${isNew ? 1 : 0})`);
  };
  const [there] = await sql.query(`SELECT schema_name FROM information_schema.schemata WHERE schema_name = ${own}`);
  if (there === undefined) {
    if (!target.create) {
      throw new HoldfastError('RestoreFailed', `the server has no database ${database}`, {
        hint: '--create makes it.',
      });
    }
    await create();
    await mark(true);
    return;
  }
  const left = await readMark(sql, database);
  const [[objects = '0'] = []] = await sql.query(
    `SELECT (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ${own})` +
      ` + (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = ${own})` +
      ` + (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = ${own})`,
  );
  if (objects === '0') {
    await mark(false);
    return;
  }
  if (!target.clean && left === undefined) {
    throw new HoldfastError('TargetConflict', `the database ${database} holds ${objects} tables, views and programs`, {
      hint: 'Restore into another one (--into NEWNAME --create), or --clean empties it first.',
    });
  }
  await sql.query(`DROP DATABASE ${name}`);
  await create();
  await mark(left?.made === true);
}

/** The row of the table that is there while a restore is at work. */
interface Mark {
  id: string;
  /** The restore made the database. */
  made: boolean;
}

/** Whose restore of this database is unfinished. */
async function readMark(sql: Sql, database: string): Promise<Mark | undefined> {
  const there = await sql.query(
    `SELECT table_name FROM information_schema.tables WHERE table_schema = ${quoteText(database)} AND table_name = '${unfinishedMark}'`,
  );
  if (there.length === 0) return undefined;
  const [[id = '', made = ''] = []] = await sql.query(`SELECT id, made FROM ${quoteName(database)}.${unfinishedMark}`);
  return { id, made: made === '1' };
}

/** Drops what the killed restore `id` made of the database; one that was there before is empty afterwards. */
export async function dropUnfinished(
  sql: Sql,
  { database, id }: Pick<RestoreTarget, 'database' | 'id'>,
): Promise<void> {
  const mark = await readMark(sql, database);
  if (mark?.id !== id) return;
  const made = await madeWith(sql, database);
  await sql.query(`DROP DATABASE ${quoteName(database)}`);
  if (!mark.made) await sql.query(`CREATE DATABASE ${quoteName(database)}${madeLike(made)}`);
}

/** The restore has come to its end. */
export async function removeMark(sql: Sql, database: string): Promise<void> {
  await sql.query(`DROP TABLE IF EXISTS ${quoteName(database)}.${unfinishedMark}`);
}

/** Names of character sets and collations are words; anything else did not come from a server. */
function madeLike({ charset = '', collation = '', comment = '' }: Readonly<Record<string, string>>): string {
  const word = /^\w+$/;
  const like = `${word.test(charset) ? ` CHARACTER SET ${charset}` : ''}${word.test(collation) ? ` COLLATE ${collation}` : ''}`;
  return comment === '' ? like : `${like} COMMENT ${quoteText(comment)}`;
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
