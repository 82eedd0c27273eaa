import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scratchName } from '../../../src/sources/database.js';
import { type MariaDb, startMariaDb } from '../../support/mariadb.js';
import { checksums, dumpOf, everything, plainDump, withSource } from './rig.js';

let server: MariaDb;
beforeAll(async () => {
  server = await startMariaDb('--log-bin=binlog', '--server-id=1');
  server.sql(`
    CREATE DATABASE shop CHARACTER SET latin1 COLLATE latin1_german1_ci;
    CREATE USER keeper@localhost IDENTIFIED BY 'secret-of-keeper';
    CREATE ROLE readers; GRANT SELECT ON shop.* TO readers; GRANT readers TO keeper@localhost;`);
  server.sql(everything, 'shop');
});
afterAll(() => server.stop());

const config = () => ({ socket: server.socket, user: 'root', databases: ['shop'] });
/** What a dump of `shop` says when it was restored under another name: two things name their own database. */
const inDatabase = (dump: string, name: string): string =>
  dump
    .replaceAll('nextval(`shop`.', `nextval(\`${name}\`.`)
    .replace('TRIGGER shop.`qualified`', 'TRIGGER `qualified`')
    .replace('ON shop . no_rows', 'ON no_rows');

const target = { create: false, clean: false, globals: false, id: 'a restore' };

test('a database comes back as it was, whatever is in it', async () => {
  await withSource(config(), async (source, context) => {
    const dump = await dumpOf(source, 'shop', context);
    const { report } = dump;
    expect(report).toMatchObject({
      format: 1,
      kind: 'mysql',
      database: 'shop',
      server: expect.stringMatching(/^MariaDB \d+\.\d+\.\d+$/),
      tool: expect.stringMatching(/MariaDB/),
      made: { charset: 'latin1', collation: 'latin1_german1_ci' },
      roles: ['root@localhost'],
      position: {
        file: expect.stringMatching(/^binlog\.\d+$/),
        position: expect.any(Number),
        gtid: expect.any(String),
      },
    });
    expect(report.tables).toEqual(
      [
        ['types', 3],
        ['zero_default', 1],
        ['no_such_date', 1],
        ['we`ird VALUES (x, ünï-漢', 3],
        ['generated', 3],
        ['parted', 50],
        ['ring_a', 1],
        ['ring_b', 1],
        ['no_rows', 0],
        ['no_key', 3],
        ['checked', 1],
        ['old_rows', 3],
        ['in_memory', 1],
        ['numbered', 2],
        ['journal', 0],
      ]
        .map(([name, rows]) => ({ name, rows }))
        .sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1)),
    );
    expect(report.warnings).toEqual([
      { code: 'NotTransactional', message: expect.stringMatching(/in_memory \(MEMORY\), old_rows \(MyISAM\)$/) },
    ]);
    expect(report.files.map((file) => file.path)).toEqual(['dump.sql', 'users.sql']);
    for (const file of report.files) {
      const { size, mode } = statSync(path.join(dump.folder, file.path));
      expect([size, mode & 0o777]).toEqual([file.bytes, 0o600]);
    }
    expect(context.bytes).toBe(report.files[0]?.bytes);
    expect([readdirSync(context.tempDir), readdirSync(context.processes)]).toEqual([[], []]);

    const restored = await source.restore(dump, { ...target, database: 'copy', create: true }, context);
    expect(restored).toMatchObject({ database: 'copy', tables: 15, rows: 73, differences: [], warnings: [] });
    expect(plainDump(server, 'copy')).toBe(inDatabase(plainDump(server, 'shop'), 'copy'));
    // What is made under another name has nothing to do with the old one.
    server.sql('INSERT INTO copy.no_rows VALUES (7); INSERT INTO copy.numbered (a) VALUES (3)');
    expect(server.sql('SELECT COUNT(*) FROM copy.journal; SELECT COUNT(*) FROM shop.journal')).toBe('1\n0\n');
    server.sql('DELETE FROM copy.no_rows; DELETE FROM copy.numbered WHERE a = 3; DELETE FROM copy.journal');
    expect(checksums(server, 'copy')).toEqual(checksums(server, 'shop'));
    expect(server.sql('SHOW CREATE DATABASE copy')).toContain('latin1_german1_ci');
    expect(server.sql('SELECT HEX(bytes) FROM copy.types WHERE id = 1')).toContain(
      Buffer.from(Array.from({ length: 256 }, (_, at) => at))
        .toString('hex')
        .toUpperCase(),
    );
    expect(server.sql('SELECT NEXTVAL(copy.numbers)').trim()).not.toBe('100');
  });
});

