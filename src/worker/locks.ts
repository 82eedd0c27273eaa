import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import Database from 'better-sqlite3';
import { errnoOf } from '../errors.js';

/** Who holds an exclusive lock. For messages only: it may be stale, the lock itself never is. */
export interface LockHolder {
  pid: number;
  command: string;
  /** ISO 8601. */
  since: string;
  /** What the holder wants others to know, such as the Web UI's address. */
  note?: string;
}

/** A lock between processes. The operating system drops it when its process dies, however it dies. */
export interface Lock {
  readonly path: string;
  readonly exclusive: boolean;
  /** Shared to exclusive, if nobody else holds it; else the lock stays shared. */
  tryUpgrade(): boolean;
  /** Replaces the note that other processes read with {@link readHolder}. Exclusive locks only. */
  describe(note: string): void;
  /** Idempotent. */
  release(): void;
}

export interface LockOptions {
  /** How the holder calls itself; default: the program and its first argument. */
  command?: string;
}

/**
 * Takes the lock if nobody else, in this or another process, holds it in any mode. Creates the file (0600) and its folder (0700).
 *
 * Nothing but SQLite may open the lock file: on POSIX systems, closing any descriptor of it drops all locks this process has on it.
 */
export function tryExclusive(path: string, options: LockOptions = {}): Lock | undefined {
  return open(path, true, options);
}

/** Takes the lock unless somebody holds, or is just trying to get, it exclusively. */
export function tryShared(path: string, options: LockOptions = {}): Lock | undefined {
  return open(path, false, options);
}

/** The last exclusive holder of a lock as it described itself, if it did. */
export function readHolder(path: string): LockHolder | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(holderPath(path), 'utf8'));
    return isHolder(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function open(path: string, exclusive: boolean, options: LockOptions): Lock | undefined {
  createFile(path);
  const db = new Database(path, { timeout: 0 });
  try {
    if (!begin(db, exclusive)) {
      db.close();
      return undefined;
    }
    return new SqliteLock(path, db, exclusive, options.command ?? ownCommand());
  } catch (error) {
    db.close();
    throw error;
  }
}

class SqliteLock implements Lock {
  readonly #since = new Date().toISOString();

  constructor(
    readonly path: string,
    private readonly db: Database.Database,
    public exclusive: boolean,
    private readonly command: string,
  ) {
    if (exclusive) this.describe();
  }

  tryUpgrade(): boolean {
    if (this.exclusive) return true;
    this.db.exec('COMMIT');
    this.exclusive = begin(this.db, true);
    if (this.exclusive) this.describe();
    else if (!begin(this.db, false)) throw new Error(`${this.path}: another process took the lock during an upgrade`);
    return this.exclusive;
  }

  describe(note?: string): void {
    if (!this.exclusive || !this.db.open) return;
    const holder: LockHolder = { pid: process.pid, command: this.command, since: this.#since };
    if (note !== undefined) holder.note = note;
    writeFileSync(holderPath(this.path), `${JSON.stringify(holder)}\n`, { mode: 0o600 });
  }

  release(): void {
    if (!this.db.open) return;
    // The sidecar goes first: once the lock is free, it may be the next holder's.
    if (this.exclusive) rmSync(holderPath(this.path), { force: true });
    this.db.close();
  }
}

function begin(db: Database.Database, exclusive: boolean): boolean {
  try {
    if (exclusive) {
      db.exec('BEGIN EXCLUSIVE');
    } else {
      // A deferred transaction takes its SHARED lock at the first read.
      db.exec('BEGIN');
      db.prepare('SELECT count(*) FROM sqlite_master').get();
    }
    return true;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    if (errnoOf(error)?.startsWith('SQLITE_BUSY')) return false;
    throw error;
  }
}

function createFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    // `wx` opens only a file that nobody can have locked yet.
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}

function holderPath(path: string): string {
  return `${path}.json`;
}

function ownCommand(): string {
  return [basename(process.argv[1] ?? 'holdfast').replace(/\.[cm]?[jt]s$/, ''), process.argv[2] ?? ''].join(' ').trim();
}

function isHolder(value: unknown): value is LockHolder {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    'command' in value &&
    typeof value.command === 'string' &&
    'since' in value &&
    typeof value.since === 'string'
  );
}
