import { chmodSync, chownSync, closeSync, fsyncSync, openSync, rmSync, statSync, utimesSync } from 'node:fs';
import Database from 'better-sqlite3';
import { errnoOf, HoldfastError } from '../../errors.js';
import type { TableRows } from '../database.js';
import { quoted } from '../sql-names.js';

/** What a copy or a check found. */
export interface Inspected {
  tables: TableRows[];
  /** What could not be checked, because it needs what only the database's own program knows. */
  unchecked: string[];
  /** The version of SQLite that looked. */
  version: string;
}

/** Pages copied between two looks at the signal and the lock: 4 MiB of the usual size. */
const pagesPerStep = 1024;
/** How often a writer may make the copy begin anew before it is done in one go. */
const restartsAtMost = 3;
/** How long another program's lock is waited for, ms. */
const busyMs = 5000;

/**
 * Copies a database that may be in use, as it was at one moment, and proves the copy. With a write-ahead log, writers go
 * on: the copy reads one snapshot. Without one they go on between steps, until they have made it begin anew too often;
 * then they wait. Synchronous but for short pauses: for a thread of its own.
 * @throws HoldfastError SourceFailed (locked, encrypted or damaged), DumpIncomplete.
 */
export async function copyDatabase(
  from: string,
  to: string,
  onProgress: (bytes: number) => void,
): Promise<Inspected & { bytes: number }> {
  const source = open(from);
  try {
    await attempt(from, () => transfer(source, to, onProgress));
  } finally {
    source.close();
  }
  const inspected = inspectDatabase(to, from);
  sync(to);
  const { size } = likeOriginal(from, to);
  return { ...inspected, bytes: size };
}

async function transfer(source: Database.Database, to: string, onProgress: (bytes: number) => void): Promise<void> {
  const pageSize = Number(source.pragma('page_size', { simple: true }));
  const wal = source.pragma('journal_mode', { simple: true }) === 'wal';
  // A snapshot that this connection holds is not disturbed by writers.
  const hold = (): void => {
    source.exec('BEGIN');
    source.prepare('SELECT count(*) FROM sqlite_schema').get();
  };
  if (wal) hold();
  let left = Number.POSITIVE_INFINITY;
  let restarts = 0;
  await source.backup(to, {
    progress({ remainingPages }) {
      if (Number.isFinite(left)) {
        if (remainingPages > left) restarts++;
        else onProgress((left - remainingPages) * pageSize);
      }
      left = remainingPages;
      return !wal && restarts > restartsAtMost ? 0x7fffffff : pagesPerStep;
    },
  });
  if (wal) source.exec('COMMIT');
}

/**
 * Checks a database with `PRAGMA integrity_check` and counts the rows of its tables. `name` is what messages call it.
 * @throws HoldfastError SourceFailed when it is damaged.
 */
export function inspectDatabase(file: string, name = file): Inspected {
  const copy = open(file, name);
  try {
    const { problems, unchecked } = guarded(name, () => check(copy));
    if (problems.length > 0) throw damaged(name, problems.join('; ').slice(0, 500));
    const version = copy.prepare('SELECT sqlite_version()').pluck().get();
    return { tables: guarded(name, () => countRows(copy)), unchecked, version: `SQLite ${String(version)}` };
  } finally {
    copy.close();
    // Made by looking at a database that has a write-ahead log; all of it is in the file.
    for (const ending of ['-wal', '-shm']) rmSync(file + ending, { force: true });
  }
}

/** Runs `PRAGMA integrity_check`: of every table apart where a collation or a function of its program's own forbids it of all. */
function check(database: Database.Database): { problems: string[]; unchecked: string[] } {
  const problemsOf = (what: string): string[] =>
    database
      .prepare<[], string>(`PRAGMA integrity_check(${what})`)
      .pluck()
      .all()
      .filter((text) => text !== 'ok');
  try {
    return { problems: problemsOf('10'), unchecked: [] };
  } catch (error) {
    if (!isForeign(error)) throw error;
  }
  const problems: string[] = [];
  const unchecked: string[] = [];
  for (const name of tableNames(database)) {
    try {
      problems.push(...problemsOf(quoted(name)));
    } catch (error) {
      if (!isForeign(error)) throw error;
      unchecked.push(`${name} (${error instanceof Error ? error.message : ''})`);
    }
  }
  // Reads every page of every table and index, and fails where one is none.
  database.prepare('SELECT sum(payload) FROM dbstat').get();
  return { problems, unchecked };
}