test('names with line feeds and quotes, and views that nobody can read any more', async () => {
  const odd = `ev/il 'x' "q" \\ ü`;
  server.sql(`CREATE DATABASE \`${odd}\`; USE \`${odd}\`;
    CREATE TABLE \`a\nb\` (\`c\nd\` INT PRIMARY KEY, t TEXT); INSERT INTO \`a\nb\` VALUES (1, 'x\ny'), (2, 'INSERT INTO \`a');
    CREATE TABLE \`\`\`\nUNLOCK\` (a INT); INSERT INTO \`\`\`\nUNLOCK\` VALUES (1);
    CREATE VIEW \`v \nw\` AS SELECT 1 AS x; CREATE SEQUENCE \`s\nq\` START WITH 5;
    CREATE TABLE gone (a INT, b INT); CREATE VIEW good AS SELECT b FROM gone; CREATE VIEW bad AS SELECT a FROM gone; ALTER TABLE gone DROP COLUMN a;`);
  await withSource({ ...config(), databases: [odd] }, async (source, context) => {
    const dump = await dumpOf(source, odd, context);
    expect(dump.report.tables).toEqual([
      { name: '`\nUNLOCK', rows: 1 },
      { name: 'a\nb', rows: 2 },
      { name: 'gone', rows: 0 },
    ]);
    expect(dump.report.warnings).toEqual([{ code: 'ViewInvalid', message: expect.stringContaining('views bad name') }]);
    expect(readFileSync(path.join(dump.folder, 'invalid-views.sql'), 'utf8')).toContain('VIEW `bad` AS select');
    const restored = await source.restore(dump, { ...target, create: true, database: 'odd copy' }, context);
    expect(restored).toMatchObject({ differences: [], warnings: [{ code: 'ViewInvalid' }] });
    server.sql(`DROP VIEW \`${odd}\`.bad`);
    expect(plainDump(server, 'odd copy')).toBe(plainDump(server, odd));
  });
  server.sql(`DROP DATABASE \`${odd}\`; DROP DATABASE \`odd copy\``);
});

test('views that name their database, and what is of users who are gone', async () => {
  server.sql(`CREATE DATABASE old COMMENT 'it''s'; CREATE DATABASE beside; CREATE TABLE beside.o (b INT); USE old;
    CREATE TABLE t (a INT); INSERT INTO t VALUES (1); CREATE USER gone@h; GRANT ALL ON *.* TO gone@h;
    CREATE VIEW joined AS SELECT t.a, o.b, 'old.t' AS s FROM t JOIN beside.o; CREATE DEFINER=gone@h VIEW v AS SELECT a FROM t;
    CREATE VIEW w AS SELECT a FROM v; CREATE DEFINER=gone@h FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;
    CREATE VIEW x AS SELECT f() AS f; DROP USER gone@h`);
  await withSource({ ...config(), databases: ['old'] }, async (source, context) => {
    const dump = await dumpOf(source, 'old', context);
    expect(dump.report.warnings).toMatchObject([
      { code: 'ViewInvalid', message: expect.stringContaining('views w, x') },
    ]);
    const into = { ...target, create: true, database: 'young' };
    const report = await source.restore(dump, into, context);
    expect(report).toMatchObject({ differences: [], incomplete: true });
    expect(report.warnings.map(({ code }) => code)).toEqual(['ViewInvalid', 'DefinerMissing']);
    expect(server.sql('SHOW CREATE VIEW young.joined')).toContain('`young`.`t`.`a`');
    expect(server.sql('SHOW CREATE VIEW young.joined')).not.toContain('`old`');
    expect(server.sql('SHOW CREATE DATABASE young')).toContain("COMMENT 'it''s'");
    // Once there is such a user, all of it is made.
    server.sql('CREATE USER gone@h; GRANT ALL ON *.* TO gone@h');
    const whole = await source.restore(dump, { ...into, clean: true }, context);
    expect(whole).toMatchObject({ differences: [], warnings: [] });
    expect(server.sql('SELECT a FROM young.w; SELECT f FROM young.x')).toBe('1\n1\n');
  });
  server.sql('DROP DATABASE old; DROP DATABASE young; DROP DATABASE beside; DROP USER gone@h');
});

