import { mkdirSync } from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import type { ChunkFilter } from './chunk-filter.js';
import type { DeletionRecord } from './deletions.js';
import type { IndexPack, PackKind } from './index-file.js';
import { archiveNameOf, archiveObject, indexName, packHashOf, packName, pinName } from './layout.js';
import type { Root } from './root.js';

/** A chunk's place: which pack (stored bytes' SHA-256), where in its tar, how long. */
export interface ChunkLocation {
  pack: string;
  offset: number;
  length: number;
}

export interface PackRow {
  no: number;
  hash: string;
  kind: PackKind;
  generation: string;
  size: number;
  plain: number;
}

export interface SnapshotRow {
  id: string;
  seq: number;
  /** Object name below the repository. */
  name: string;
  /** SHA-256 of the root's JSON. */
  sha256: string;
  root: Root;
}

/** A root that a destination held when it was last listed, and that no deletion record explains. */
export interface GoneSnapshot {
  destination: string;
  id: string;
  seq: number;
  time: string;
  noticed: string;
}

const schema = `
  CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS packs (
    no INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, generation TEXT NOT NULL,
    size INTEGER NOT NULL, plain INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS archives (pack TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS index_packs (idx TEXT NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (idx, pack)) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS index_packs_pack ON index_packs (pack);
  CREATE TABLE IF NOT EXISTS chunks (
    id BLOB NOT NULL, pack INTEGER NOT NULL, at INTEGER NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY (id, pack)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS snapshots (
    id TEXT PRIMARY KEY, seq INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, root TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS presence (
    destination TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (destination, name)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS marks (pack TEXT PRIMARY KEY) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS supersedes (old TEXT NOT NULL, by TEXT NOT NULL, PRIMARY KEY (old, by)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS deletions (
    destination TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (destination, name)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS gone (
    destination TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, noticed TEXT NOT NULL,
    PRIMARY KEY (destination, id)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS lost (
    id TEXT PRIMARY KEY, seq INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, root TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS refs (id BLOB PRIMARY KEY, chunks BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS verified (
    destination TEXT NOT NULL, pack TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (destination, pack)) WITHOUT ROWID;
`;

/**
 * One job's catalog: a local cache of its repository. Everything in it can be read again from a destination,
 * so a crash may cost a rebuild and never a backup.
 */
export class Catalog {
  readonly db: Database.Database;
  /** Kept up to date with every chunk added through this object. */
  filter: ChunkFilter | undefined;
  private readonly findNumbers: Database.Statement<[Buffer], number>;
  private readonly findChunk: Database.Statement<[Buffer], { pack: number; at: number; length: number }>;
  private readonly findName: Database.Statement<[string], string>;
  private readonly findPack: Database.Statement<[number], PackRow>;

  constructor(readonly file: string) {
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    this.db = new Database(file, { timeout: 30_000 });
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('synchronous = NORMAL');
    // Chunk ids are random: each pack touches all pages, which are moved and synced once in 32 MiB instead of once in 4.
    this.db.pragma('wal_autocheckpoint = 8192');
    this.db.exec(schema);
    this.findChunk = this.db.prepare('SELECT pack, at, length FROM chunks WHERE id = ?');
    this.findName = this.db.prepare<[string], string>('SELECT name FROM archives WHERE pack = ?').pluck();
    this.findNumbers = this.db.prepare<[Buffer], number>('SELECT pack FROM chunks WHERE id = ?').pluck();
    this.findPack = this.db.prepare('SELECT no, hash, kind, generation, size, plain FROM packs WHERE no = ?');
  }

  close(): void {
    this.db.close();
  }

  get(key: string): string | undefined {
    return this.db.prepare<[string], { value: string }>('SELECT value FROM meta WHERE key = ?').get(key)?.value;
  }

  set(key: string, value: string): void {
    this.db.prepare('INSERT OR REPLACE INTO meta VALUES (?, ?)').run(key, value);
  }

  /** Forgets what came from the repository, but not what each destination held: that tells a rollback. */
  clearForRebuild(): void {
    this.db.exec(
      'DELETE FROM meta; DELETE FROM packs; DELETE FROM archives; DELETE FROM index_packs; DELETE FROM chunks; DELETE FROM snapshots; ' +
        'DELETE FROM marks; DELETE FROM supersedes; DELETE FROM deletions; DELETE FROM refs;',
    );
  }

