import {
  closeSync,
  copyFileSync,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import type { SqliteSourceConfig } from '../../config/schema.js';
import { errnoOf, HoldfastError } from '../../errors.js';
import {
  type Ask,
  compareTables,
  type DatabaseContext,
  type DatabaseSource,
  type DatabaseWarning,
  type DumpReport,
  type Examination,
  type Finding,
  noDatabase,
  type Preflight,
  passingName,
  type RestoreReport,
  type RestoreTarget,
  type StoredDump,
} from '../database.js';
import { matcherOf } from '../name-patterns.js';
import { lookAt } from './copy.js';
import { filesOf } from './glob.js';
import { askInThread, inThread } from './in-thread.js';

/** So large a database is still read as a whole when it is only looked at, bytes. */
const checkedBytes = 64e6;

/** SQLite databases, copied by SQLite's own online backup while their programs go on. */
export class SqliteSource implements DatabaseSource {
  readonly kind = 'sqlite';

  constructor(private readonly config: SqliteSourceConfig) {}

  async preflight(): Promise<Preflight> {
    const left = this.config.exclude.map(matcherOf);
    const files = [...new Set(this.config.path.flatMap(filesOf))].filter((file) => !left.some((is) => is(file)));
    return {
      server: `SQLite ${new Database(':memory:').prepare<[], string>('SELECT sqlite_version()').pluck().get()}`,
      databases: files.map((name) => ({ name, estimatedBytes: sizeOf(name) + sizeOf(`${name}-wal`) })),
      warnings: [],
    };
  }

  async examine({ signal }: DatabaseContext): Promise<Examination> {
    const { server, databases } = await this.preflight();
    const problems: Finding[] = databases.length === 0 ? [noDatabase] : [];
    for (const { name, estimatedBytes } of databases) {
      signal.throwIfAborted();
      try {
        mustExist(name);
        lookAt(name, estimatedBytes <= checkedBytes);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        problems.push({ status: 'fail', message: error.message, hint: error.hint ?? 'Correct that and try again.' });
      }
    }
    return { server, tool: server, databases: databases.length, problems };
  }

  async dump(
    database: string,
    { file }: { folder: string; file: string },
    { signal, tempDir, onProgress }: DatabaseContext,
  ): Promise<DumpReport> {
    const takenAt = new Date().toISOString();
    mustExist(database);
    // SQLite takes no path of more than 512 bytes, and no name that leaves no room for `-journal`.
    const copy = path.join(tempDir, 'copy.db');
    const { tables, version, bytes, unchecked } = await inThread({ file: database, to: copy }, signal, onProgress);
    renameSync(copy, file);
    return {
      format: 1,
      kind: 'sqlite',
      database,
      files: [],
      bytes,
      tables,
      server: version,
      tool: version,
      takenAt,
      warnings: uncheckedOf(database, unchecked),
    };
  }

  async restore(dump: StoredDump, target: RestoreTarget, { signal }: DatabaseContext): Promise<RestoreReport> {
    const { database } = target;
    if (dump.file === undefined) throw new HoldfastError('RestoreFailed', `the dump has no copy of ${database}`);
    if (!path.isAbsolute(database))
      throw new HoldfastError('UsageInvalid', `expected an absolute path for the database, found ${database}`);
    if (sizeOf(database) > 0 && !target.clean) {
      throw new HoldfastError('TargetConflict', `${database} is there already`, {
        hint: '--into FILE restores beside it; --clean replaces it.',
      });
    }
    mustBeFree(database);
    mkdirSync(path.dirname(database), { recursive: true });
    const beside = unfinished(target);
    rmSync(beside, { force: true });
    try {
      copyDurably(dump.file, beside, existsSync(database) ? database : dump.file);
      const report = await compare(dump, beside, database, signal);
      // A log of the old database would be applied to the new one.
      removeCompanions(database);
      renameSync(beside, database);
      syncFolder(path.dirname(database));
      return report;
    } finally {
      rmSync(beside, { force: true });
    }
  }

  async scratch(
    dump: StoredDump,
    name: string,
    { signal, tempDir }: DatabaseContext,
    inspect?: (ask: Ask) => Promise<void>,
  ): Promise<RestoreReport> {
    if (dump.file === undefined)
      throw new HoldfastError('RestoreFailed', `the dump has no copy of ${dump.report.database}`);
    const scratch = path.join(tempDir, `${name}.db`);
    try {
      copyFileSync(dump.file, scratch);
      const report = await compare(dump, scratch, scratch, signal);
      await inspect?.((sql, its) => askInThread({ file: scratch, sql }, AbortSignal.any([signal, its])));
      return report;
    } finally {
      rmSync(scratch, { force: true });
      removeCompanions(scratch);
    }
  }

  async dropUnfinished(target: Pick<RestoreTarget, 'database' | 'id'>): Promise<void> {
    const file = unfinished(target);
    rmSync(file, { force: true });
    removeCompanions(file);
  }

  /** Nothing to do: it is in the folder of who made it, and goes with that. */
  async dropScratch(): Promise<void> {}

  async close(): Promise<void> {}
}

/** Where a restore puts its database together. */
const unfinished = ({ database, id }: Pick<RestoreTarget, 'database' | 'id'>): string =>
  path.join(path.dirname(database), `.${passingName('new', id)}`);

/** Removes what SQLite keeps beside a database. Where the name is too long for such a file, there is none. */
function removeCompanions(file: string): void {
  for (const ending of ['-wal', '-shm', '-journal']) {
    try {
      rmSync(file + ending, { force: true });
    } catch (error) {
      if (errnoOf(error) !== 'ENAMETOOLONG') throw error;
    }
  }
}

/** The copy belongs to whom `like` does: the program that uses it has to be able to write to it. */
function copyDurably(from: string, to: string, like: string): void {
  copyFileSync(from, to);
  const { uid, gid, mode } = statSync(like);
  const fd = openSync(to, 'r+');
  try {
    fchmodSync(fd, mode & 0o777);
    try {
      fchownSync(fd, uid, gid);
    } catch (error) {
      // Only root may give files away.
      if (errnoOf(error) !== 'EPERM') throw error;
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

async function compare(dump: StoredDump, file: string, name: string, signal: AbortSignal): Promise<RestoreReport> {
  const { tables, version, unchecked } = await inThread({ file }, signal, () => undefined);
  return {
    database: name,
    server: version,
    tables: tables.length,
    rows: tables.reduce((sum, { rows }) => sum + rows, 0),
    differences: compareTables(dump.report.tables, tables),
    warnings: uncheckedOf(name, unchecked),
  };
}

function uncheckedOf(name: string, tables: readonly string[]): DatabaseWarning[] {
  if (tables.length === 0) return [];
  const message = `${name}: only its own program can check these tables wholly: ${tables.slice(0, 20).join(', ')}`;
  return [{ code: 'CheckIncomplete', message }];
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch (error) {
    const errno = errnoOf(error);
    // A missing database is an error of its own dump, by name; a log with too long a name does not exist.
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ENAMETOOLONG') return 0;
    throw new HoldfastError('SourceFailed', `${file} can't be read (${errno ?? String(error)})`, { cause: error });
  }
}

function mustExist(database: string): void {
  const stat = statSync(database, { throwIfNoEntry: false });
  if (stat === undefined) {
    throw new HoldfastError('SourceMissing', `${database} does not exist`, {
      hint: 'Is a disk not mounted? Otherwise correct `path`.',
    });
  }
  // SQLite takes an empty file for an empty database; here it is what a crash or a full disk left.
  if (!stat.isFile() || stat.size === 0)
    throw new HoldfastError('SourceFailed', `${database} is ${stat.isFile() ? 'empty' : 'not a file'}`, {
      retryable: false,
    });
}

/** @throws HoldfastError TargetConflict while a program uses the database. */
function mustBeFree(file: string): void {
  if (!existsSync(file)) return;
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { fileMustExist: true, timeout: 1000 });
    database.exec('BEGIN EXCLUSIVE; ROLLBACK');
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || !/^SQLITE_(BUSY|LOCKED)/.test(error.code)) return;
    throw new HoldfastError('TargetConflict', `${file} is in use by another program`, {
      hint: 'Stop that program first, or restore to another file with --into FILE.',
    });
  } finally {
    database?.close();
  }
}
