import Database from 'better-sqlite3';
import { HoldfastError } from '../../errors.js';

/**
 * The first column of a query's first row, as text; null for NULL and where there is no row. Binary values are hex.
 * @throws HoldfastError SourceFailed with what SQLite said.
 */
export function askDatabase(file: string, sql: string): string | null {
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { fileMustExist: true, readonly: true });
    const row = database.prepare<[], unknown[]>(sql).safeIntegers().raw().get();
    const value = row?.[0];
    if (value === undefined || value === null) return null;
    return Buffer.isBuffer(value) ? value.toString('hex') : String(value);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new HoldfastError('SourceFailed', `the query failed: ${message}`, { cause: error, retryable: false });
  } finally {
    database?.close();
  }
}