  /** Forgets everything that came from the repository. */
  clear(): void {
    this.db.exec(
      'DELETE FROM meta; DELETE FROM packs; DELETE FROM archives; DELETE FROM index_packs; DELETE FROM chunks; DELETE FROM snapshots; DELETE FROM presence; DELETE FROM marks; ' +
        'DELETE FROM supersedes; DELETE FROM deletions; DELETE FROM gone; DELETE FROM lost; DELETE FROM refs; DELETE FROM verified;',
    );
  }

  /** Records packs of one index with their chunks, in one transaction. A pack may stand in several indexes. */
  addPacks(index: string, packs: Iterable<IndexPack>): void {
    const known = this.db.prepare<[string], { no: number }>('SELECT no FROM packs WHERE hash = ?');
    const addPack = this.db.prepare('INSERT INTO packs (hash, kind, generation, size, plain) VALUES (?, ?, ?, ?, ?)');
    const list = this.db.prepare('INSERT OR IGNORE INTO index_packs VALUES (?, ?)');
    const supersede = this.db.prepare('INSERT OR IGNORE INTO supersedes VALUES (?, ?)');
    const addChunk = this.db.prepare('INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)');
    const addName = this.db.prepare('INSERT OR REPLACE INTO archives VALUES (?, ?)');
    this.db
      .transaction(() => {
        for (const pack of packs) {
          for (const old of pack.supersedes ?? []) supersede.run(old, index);
          const row = known.get(pack.pack);
          if (pack.name !== undefined) addName.run(pack.pack, pack.name);
          if (row) {
            list.run(index, row.no);
            // An archive's chunks come in several lines.
            if (pack.name === undefined) continue;
          }
          const no =
            row?.no ??
            Number(addPack.run(pack.pack, pack.kind, pack.generation, pack.size, pack.plain).lastInsertRowid);
          if (!row) list.run(index, no);
          for (const [id, at, length] of pack.chunks) {
            addChunk.run(Buffer.from(id, 'hex'), no, at, length);
            this.filter?.add(id);
          }
        }
      })
      .immediate();
  }

  /** Takes packs out of an index; those that stand in no other are forgotten with their chunks. */
  unlist(index: string, hashes: Iterable<string>): void {
    const find = this.db.prepare<[string], { no: number }>('SELECT no FROM packs WHERE hash = ?');
    const remove = this.db.prepare('DELETE FROM index_packs WHERE idx = ? AND pack = ?');
    this.db
      .transaction(() => {
        let removed = 0;
        for (const hash of hashes) {
          const row = find.get(hash);
          if (row) removed += remove.run(index, row.no).changes;
        }
        if (removed > 0) {
          this.db.exec(`
            DELETE FROM chunks WHERE pack IN (SELECT no FROM packs WHERE no NOT IN (SELECT pack FROM index_packs));
            DELETE FROM packs WHERE no NOT IN (SELECT pack FROM index_packs);
          `);
        }
      })
      .immediate();
  }

  /** Forgets a pack that is nowhere any more, whichever indexes list it. */
  forgetPacks(hashes: Iterable<string>): void {
    this.db
      .transaction(() => {
        for (const hash of hashes) {
          this.db.prepare('DELETE FROM archives WHERE pack = ?').run(hash);
          const no = this.packNumber(hash);
          if (no === undefined) continue;
          for (const table of ['index_packs', 'chunks']) this.db.prepare(`DELETE FROM ${table} WHERE pack = ?`).run(no);
          this.db.prepare('DELETE FROM packs WHERE no = ?').run(no);
        }
      })
      .immediate();
  }

  /** The indexes, and those that took the place of any of them. */
  expand(indexes: Iterable<string>): Set<string> {
    const all = new Set(indexes);
    // What is added while the set is walked is walked, too.
    for (const index of all) for (const by of this.superseding(index)) all.add(by);
    return all;
  }

