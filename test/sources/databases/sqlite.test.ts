import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scratchName } from '../../../src/sources/database.js';
import type { SqliteSource } from '../../../src/sources/sqlite/source.js';
import { databaseContext } from '../../support/database-context.js';
import { mountTmpfs } from '../../support/mounts.js';

const context = databaseContext();
let make: typeof SqliteSource;
let count = 0;

beforeAll(async () => {
  // The built program: its thread needs files that Node itself can load.
  const built = path.resolve(import.meta.dirname, '../../../dist/sources/sqlite/source.js');
  make = ((await import(pathToFileURL(built).href)) as { SqliteSource: typeof SqliteSource }).SqliteSource;
});
afterAll(() => context.remove());

const sourceOf = (files: string[], exclude: string[] = []) =>
  new make({ type: 'sqlite', name: 'apps', path: files, exclude });

function fileIn(name: string): string {
  const folder = path.join(context.folder, String(count++));
  mkdirSync(folder);
  return path.join(folder, name);
}

function database(file: string, sql: string, mode = 'delete'): Database.Database {
  const made = new Database(file);
  made.pragma(`journal_mode = ${mode}`);
  made.exec(sql);
  return made;
}

const everything = `
  CREATE TABLE "Ta""ble" (id INTEGER PRIMARY KEY AUTOINCREMENT, "select" TEXT COLLATE NOCASE, b BLOB, r REAL, n, g AS (r * 2) STORED);
  INSERT INTO "Ta""ble" ("select", b, r, n) VALUES ('ünï 😀', x'00ff10', 1.5, NULL), (char(0), zeroblob(100000), 9e999, 9223372036854775807);
  CREATE TABLE strict_one (a INTEGER PRIMARY KEY, b ANY) STRICT, WITHOUT ROWID;
  INSERT INTO strict_one VALUES (1, 'x'), (2, x'ff');
  CREATE TABLE parent (id INTEGER PRIMARY KEY, child REFERENCES child);
  CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent);
  CREATE VIEW v AS SELECT * FROM strict_one;
  CREATE TRIGGER t AFTER INSERT ON parent BEGIN INSERT INTO child VALUES (new.id, new.id); END;
  INSERT INTO parent VALUES (7, NULL);
  CREATE INDEX i ON strict_one (b) WHERE a > 1;
  CREATE VIRTUAL TABLE words USING fts5(text);
  INSERT INTO words VALUES ('a fat cat');
  PRAGMA user_version = 42;
`;

const dumpText = (file: string): string => {
  const script =
    'import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.text_factory=lambda b:b.decode("utf8","surrogateescape")\nprint(c.execute("pragma user_version").fetchone())\nprint("\\n".join(c.iterdump()))';
  return execFileSync('python3', ['-c', script, file], { encoding: 'utf8', maxBuffer: 64 << 20 });
};

async function dumpOf(file: string) {
  const folder = path.join(context.folder, `dump-${count++}`);
  mkdirSync(folder);
  const copy = path.join(folder, 'copy.db');
  const source = sourceOf([file]);
  return { folder, file: copy, report: await source.dump(file, { folder, file: copy }, context) };
}

const target = { create: false, clean: false, globals: false, id: 'a restore' };

test.each(['delete', 'wal'])('a database with everything in it comes back the same (journal mode %s)', async (mode) => {
  const file = fileIn('app.db');
  const open = database(file, everything, mode);
  chmodSync(file, 0o640);
  const dump = await dumpOf(file);
  open.close();
  expect(dump.report.tables).toContainEqual({ name: 'Ta"ble', rows: 2 });
  expect(statSync(dump.file).mode & 0o777).toBe(0o640);
  expect(readdirSync(dump.folder)).toEqual(['copy.db']);
  const into = fileIn('back.db');
  const restored = await sourceOf([file]).restore(dump, { ...target, database: into }, context);
  expect(restored.differences).toEqual([]);
  expect(dumpText(into)).toBe(dumpText(file));
  await expect(sourceOf([file]).restore(dump, { ...target, database: into }, context)).rejects.toMatchObject({
    code: 'TargetConflict',
  });
  expect(await sourceOf([file]).scratch(dump, scratchName('a test'), context)).toMatchObject({ differences: [] });
  expect(readdirSync(context.tempDir)).toEqual([]);
});

