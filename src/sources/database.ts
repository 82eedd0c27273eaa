import { createHash } from 'node:crypto';
import { HoldfastError } from '../errors.js';

/**
 * What a database source does. A dump is written below a folder of the spool, proven complete, and from there walked,
 * chunked and stored like files; a restore gets the same folder back. One instance speaks to one server (or, for SQLite,
 * to a set of files), as one source of a job describes it, with its secrets resolved.
 */
export type DatabaseKind = 'postgres' | 'mysql' | 'sqlite';

/** What every call is given. */
export interface DatabaseContext {
  /** Fires on cancellation: child processes end with their whole group before the call rejects. */
  signal: AbortSignal;
  /**
   * Private folder (0700) for password files and the like, on the disk that a dump goes to; the caller removes it, also
   * what a killed process left.
   */
  tempDir: string;
  /**
   * Private folder where each child process group is recorded while it lives, so that the next start can end what a
   * killed worker left running.
   */
  processes: string;
  /** Told of bytes written (dump) or loaded (restore) since the last call. */
  onProgress(bytes: number): void;
  /** For the log; never with secrets. */
  log(message: string, details?: Record<string, unknown>): void;
}

export interface DatabaseWarning {
  /** Stable, CamelCase, such as `NotTransactional`. */
  code: string;
  message: string;
}

export interface Preflight {
  /** Product and version, such as `PostgreSQL 15.13`. */
  server: string;
  /** Those the config asks for, in a stable order; for SQLite the absolute paths of the files. */
  databases: { name: string; estimatedBytes: number }[];
  warnings: DatabaseWarning[];
}

/** What would keep a backup from being whole, or from being made. */
export interface Finding {
  /** `fail`: the next backup would fail; `warn`: it would be less than it could be. */
  status: 'warn' | 'fail';
  message: string;
  /** What to do about it. */
  hint: string;
}

export interface Examination {
  /** Product and version of the server and of the tool that would dump it. */
  server: string;
  tool: string;
  databases: number;
  problems: Finding[];
}

/** Of a source that finds nothing to back up. */
export const noDatabase: Finding = {
  status: 'fail',
  message: 'there is no database to back up',
  hint: 'Correct `databases`, `exclude` or `path` of the source.',
};

/** Rows of one table, counted so that a restore can be compared. */
export interface TableRows {
  /** Qualified as the kind does (`public.orders`); unquoted, so that it only identifies. */
  name: string;
  rows: number;
}

/** Where in the server's log a dump stands, when the server tells. */
export interface LogPosition {
  file?: string;
  position?: number;
  gtid?: string;
  lsn?: string;
}

/** What is known of a proven dump; stored beside it as `report.json`. */
export interface DumpReport {
  format: 1;
  kind: DatabaseKind;
  /** The database's name; for SQLite the file's absolute path. */
  database: string;
  /** Relative to the dump's folder, `/`-separated; for SQLite none: the copy is at the database's own path. */
  files: { path: string; bytes: number }[];
  /** Sum of the files. */
  bytes: number;
  /** Row counts in the dump's own snapshot, or read from the dump itself: never counted at another moment. */
  tables: TableRows[];
  /** Product and version. */
  server: string;
  /** The tool's product and version; for SQLite the library's. */
  tool: string;
  /** What a new database has to be made with (encoding, collation, ...), by the server's own words. */
  made?: Readonly<Record<string, string>>;
  /** Users or roles that own something in it or have rights to it. */
  roles?: string[];
  /** Tablespaces that something in it is in. */
  tablespaces?: string[];
  /** ISO 8601, when the dump's snapshot was taken, as near as is known. */
  takenAt: string;
  position?: LogPosition;
  /** What makes the dump less than it should be: the run that has one is `partial`. */
  warnings: DatabaseWarning[];
}

/** A dump that lies in a folder: just written, or restored from a repository. */
export interface StoredDump {
  /** Holds `report.files`. */
  folder: string;
  report: DumpReport;
  /** SQLite only: the copy of the database. */
  file?: string;
}

/** Where a dump is restored to; the server is the one the source was opened with. */
export interface RestoreTarget {
  /** The database to fill; for SQLite an absolute path. */
  database: string;
  /** Make the database when it does not exist. Without it a missing one is an error. */
  create: boolean;
  /** Empty a database that holds something. Without it that is `TargetConflict`. */
  clean: boolean;
  /** Users, roles and the like, too. */
  globals: boolean;
  /** Parallel connections, where the tool can. */
  jobs?: number;
  /**
   * Names what is made on the way to a finished restore: the same when a restore is taken up again, and no other restore's.
   */
  id: string;
}

export interface TableDifference {
  table: string;
  /** Rows the dump has; null: the table is not in the dump. */
  expected: number | null;
  /** Rows the restored database has; null: the table is missing. */
  found: number | null;
}