  /** The indexes with each that was superseded replaced by what took its place, where some destination holds that. */
  effective(indexes: Iterable<string>): string[] {
    const result = new Set<string>();
    const visit = (index: string, path: readonly string[]): void => {
      const by = this.superseding(index).filter((id) => !path.includes(id) && this.holders(indexName(id)).length > 0);
      if (by.length === 0) result.add(index);
      for (const id of by) visit(id, [...path, id]);
    };
    for (const index of indexes) visit(index, [index]);
    return [...result];
  }

  private superseding(index: string): string[] {
    return this.db.prepare<[string], string>('SELECT by FROM supersedes WHERE old = ?').pluck().all(index);
  }

  /** Ids of the indexes whose place this one took. */
  supersededBy(index: string): string[] {
    return this.db.prepare<[string], string>('SELECT old FROM supersedes WHERE by = ?').pluck().all(index);
  }

  /** Lists known packs in a further index. */
  listPacks(index: string, hashes: Iterable<string>): void {
    const add = this.db.prepare('INSERT OR IGNORE INTO index_packs SELECT ?, no FROM packs WHERE hash = ?');
    this.db
      .transaction(() => {
        for (const hash of hashes) add.run(index, hash);
      })
      .immediate();
  }

  packsOf(index: string): PackRow[] {
    return this.db
      .prepare<[string], PackRow>(
        `SELECT no, hash, kind, generation, size, plain FROM packs
         WHERE no IN (SELECT pack FROM index_packs WHERE idx = ?) ORDER BY no`,
      )
      .all(index);
  }

  /** Indexes that list the pack. */
  indexesOf(pack: number): string[] {
    return this.db
      .prepare<[number], { idx: string }>('SELECT idx FROM index_packs WHERE pack = ?')
      .all(pack)
      .map((row) => row.idx);
  }

  packNumber(hash: string): number | undefined {
    return this.db.prepare<[string], number>('SELECT no FROM packs WHERE hash = ?').pluck().get(hash);
  }

  /** The object that is the pack: an archive has a name of its own. */
  objectOf(pack: string): string {
    const name = this.findName.get(pack);
    return name === undefined ? packName(pack) : archiveObject(name);
  }

  /** The pack that an object is; undefined for an archive that no index names, and for what is no pack. */
  packAt(object: string): string | undefined {
    const name = archiveNameOf(object);
    if (name === undefined) return packHashOf(object);
    return this.db.prepare<[string], string>('SELECT pack FROM archives WHERE name = ?').pluck().get(name);
  }

  indexes(): string[] {
    return this.db
      .prepare<[], { idx: string }>('SELECT DISTINCT idx FROM index_packs')
      .all()
      .map((row) => row.idx);
  }

  /** A pack in the form an index lists it, chunks in the order they lie in the pack. */
  indexPack(hash: string): IndexPack | undefined {
    const row = this.db
      .prepare<[string], PackRow>('SELECT no, hash, kind, generation, size, plain FROM packs WHERE hash = ?')
      .get(hash);
    if (!row) return undefined;
    const chunks = this.db
      .prepare<[number], { id: Buffer; at: number; length: number }>(
        'SELECT id, at, length FROM chunks WHERE pack = ? ORDER BY at',
      )
      .all(row.no);
    const name = this.findName.get(hash);
    return {
      pack: row.hash,
      kind: row.kind,
      ...(name === undefined ? {} : { name }),
      generation: row.generation,
      size: row.size,
      plain: row.plain,
      chunks: chunks.map(({ id, at, length }) => [id.toString('hex'), at, length]),
    };
  }

  /** Every pack that holds the chunk, with its place there. */
  locate(id: string): { row: PackRow; at: number; length: number }[] {
    return this.findChunk.all(Buffer.from(id, 'hex')).flatMap(({ pack, at, length }) => {
      const row = this.findPack.get(pack);
      return row ? [{ row, at, length }] : [];
    });
  }

  /** Places of the chunk, packs by number. */
  locateNumbers(id: string): { pack: number; at: number; length: number }[] {
    return this.findChunk.all(Buffer.from(id, 'hex'));
  }

  /** Numbers of the packs that hold the chunk; the cheap form for hot loops. */
  packNumbers(id: string): number[] {
    return this.findNumbers.all(Buffer.from(id, 'hex'));
  }