/** Whether a statement needs a collation, a function or a module that the database's own program brings. */
const isForeign = (error: unknown): boolean =>
  error instanceof Database.SqliteError &&
  (error.code === 'SQLITE_ERROR_MISSING_COLLSEQ' ||
    /^(unknown function|no such (function|module)):/.test(error.message));

/**
 * Looks at a database in passing: whether it can be opened, is as long as it says, and, with `whole`, is sound as far as
 * SQLite's quick check sees.
 * @throws HoldfastError SourceFailed, as a dump would.
 */
export function lookAt(file: string, whole: boolean): void {
  const database = open(file);
  try {
    const said = (pragma: string): unknown => guarded(file, () => database.pragma(pragma, { simple: true }));
    guarded(file, () => database.prepare('SELECT count(*) FROM sqlite_schema').get());
    if (said('journal_mode') !== 'wal') {
      const { size } = statSync(file);
      const due = Number(said('page_count')) * Number(said('page_size'));
      if (size < due) throw damaged(file, `it should have ${due} bytes and has ${size}`);
    }
    if (!whole) return;
    const found = guarded(file, () => {
      try {
        return database.pragma('quick_check(1)', { simple: true });
      } catch (error) {
        if (isForeign(error)) return 'ok';
        throw error;
      }
    });
    if (found !== 'ok') throw damaged(file, String(found).slice(0, 500));
  } finally {
    database.close();
  }
}

function tableNames(database: Database.Database): string[] {
  return database
    .prepare<[], string>(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name",
    )
    .pluck()
    .all();
}

function countRows(database: Database.Database): TableRows[] {
  return tableNames(database).map((name) => ({
    name,
    // An index may need a collation that only the database's own program knows.
    rows: Number(
      database
        .prepare(`SELECT count(*) FROM ${quoted(name)} NOT INDEXED`)
        .pluck()
        .get(),
    ),
  }));
}

function open(file: string, name = file): Database.Database {
  return guarded(name, () => {
    const database = new Database(file, { readonly: true, fileMustExist: true, timeout: busyMs });
    try {
      // Opening reads nothing yet: this does.
      database.pragma('schema_version');
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

async function attempt<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explained(error, name);
  }
}

function guarded<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw explained(error, name);
  }
}

function explained(error: unknown, name: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  const { code, message } = error;
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) {
    return new HoldfastError('SourceFailed', `${name} is locked by another program`, {
      hint: 'It is tried again. A program that never ends its transaction keeps everybody out.',
      cause: error,
    });
  }
  if (code.startsWith('SQLITE_NOTADB')) {
    return new HoldfastError('SourceFailed', `${name} is not a SQLite database, or it is encrypted`, {
      retryable: false,
      cause: error,
    });
  }
  if (code.startsWith('SQLITE_CORRUPT')) return damaged(name, message);
  if (code === 'SQLITE_FULL') {
    return new HoldfastError('SpoolFull', `there is no room for the copy of ${name}`, { cause: error });
  }
  if (code.startsWith('SQLITE_CANTOPEN') && statSync(name, { throwIfNoEntry: false }) === undefined) {
    return new HoldfastError('SourceMissing', `${name} does not exist`, { cause: error });
  }
  return new HoldfastError('SourceFailed', `${name} can't be read: ${message} (${code})`, {
    hint:
      code === 'SQLITE_READONLY_ROLLBACK' ? 'Its program crashed; start that once, so that it cleans up.' : undefined,
    cause: error,
  });
}

function damaged(name: string, how: string): HoldfastError {
  return new HoldfastError('SourceFailed', `${name} is damaged: ${how}`, {
    hint: 'Earlier backups of it stay as they are. `sqlite3 FILE .recover` saves what can be saved.',
    retryable: false,
  });
}

function sync(file: string): void {
  const fd = openSync(file, 'r+');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Gives the copy its original's owner, mode and time, which the snapshot records. */
function likeOriginal(from: string, to: string): { size: number } {
  const original = statSync(from);
  try {
    chownSync(to, original.uid, original.gid);
  } catch (error) {
    // Only root may give files away; the copy then belongs to the worker's user.
    if (errnoOf(error) !== 'EPERM') throw error;
  }
  chmodSync(to, original.mode & 0o777);
  utimesSync(to, original.atime, original.mtime);
  return { size: statSync(to).size };
}