export interface RestoreReport {
  /** Where it was restored to. */
  database: string;
  server: string;
  tables: number;
  rows: number;
  /** Empty when the restored database has every table with as many rows as were dumped. */
  differences: TableDifference[];
  warnings: DatabaseWarning[];
  /** Something of the dump that is no table's rows could not be restored; a warning says what. */
  incomplete?: boolean;
}

/**
 * Asks the restored database: the first column of the first row as text, null for NULL and where there is no row.
 * @throws HoldfastError SourceFailed with what the server said.
 */
export type Ask = (sql: string, signal: AbortSignal) => Promise<string | null>;

export interface DatabaseSource {
  readonly kind: DatabaseKind;

  /**
   * Connects, and finds the databases the config asks for and a tool that can dump them.
   * @throws HoldfastError AuthDenied, SourceMissing (no such server, database or file), ToolMissing, SourceFailed.
   */
  preflight(context: DatabaseContext): Promise<Preflight>;

  /**
   * Looks, without reading more than catalogues, whether a backup would work: connects, finds tool and databases, and asks
   * for the rights that it needs. Throws as `preflight`.
   */
  examine(context: DatabaseContext): Promise<Examination>;

  /**
   * Writes one database's dump below `folder`, which exists and is empty, and proves it complete: the tool exited with 0
   * and its own end mark is there. Whatever throws leaves a folder that the caller removes. For SQLite `file` is where the
   * copy goes. Files are private (0600) and written out by the end.
   * @throws HoldfastError as `preflight`, and DumpIncomplete.
   */
  dump(database: string, place: { folder: string; file: string }, context: DatabaseContext): Promise<DumpReport>;

  /**
   * Fills the target from a dump and compares its tables with the report's. What differs is in the answer, not thrown.
   * @throws HoldfastError TargetConflict when the target holds something and `clean` is not set; AuthDenied, ToolMissing, RestoreFailed.
   */
  restore(dump: StoredDump, target: RestoreTarget, context: DatabaseContext): Promise<RestoreReport>;

  /**
   * Restores into a temporary database of that name (see `scratchName`) beside the others, compares, and drops it, whatever
   * happened. One that is there already, of an attempt that was killed, is dropped first. `inspect` may ask it before it
   * goes. Throws as `restore`.
   */
  scratch(
    dump: StoredDump,
    name: string,
    context: DatabaseContext,
    inspect?: (ask: Ask) => Promise<void>,
  ): Promise<RestoreReport>;

  /**
   * Removes what a killed `restore` left at the server, or beside the file, that is no finished database; what another
   * restore makes there stays. Only for a restore that nothing goes on with. Throws as `preflight`.
   */
  dropUnfinished(target: Pick<RestoreTarget, 'database' | 'id'>, context: DatabaseContext): Promise<void>;

  /** Drops what a killed `scratch` left under that name, if it is there. Throws as `preflight`. */
  dropScratch(name: string, context: DatabaseContext): Promise<void>;

  /** Closes connections and tunnels. */
  close(): Promise<void>;
}

/** The name of a temporary database for what `of` names; the same for the same. */
export const scratchName = (of: string): string => passingName('scratch', of);

/** `new`: one that a restore fills. `old`: one that a restore has replaced. `scratch`: one that is only compared. */
export function passingName(kind: 'new' | 'old' | 'scratch', of: string): string {
  return `holdfast_${kind}_${createHash('sha256').update(of).digest('hex').slice(0, 12)}`;
}

/** What is there, a schema or a table, while a restore fills a database in place: what else it holds is half of a dump. */
export const unfinishedMark = 'holdfast_unfinished_restore';

/** Of the dump of such a database. */
export const unfinishedWarning = (database: string): DatabaseWarning => ({
  code: 'RestoreUnfinished',
  message: `${database}: a restore into it has not come to its end (${unfinishedMark} says so): what is backed up is only a part`,
});

/** Whether a database is one that restores and drills make and drop: nothing to back up. */
export const isPassing = (name: string): boolean => /^holdfast_(new|old|scratch)_[0-9a-f]{12}$/.test(name);

/** @throws HoldfastError Internal for the name of a database that is not a temporary one. */
export function mustBeScratch(name: string): void {
  if (!/^holdfast_scratch_[0-9a-f]{12}$/.test(name))
    throw new HoldfastError('Internal', `${name} is not the name of a temporary database`);
}

/** Compares the tables found with those dumped; in the order of their names. */
export function compareTables(expected: readonly TableRows[], found: readonly TableRows[]): TableDifference[] {
  const there = new Map(found.map(({ name, rows }) => [name, rows]));
  const differences: TableDifference[] = [];
  for (const { name, rows } of expected) {
    const other = there.get(name);
    if (other !== rows) differences.push({ table: name, expected: rows, found: other ?? null });
    there.delete(name);
  }
  for (const [table, rows] of there) differences.push({ table, expected: null, found: rows });
  return differences.sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : 0));
}