  /** Adds every known chunk to the filter. */
  fill(filter: ChunkFilter): void {
    for (const id of this.db.prepare<[], Buffer>('SELECT id FROM chunks').pluck().iterate())
      filter.add(id.toString('hex'));
  }

  packByNumber(no: number): PackRow | undefined {
    return this.findPack.get(no);
  }

  /** Replaces what is known of a destination's objects (names below the repository's prefix) by a new listing. */
  setPresence(destination: string, objects: Map<string, number>): void {
    const old = this.presence(destination);
    this.db
      .transaction(() => {
        const add = this.db.prepare('INSERT OR REPLACE INTO presence VALUES (?, ?, ?)');
        const remove = this.db.prepare('DELETE FROM presence WHERE destination = ? AND name = ?');
        for (const [name, size] of objects) if (old.get(name) !== size) add.run(destination, name, size);
        for (const name of old.keys()) if (!objects.has(name)) remove.run(destination, name);
      })
      .immediate();
  }

  dropPresence(destination: string, name: string): void {
    this.db.prepare('DELETE FROM presence WHERE destination = ? AND name = ?').run(destination, name);
  }

  /** Stored bytes of the packs the catalog knows. */
  packSizes(hashes: Iterable<string>): Map<string, number> {
    const find = this.db.prepare<[string], { size: number }>('SELECT size FROM packs WHERE hash = ?');
    const sizes = new Map<string, number>();
    for (const hash of hashes) {
      const row = find.get(hash);
      if (row) sizes.set(hash, row.size);
    }
    return sizes;
  }

  addPresence(destination: string, name: string, size: number): void {
    this.db.prepare('INSERT OR REPLACE INTO presence VALUES (?, ?, ?)').run(destination, name, size);
  }

  /** Forgets what destinations other than these held: the job does not store there any more, so nothing is to count on them. */
  keepPresence(destinations: readonly string[]): void {
    const marks = destinations.map(() => '?').join(', ');
    this.db.prepare(`DELETE FROM presence WHERE destination NOT IN (${marks})`).run(...destinations);
  }

  presence(destination: string): Map<string, number> {
    const rows = this.db
      .prepare<[string], { name: string; size: number }>('SELECT name, size FROM presence WHERE destination = ?')
      .all(destination);
    return new Map(rows.map(({ name, size }) => [name, size]));
  }

  /** Destinations known to hold the object. */
  holders(name: string): string[] {
    return this.db
      .prepare<[string], { destination: string }>('SELECT destination FROM presence WHERE name = ?')
      .all(name)
      .map((row) => row.destination);
  }

  /** A destination's deletion record as last read, unless its size says that it was written anew. */
  deletion(destination: string, name: string, size: number): DeletionRecord | undefined {
    const json = this.db
      .prepare<[string, string, number], string>(
        'SELECT record FROM deletions WHERE destination = ? AND name = ? AND size = ?',
      )
      .pluck()
      .get(destination, name, size);
    return json === undefined ? undefined : (JSON.parse(json) as DeletionRecord);
  }

  putDeletion(destination: string, name: string, size: number, record: DeletionRecord): void {
    this.db
      .prepare('INSERT OR REPLACE INTO deletions VALUES (?, ?, ?, ?)')
      .run(destination, name, size, JSON.stringify(record));
  }

  /** Roots that a destination once held and that vanished unexplained, oldest first. */
  gone(): GoneSnapshot[] {
    return this.db.prepare<[], GoneSnapshot>('SELECT * FROM gone ORDER BY seq, destination').all();
  }

  addGone(row: GoneSnapshot): void {
    this.db
      .prepare('INSERT OR IGNORE INTO gone VALUES (?, ?, ?, ?, ?)')
      .run(row.destination, row.id, row.seq, row.time, row.noticed);
  }

  dropGone(destination: string, id: string): void {
    this.db.prepare('DELETE FROM gone WHERE destination = ? AND id = ?').run(destination, id);
    this.db.prepare('DELETE FROM lost WHERE id = ? AND id NOT IN (SELECT id FROM gone)').run(id);
  }

