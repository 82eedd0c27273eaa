import { renameSync, rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { ChunkPlace } from '../pack-writer.js';

/** Where a chunk of an archive's content lies: in which file of the spool, and where in its tar. */
export interface OwnPlace {
  pack: string;
  at: number;
  length: number;
}

/**
 * The chunks that a run has read for its archive, in a scratch database: there may be more of them than fit into memory. Each
 * gets its place in the archive when it is first written there.
 */
export class OwnChunks {
  private readonly db: Database.Database;
  private readonly find: Database.Statement<[Buffer], OwnPlace>;
  private readonly put: Database.Statement<[number, Buffer]>;

  private constructor(file: string) {
    this.db = new Database(file);
    // Whole after a kill; after a power cut nobody relies on it.
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('synchronous = OFF');
    this.find = this.db.prepare('SELECT pack, at, length FROM own WHERE id = ?');
    this.put = this.db.prepare('UPDATE own SET placed = ? WHERE id = ? AND placed IS NULL');
  }

  /** Makes the database of what `packs` hold; what an earlier attempt made is replaced. */
  static make(file: string, packs: Iterable<readonly [pack: string, chunks: readonly ChunkPlace[]]>): void {
    const temporary = `${file}.tmp`;
    rmSync(temporary, { force: true });
    const db = new Database(temporary);
    db.pragma('journal_mode = OFF');
    db.pragma('synchronous = OFF');
    db.exec(
      'CREATE TABLE own (id BLOB PRIMARY KEY, pack TEXT NOT NULL, at INTEGER NOT NULL, length INTEGER NOT NULL, placed INTEGER) WITHOUT ROWID',
    );
    const add = db.prepare('INSERT OR IGNORE INTO own VALUES (?, ?, ?, ?, NULL)');
    db.transaction(() => {
      for (const [pack, chunks] of packs)
        for (const [id, at, length] of chunks) add.run(Buffer.from(id, 'hex'), pack, at, length);
    })();
    db.close();
    renameSync(temporary, file);
  }

  static open(file: string): OwnChunks {
    return new OwnChunks(file);
  }

  place(id: string): OwnPlace | undefined {
    return this.find.get(Buffer.from(id, 'hex'));
  }

  has(id: string): boolean {
    return this.place(id) !== undefined;
  }

  /** Forgets the places that an earlier attempt gave. */
  reset(): void {
    this.db.exec('BEGIN; UPDATE own SET placed = NULL');
  }

  /** The chunk is at `offset` of the archive's contents; where it is more than once, the first place counts. */
  setPlaced(id: string, offset: number): void {
    this.put.run(offset, Buffer.from(id, 'hex'));
  }

  commit(): void {
    if (this.db.inTransaction) this.db.exec('COMMIT');
  }

  /** What is in the archive, in its order, at most `count` at once. */
  *placed(count: number): Generator<ChunkPlace[]> {
    const rows = this.db
      .prepare<[], { id: Buffer; placed: number; length: number }>(
        'SELECT id, placed, length FROM own WHERE placed IS NOT NULL ORDER BY placed',
      )
      .iterate();
    let part: ChunkPlace[] = [];
    for (const { id, placed, length } of rows) {
      part.push([id.toString('hex'), placed, length]);
      if (part.length < count) continue;
      yield part;
      part = [];
    }
    yield part;
  }

  close(): void {
    this.db.close();
  }
}
