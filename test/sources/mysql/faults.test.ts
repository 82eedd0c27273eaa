import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DumpReport } from '../../../src/sources/database.js';
import { scratchName } from '../../../src/sources/database.js';
import { type MariaDb, startMariaDb } from '../../support/mariadb.js';
import { mountTmpfs } from '../../support/mounts.js';
import { dumpOf, sourceOf, withSource } from './rig.js';

let server: MariaDb;
const usualPath = process.env.PATH ?? '';

beforeAll(async () => {
  server = await startMariaDb('--skip-log-bin', '--innodb-flush-log-at-trx-commit=0');
  // About 25 MB as a dump: long enough for things to happen meanwhile.
  server.sql(`CREATE DATABASE big; USE big;
    CREATE TABLE texts (id INT PRIMARY KEY, words VARCHAR(200));
    INSERT INTO texts SELECT seq, REPEAT(MD5(seq), 5) FROM seq_1_to_120000;
    CREATE TABLE debit (id INT AUTO_INCREMENT PRIMARY KEY); CREATE TABLE credit (id INT AUTO_INCREMENT PRIMARY KEY);
    CREATE DATABASE small; CREATE TABLE small.t (a INT); INSERT INTO small.t VALUES (1), (2); CREATE VIEW small.v AS SELECT 1;`);
});
afterAll(async () => {
  process.env.PATH = usualPath;
  await server.stop();
});

const config = () => ({ socket: server.socket, user: 'root', globals: false });

/** Puts a program of that name in front of the real one for the time of `work`. */
async function withTool<T>(folder: string, name: string, script: string, work: () => Promise<T>): Promise<T> {
  const bin = path.join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(path.join(bin, name), `#!/bin/sh\nPATH=${usualPath}\n${script}`);
  chmodSync(path.join(bin, name), 0o755);
  process.env.PATH = `${bin}:${usualPath}`;
  try {
    return await work();
  } finally {
    process.env.PATH = usualPath;
  }
}

/** Waits until a dump has written something, or the dump is over. */
async function writing(folder: string): Promise<void> {
  const file = path.join(folder, 'dump.sql');
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(2))
    if (existsSync(file) && statSync(file).size > 0) return;
  throw new Error('the dump did not begin');
}

test('a dump without its end mark is refused, although the tool ended well', async () => {
  await withSource(config(), async (source, context) => {
    await withTool(context.folder, 'mariadb-dump', 'mariadb-dump "$@" | head -n -2', () =>
      expect(dumpOf(source, 'small', context)).rejects.toMatchObject({ code: 'DumpIncomplete', retryable: true }),
    );
    await withTool(context.folder, 'mariadb-dump', 'case "$*" in *--help*) exec mariadb-dump "$@";; esac; exit 0', () =>
      expect(dumpOf(source, 'small', context)).rejects.toMatchObject({ code: 'DumpIncomplete' }),
    );
  });
});

test('a dump that lacks a table or a view is refused by its name', async () => {
  await withSource(config(), async (source, context) => {
    for (const name of ['t', 'v']) {
      const script = `case "$*" in *--help*) exec mariadb-dump "$@";; esac; f=$1; shift; exec mariadb-dump "$f" --ignore-table=small.${name} "$@"`;
      await withTool(context.folder, 'mariadb-dump', script, () =>
        expect(dumpOf(source, 'small', context)).rejects.toMatchObject({
          code: 'DumpIncomplete',
          message: expect.stringMatching(new RegExp(`(table|view) ${name}$`)),
        }),
      );
    }
  });
});

test('a missing tool is named, with what to install', async () => {
  await withSource(config(), async (source, context) => {
    process.env.PATH = context.folder;
    try {
      await expect(source.preflight(context)).rejects.toMatchObject({
        code: 'ToolMissing',
        message: expect.stringContaining('mariadb-dump'),
        hint: expect.stringContaining('apt install mariadb-client'),
      });
    } finally {
      process.env.PATH = usualPath;
    }
  });
});