  /** Keeps the root of a snapshot that vanished from everywhere unexplained, so that it can be brought back. */
  keepLost({ id, seq, name, sha256, root }: SnapshotRow): void {
    this.db
      .prepare('INSERT OR REPLACE INTO lost SELECT ?, ?, ?, ?, ? WHERE ? IN (SELECT id FROM gone)')
      .run(id, seq, name, sha256, JSON.stringify(root), id);
  }

  lost(id: string): SnapshotRow | undefined {
    const row = this.db
      .prepare<[string], { id: string; seq: number; name: string; sha256: string; root: string }>(
        'SELECT id, seq, name, sha256, root FROM lost WHERE id = ?',
      )
      .get(id);
    return row && { ...row, root: JSON.parse(row.root) as Root };
  }

  /** The chunks that a manifest chunk's entries name, 32 bytes each; undefined where that has not been read yet. */
  refs(id: string): Buffer | undefined {
    return this.db
      .prepare<[Buffer], Buffer>('SELECT chunks FROM refs WHERE id = ?')
      .pluck()
      .get(Buffer.from(id, 'hex'));
  }

  putRefs(id: string, chunks: Buffer): void {
    this.db.prepare('INSERT OR REPLACE INTO refs VALUES (?, ?)').run(Buffer.from(id, 'hex'), chunks);
  }

  /** When each of a destination's packs was last read whole, ms since 1970. */
  verified(destination: string): Map<string, number> {
    const rows = this.db
      .prepare<[string], { pack: string; at: number }>('SELECT pack, at FROM verified WHERE destination = ?')
      .all(destination);
    return new Map(rows.map(({ pack, at }) => [pack, at]));
  }

  setVerified(destination: string, packs: Iterable<string>, at: number): void {
    const put = this.db.prepare('INSERT OR REPLACE INTO verified VALUES (?, ?, ?)');
    this.db
      .transaction(() => {
        for (const pack of packs) put.run(destination, pack, at);
      })
      .immediate();
  }

  addMarks(packs: Iterable<string>): void {
    const add = this.db.prepare('INSERT OR IGNORE INTO marks VALUES (?)');
    this.db
      .transaction(() => {
        for (const pack of packs) add.run(pack);
      })
      .immediate();
  }

  /** Whether any destination holds a pin of the snapshot. */
  isPinned(id: string): boolean {
    return this.holders(pinName(id)).length > 0;
  }

  setMarks(packs: Iterable<string>): void {
    this.db
      .transaction(() => {
        this.db.exec('DELETE FROM marks');
        const add = this.db.prepare('INSERT OR IGNORE INTO marks VALUES (?)');
        for (const pack of packs) add.run(pack);
      })
      .immediate();
  }

  isMarked(pack: string): boolean {
    return this.db.prepare('SELECT 1 FROM marks WHERE pack = ?').get(pack) !== undefined;
  }

  /** `json`: the root's own text, where that is at hand. */
  putSnapshot(row: SnapshotRow, json = JSON.stringify(row.root)): void {
    this.db
      .prepare('INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)')
      .run(row.id, row.seq, row.name, row.sha256, json);
  }

  dropSnapshot(id: string): void {
    this.db.prepare('DELETE FROM snapshots WHERE id = ?').run(id);
  }

  snapshot(id: string): SnapshotRow | undefined {
    return this.rows('WHERE id = ?', id)[0];
  }

  /** Newest first. */
  snapshots(): SnapshotRow[] {
    return this.rows('ORDER BY seq DESC, id');
  }

  snapshotIds(): Set<string> {
    return new Set(
      this.db
        .prepare<[], { id: string }>('SELECT id FROM snapshots')
        .all()
        .map((row) => row.id),
    );
  }

  private rows(clause: string, ...values: string[]): SnapshotRow[] {
    const find = this.db.prepare<string[], { id: string; seq: number; name: string; sha256: string; root: string }>(
      `SELECT id, seq, name, sha256, root FROM snapshots ${clause}`,
    );
    const rows: SnapshotRow[] = [];
    // Not all texts at once beside what they say.
    for (const row of find.iterate(...values)) rows.push({ ...row, root: JSON.parse(row.root) as Root });
    return rows;
  }
}