test.each(['delete', 'wal'])('writers go on while it is copied (journal mode %s)', async (mode) => {
  const file = fileIn('busy.db');
  const writer = database(
    file,
    'CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); CREATE TABLE sum (n INT); INSERT INTO sum VALUES (0)',
    mode,
  );
  writer.exec(
    'WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 60000) INSERT INTO t (b) SELECT hex(randomblob(200)) FROM g; UPDATE sum SET n = 60000',
  );
  writer.pragma('busy_timeout = 20000');
  const add = writer.transaction(() => writer.exec("INSERT INTO t (b) VALUES ('new'); UPDATE sum SET n = n + 1"));
  let written = 0;
  let going = true;
  const dumped = dumpOf(file).finally(() => {
    going = false;
  });
  while (going) {
    add();
    written++;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const dump = await dumped;
  writer.close();
  expect(written).toBeGreaterThan(3);
  // One moment: both tables agree.
  const copy = new Database(dump.file, { readonly: true });
  expect(copy.prepare('SELECT (SELECT count(*) FROM t) - n FROM sum').pluck().get()).toBe(0);
  copy.close();
});

test('what only its own program can check is named; damage is seen all the same', async () => {
  const file = fileIn('own.db');
  const made = database(file, 'CREATE TABLE other (a); CREATE INDEX others ON other (a); CREATE TABLE t (a)');
  made.function('own', { deterministic: true }, (value: unknown) => value);
  made.exec(
    'CREATE INDEX i ON t (own(a)); WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 20000) INSERT INTO t SELECT n FROM g',
  );
  made.close();
  const { report } = await dumpOf(file);
  expect(report.warnings).toMatchObject([
    { code: 'CheckIncomplete', message: expect.stringMatching(/own\.db: .*: t \(/) },
  ]);
  expect(report.tables).toEqual([
    { name: 'other', rows: 0 },
    { name: 't', rows: 20000 },
  ]);
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.alloc(3 * 4096, 0x5a), 0, 3 * 4096, 20 * 4096);
  closeSync(fd);
  await expect(dumpOf(file)).rejects.toMatchObject({ message: expect.stringContaining('damaged') });
});

test('what is damaged, locked, empty or no database is not stored as good', async () => {
  const file = fileIn('bad.db');
  const made = database(file, everything);
  made.exec(
    'WITH RECURSIVE g(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM g WHERE n < 20000) INSERT INTO strict_one SELECT n, hex(n) FROM g',
  );
  made.exec('BEGIN EXCLUSIVE');
  const locked = dumpOf(file);
  await expect(locked).rejects.toMatchObject({
    code: 'SourceFailed',
    retryable: true,
    message: expect.stringContaining('locked'),
  });
  made.exec('ROLLBACK');
  made.close();
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.alloc(3 * 4096, 0x5a), 0, 3 * 4096, 20 * 4096);
  closeSync(fd);
  await expect(dumpOf(file)).rejects.toMatchObject({
    code: 'SourceFailed',
    message: expect.stringContaining('damaged'),
  });
  const text = fileIn('text.db');
  writeFileSync(text, 'not a database at all, but long enough to have a header that is wrong'.repeat(100));
  await expect(dumpOf(text)).rejects.toMatchObject({ message: expect.stringContaining('not a SQLite database') });
  const empty = fileIn('empty.db');
  writeFileSync(empty, '');
  await expect(dumpOf(empty)).rejects.toMatchObject({ message: expect.stringContaining('is empty') });
  await expect(dumpOf(fileIn('absent.db'))).rejects.toMatchObject({ code: 'SourceMissing' });
});

test('a full disk is told as such; what only looks finds the same as a dump', async () => {
  const file = fileIn('large.db');
  const made = database(file, 'CREATE TABLE t (a)');
  made.exec(
    'WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 6000) INSERT INTO t SELECT randomblob(1000) FROM g',
  );
  made.close();
  expect(await sourceOf([file]).examine(context)).toMatchObject({ databases: 1, problems: [] });
  const mount = await mountTmpfs(path.join(context.folder, 'small-disk'), '4m');
  try {
    const to = path.join(mount.path, 'copy.db');
    const there = { ...context, tempDir: mount.path };
    await expect(sourceOf([file]).dump(file, { folder: mount.path, file: to }, there)).rejects.toMatchObject({
      code: 'SpoolFull',
      retryable: true,
      message: expect.stringContaining(file),
    });
  } finally {
    await mount.remove();
  }
  truncateSync(file, statSync(file).size / 2);
  const text = fileIn('words.db');
  writeFileSync(text, 'no database at all, but long enough to have a header that is wrong'.repeat(100));
  const { problems } = await sourceOf([file, text, fileIn('absent.db')]).examine(context);
  expect(problems.map(({ message }) => message)).toEqual([
    expect.stringContaining('large.db is damaged'),
    expect.stringContaining('words.db is not a SQLite database'),
    expect.stringContaining('absent.db does not exist'),
  ]);
});

test('a restored database belongs to whom it belonged', async () => {
  const file = fileIn('owned.db');
  database(file, 'CREATE TABLE t (a)').close();
  chownSync(file, 4242, 4243);
  chmodSync(file, 0o640);
  const dump = await dumpOf(file);
  for (const [into, clean] of [
    [fileIn('new.db'), false],
    [file, true],
  ] as const) {
    await sourceOf([file]).restore(dump, { ...target, clean, database: into }, context);
    const { uid, gid, mode } = statSync(into);
    expect([uid, gid, mode & 0o777]).toEqual([4242, 4243, 0o640]);
  }
});

test('a target in use is refused, a stale log of the old database does not survive', async () => {
  const file = fileIn('app.db');
  database(file, 'CREATE TABLE t (a); INSERT INTO t VALUES (1)').close();
  const dump = await dumpOf(file);
  const other = database(fileIn('target.db'), 'CREATE TABLE old (a)', 'wal');
  other.exec('BEGIN IMMEDIATE');
  const into = { ...target, clean: true, database: other.name };
  await expect(sourceOf([file]).restore(dump, into, context)).rejects.toMatchObject({ code: 'TargetConflict' });
  other.exec('INSERT INTO old VALUES (1); COMMIT');
  const log = readFileSync(`${other.name}-wal`);
  other.close();
  writeFileSync(`${other.name}-wal`, log);
  expect((await sourceOf([file]).restore(dump, into, context)).differences).toEqual([]);
  expect(existsSync(`${other.name}-wal`)).toBe(false);
});

test('patterns find several files, and leave out what is excluded and SQLite’s own companions', async () => {
  const folder = path.dirname(fileIn('x'));
  for (const name of ['a.db', 'b.db', 'c.txt']) database(path.join(folder, name), 'CREATE TABLE t (a)').close();
  writeFileSync(path.join(folder, 'a.db-wal'), '');
  const source = sourceOf(
    [path.join(folder, '*.db'), path.join(folder, 'a.db'), path.join(folder, '*-wal')],
    [path.join(folder, 'b*')],
  );
  expect((await source.preflight()).databases).toEqual([{ name: path.join(folder, 'a.db'), estimatedBytes: 8192 }]);
});