test('rows written during a dump are in it for whole transactions or not at all', async () => {
  await withSource(config(), async (source, context) => {
    let busy = true;
    const writer = (async () => {
      while (busy) {
        server.sql(
          'START TRANSACTION; INSERT INTO debit VALUES (NULL); DO SLEEP(0.002); INSERT INTO credit VALUES (NULL); COMMIT',
          'big',
        );
        await sleep(1);
      }
    })();
    const dump = await dumpOf(source, 'big', context);
    busy = false;
    await writer;
    const rows = Object.fromEntries(dump.report.tables.map(({ name, rows }) => [name, rows]));
    expect(rows.debit).toBe(rows.credit);
    expect(rows.texts).toBe(120_000);
    expect(Number(server.sql('SELECT COUNT(*) FROM big.debit'))).toBeGreaterThan(rows.debit ?? 0);
    const { differences } = await source.scratch(dump, scratchName('a test'), context);
    expect(differences).toEqual([]);
  });
});

test('a schema that changes during a dump: of one moment, or a failure that is tried again', async () => {
  server.sql(`USE big; CREATE TABLE big.z_altered (a INT PRIMARY KEY, b INT); INSERT INTO big.z_altered SELECT seq, seq FROM seq_1_to_1000;
    CREATE TABLE big.z_emptied LIKE big.z_altered; CREATE TABLE big.z_swapped LIKE big.z_altered; CREATE TABLE big.z_dropped LIKE big.z_altered;
    INSERT INTO big.z_emptied SELECT * FROM big.z_altered; INSERT INTO big.z_swapped SELECT * FROM big.z_altered`);
  // What was made within this second could not be told from what is made within it again.
  await sleep(1100);
  await withSource(config(), async (source, context) => {
    for (const [change, tables] of [
      ['ALTER TABLE z_altered ADD COLUMN c INT DEFAULT 7, DROP COLUMN b', /z_altered/],
      ['TRUNCATE z_emptied; INSERT INTO z_emptied VALUES (1, 1)', /z_emptied/],
      [
        'CREATE TABLE z_new (a INT PRIMARY KEY, b INT); RENAME TABLE z_swapped TO z_old, z_new TO z_swapped',
        /z_(swapped|old)/,
      ],
      ['DROP TABLE z_dropped', /z_dropped/],
    ] as const) {
      const folder = path.join(context.folder, `changing-${tables.source.replace(/\W/g, '')}`);
      mkdirSync(folder);
      const dumping = source.dump('big', { folder }, context);
      const failed = expect(dumping, change).rejects.toMatchObject({
        retryable: true,
        message: expect.stringMatching(tables),
      });
      await writing(folder);
      server.sql(change, 'big');
      await failed;
    }
    // One that is made meanwhile is in it, empty, or is not: the rows are of the moment before.
    const folder = path.join(context.folder, 'made');
    mkdirSync(folder);
    const dumping = source.dump('big', { folder }, context);
    await writing(folder);
    server.sql('CREATE TABLE z_made (a INT); INSERT INTO z_made VALUES (1)', 'big');
    const { status, ...ended } = (await Promise.allSettled([dumping]))[0] as PromiseSettledResult<DumpReport>;
    if (status === 'rejected') expect(ended).toMatchObject({ reason: { retryable: true } });
    const dump = await dumpOf(source, 'big', context);
    expect(dump.report.tables.map(({ name }) => name)).toEqual([
      'credit',
      'debit',
      'texts',
      'z_altered',
      'z_emptied',
      'z_made',
      'z_old',
      'z_swapped',
    ]);
    expect((await source.scratch(dump, scratchName('a test'), context)).differences).toEqual([]);
  });
});