test('the same data makes the same dump, night after night', async () => {
  await withSource({ ...config(), databases: ['shop'] }, async (source, context) => {
    const text = (folder: string) =>
      readFileSync(path.join(folder, 'dump.sql'), 'utf8').replace(/^-- (CHANGE MASTER|SET GLOBAL gtid).*$/gm, '');
    const one = await dumpOf(source, 'shop', context);
    server.sql('CREATE DATABASE IF NOT EXISTS elsewhere; CREATE OR REPLACE TABLE elsewhere.t (a INT)');
    const two = await dumpOf(source, 'shop', context);
    expect(text(two.folder)).toBe(text(one.folder));
    expect(two.report.position?.position).toBeGreaterThan(one.report.position?.position ?? 0);
  });
});

test('`all` leaves out the server’s own databases, and what is excluded', async () => {
  server.sql('CREATE DATABASE IF NOT EXISTS scratch_1; CREATE DATABASE IF NOT EXISTS `ä b``c`');
  await withSource(
    { ...config(), databases: 'all', exclude: ['scratch*', 'copy', 'elsewhere'] },
    async (source, context) => {
      const { databases, server: product, warnings } = await source.preflight(context);
      expect(databases.map(({ name }) => name)).toEqual(['ä b`c', 'shop']);
      expect(databases[1]?.estimatedBytes).toBeGreaterThan(1000);
      expect(product).toMatch(/^MariaDB/);
      expect(warnings).toHaveLength(1);
      const empty = await dumpOf(source, 'ä b`c', context);
      expect(empty.report.tables).toEqual([]);
      await source.restore(empty, { ...target, database: 'ä b`c', clean: true }, context);
    },
  );
});

test('tables and views may be left out', async () => {
  const excludeTables = ['shop.seen*', 'shop.old_rows', 'other.types'];
  await withSource({ ...config(), excludeTables }, async (source, context) => {
    const { report, folder } = await dumpOf(source, 'shop', context);
    expect(report.tables.map(({ name }) => name)).not.toContain('old_rows');
    expect(report.tables.map(({ name }) => name)).toContain('types');
    expect(report.warnings[0]?.message).not.toContain('old_rows');
    expect(readFileSync(path.join(folder, 'dump.sql'), 'utf8')).not.toContain('seen_twice');
  });
});

test('a target that holds something is refused, unless it is to be emptied', async () => {
  await withSource(config(), async (source, context) => {
    const dump = await dumpOf(source, 'shop', context);
    const restore = (change: object) => source.restore(dump, { ...target, database: 'full', ...change }, context);
    await expect(restore({})).rejects.toMatchObject({
      code: 'RestoreFailed',
      hint: expect.stringContaining('--create'),
    });
    server.sql('CREATE DATABASE full; CREATE TABLE full.mine (a INT); CREATE VIEW full.v AS SELECT 1');
    await expect(restore({ create: true })).rejects.toMatchObject({ code: 'TargetConflict' });
    expect(server.sql('SHOW TABLES IN full')).toBe('mine\nv\n');
    expect(await restore({ clean: true })).toMatchObject({ differences: [] });
    expect(plainDump(server, 'full')).toBe(inDatabase(plainDump(server, 'shop'), 'full'));
  });
});

test('rows that are not as dumped are told, table by table', async () => {
  await withSource(config(), async (source, context) => {
    const dump = await dumpOf(source, 'shop', context);
    dump.report.tables = [
      ...dump.report.tables.filter(({ name }) => name !== 'parted' && name !== 'ring_a'),
      { name: 'lost', rows: 4 },
      { name: 'parted', rows: 51 },
    ];
    const { differences } = await source.restore(dump, { ...target, database: 'differs', create: true }, context);
    expect(differences).toEqual([
      { table: 'lost', expected: 4, found: null },
      { table: 'parted', expected: 51, found: 50 },
      { table: 'ring_a', expected: null, found: 1 },
    ]);
  });
});