test('a connection that breaks in the middle of a dump fails it, to be tried again', async () => {
  await withSource(config(), async (source, context) => {
    const folder = path.join(context.folder, 'broken');
    mkdirSync(folder);
    const dumping = source.dump('big', { folder }, context);
    const failed = expect(dumping).rejects.toMatchObject({
      code: 'SourceFailed',
      retryable: true,
      message: expect.stringMatching(
        /the dump of big: mariadb-dump ended with exit code \d: .*(Lost connection|Error 2013|gone away)/s,
      ),
    });
    await writing(folder);
    const id = server.sql(
      "SELECT id FROM information_schema.processlist WHERE info LIKE '%FROM `texts`%' AND info NOT LIKE '%processlist%'",
    );
    server.sql(`KILL ${id}`);
    await failed;
    expect(readdirSync(context.tempDir)).toEqual([]);
  });
});

test('cancelling ends the tool in the middle of a dump and leaves no password file', async () => {
  await withSource(config(), async (source, context) => {
    const folder = path.join(context.folder, 'cancelled');
    mkdirSync(folder);
    const dumping = source.dump('big', { folder }, context);
    const failed = expect(dumping).rejects.toThrow('no more');
    await writing(folder);
    context.abort.abort(new Error('no more'));
    await failed;
    expect([readdirSync(context.tempDir), readdirSync(context.processes)]).toEqual([[], []]);
  });
});

test('a full disk is told as such', async () => {
  await withSource(config(), async (source, context) => {
    const mount = await mountTmpfs(path.join(context.folder, 'small-disk'), '4m');
    try {
      await expect(source.dump('big', { folder: mount.path }, context)).rejects.toMatchObject({
        code: 'SpoolFull',
        retryable: true,
      });
    } finally {
      await mount.remove();
    }
  });
});

test('a restore that breaks off fails, and so does one without a dump', async () => {
  await withSource(config(), async (source, context) => {
    const dump = await dumpOf(source, 'big', context);
    const restoring = source.restore(
      dump,
      { database: 'torn', create: true, clean: false, globals: false, id: 'a restore' },
      context,
    );
    const failed = expect(restoring).rejects.toMatchObject({ code: 'RestoreFailed' });
    const find = "SELECT id FROM information_schema.processlist WHERE db = 'torn' AND info LIKE 'INSERT%'";
    let id = '';
    for (const deadline = Date.now() + 20_000; id === '' && Date.now() < deadline; await sleep(5))
      id = server.sql(find).trim();
    server.sql(`KILL ${id.split('\n')[0]}`);
    await failed;
    // What it left is no obstacle for another attempt, and goes when there is none; nobody else's does.
    const again = { database: 'torn', create: false, clean: false, globals: false, id: 'another' };
    await source.dropUnfinished(again, context);
    expect(server.sql('SHOW TABLES IN torn')).toContain('holdfast_unfinished_restore');
    await source.dropUnfinished({ ...again, id: 'a restore' }, context);
    expect(server.sql("SHOW DATABASES LIKE 'torn'")).toBe('');
    server.sql('CREATE DATABASE torn; CREATE TABLE torn.holdfast_unfinished_restore AS SELECT 1 AS id, 0 AS made');
    expect(await source.restore(dump, again, context)).toMatchObject({ differences: [] });
    await expect(source.restore(dump, again, context)).rejects.toMatchObject({ code: 'TargetConflict' });
    rmSync(path.join(dump.folder, 'dump.sql'));
    await expect(source.scratch(dump, scratchName('a test'), context)).rejects.toMatchObject({ code: 'RestoreFailed' });
  });
});

// Last: nothing is left of the server.
test('a server that dies in the middle of a dump fails it; then it can’t be reached', async () => {
  await withSource(config(), async (source, context) => {
    const folder = path.join(context.folder, 'dying');
    mkdirSync(folder);
    const failed = expect(source.dump('big', { folder }, context)).rejects.toMatchObject({
      code: 'SourceFailed',
      retryable: true,
    });
    await writing(folder);
    await server.kill();
    await failed;
    const again = sourceOf(config());
    await expect(again.preflight(context)).rejects.toMatchObject({
      code: 'SourceFailed',
      retryable: true,
      message: expect.stringContaining(server.socket),
    });
  });
});