test('users and rights come back where they are missing; who is there stays as he is', async () => {
  await withSource(config(), async (source, context) => {
    server.sql(`CREATE USER 'o''brien'@'10.%' IDENTIFIED BY 'hush'; GRANT INSERT, UPDATE (id) ON shop.types TO 'o''brien'@'10.%' WITH GRANT OPTION;
      CREATE USER changed@localhost IDENTIFIED BY 'before'; SET DEFAULT ROLE readers FOR keeper@localhost`);
    const shown = () =>
      server.sql(
        `SHOW CREATE USER 'o''brien'@'10.%'; SHOW GRANTS FOR 'o''brien'@'10.%'; SHOW GRANTS FOR keeper@localhost; SHOW GRANTS FOR readers`,
      );
    const before = shown();
    const dump = await dumpOf(source, 'shop', context);
    server.sql(
      `DROP USER 'o''brien'@'10.%', keeper@localhost; DROP ROLE readers; ALTER USER changed@localhost IDENTIFIED BY 'after'`,
    );
    const changed = server.sql('SHOW CREATE USER changed@localhost');
    const report = await source.restore(dump, { ...target, database: 'shop', clean: true, globals: true }, context);
    expect(report.warnings).toEqual([]);
    expect(shown()).toBe(before);
    expect(server.sql('SHOW CREATE USER changed@localhost')).toBe(changed);
  });
});

test('a scratch restore compares and leaves nothing, even when it fails', async () => {
  await withSource(config(), async (source, context) => {
    const databases = server.sql('SHOW DATABASES');
    const dump = await dumpOf(source, 'shop', context);
    const answers: (string | null)[] = [];
    const inspected = await source.scratch(dump, scratchName('a test'), context, async (ask) => {
      const never = new AbortController().signal;
      for (const sql of ['SELECT 40 + 2, 1;', 'SELECT 1 FROM DUAL WHERE 1 = 0']) answers.push(await ask(sql, never));
      answers.push((await ask('SELECT DATABASE()', never))?.replace(/_[0-9a-f]{12}$/, '') ?? null);
    });
    expect(inspected).toMatchObject({ differences: [], tables: 15, rows: 73 });
    expect(answers).toEqual(['42', null, 'holdfast_scratch']);
    expect(server.sql('SHOW DATABASES')).toBe(databases);
    writeFileSync(path.join(dump.folder, 'dump.sql'), 'CREATE TABLE t (a INT);\nnonsense;\n');
    await expect(source.scratch(dump, scratchName('a test'), context)).rejects.toMatchObject({
      code: 'RestoreFailed',
      message: expect.stringContaining('nonsense'),
    });
    expect(server.sql('SHOW DATABASES')).toBe(databases);
  });
});

test('text that a dump can’t hold exactly is named', async () => {
  server.sql(`CREATE DATABASE inexact; USE inexact; SET sql_mode = '';
    CREATE TABLE t (id INT PRIMARY KEY, good VARCHAR(9) CHARACTER SET cp1251, \`b\`\`ad\` VARCHAR(9) CHARACTER SET cp1251,
      low VARCHAR(9) CHARACTER SET ascii, west VARCHAR(9) CHARACTER SET latin1, kanji TEXT CHARACTER SET sjis, e ENUM('', 'a'), f ENUM('', 'a'), g ENUM('a'));
    INSERT INTO t VALUES (1, 'Привет', x'98', 'abc', x'818d8f909d', 'テスト', 'x', '', 'x'), (2, NULL, 'я', NULL, NULL, NULL, 'a', NULL, NULL);
    CREATE TABLE left_out (a VARCHAR(9) CHARACTER SET cp1251); INSERT INTO left_out VALUES (x'98')`);
  await withSource(
    { ...config(), databases: ['inexact'], excludeTables: ['inexact.left_out'] },
    async (source, context) => {
      const dump = await dumpOf(source, 'inexact', context);
      expect(dump.report.warnings).toEqual([
        { code: 'TextInexact', message: expect.stringMatching(/: t\.b`ad \(1 rows\), t\.e \(1 rows\)$/) },
      ]);
      // Nothing of the columns that are not named differs.
      await source.restore(dump, { ...target, database: 'inexact_2', create: true }, context);
      const rest = 'SELECT id, HEX(good), low, HEX(west), HEX(kanji), f + 0, g + 0 FROM t';
      expect(server.sql(rest, 'inexact_2')).toBe(server.sql(rest, 'inexact'));
    },
  );
});
