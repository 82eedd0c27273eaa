import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { dumpArguments } from '../../../src/sources/mysql/dump.js';
import { LineSplitter } from '../../../src/sources/mysql/line-splitter.js';
import { optionFile } from '../../../src/sources/mysql/option-file.js';
import { readDump } from '../../../src/sources/mysql/read-dump.js';
import { inOwnDatabase, isTrigger, sequencesRenamed, viewRenamed } from '../../../src/sources/mysql/rename.js';
import { type RestoreStreamOptions, restoreStream } from '../../../src/sources/mysql/restore-stream.js';

const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-mysql-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const { signal } = new AbortController();

let files = 0;
const fileOf = (text: string | Buffer): string => {
  const file = path.join(folder, String(files++));
  writeFileSync(file, text);
  return file;
};

async function restored(text: string | Buffer, options: Partial<RestoreStreamOptions> = {}): Promise<string> {
  const parts: Buffer[] = [];
  const all = {
    withoutEvents: false,
    withoutDefiners: false,
    withoutSandbox: false,
    onProgress: () => undefined,
    signal,
  };
  for await (const part of restoreStream(fileOf(text), { ...all, ...options })) parts.push(part);
  return Buffer.concat(parts).toString('latin1');
}

/** As MySQL 8's own tool writes it, other than MariaDB's in this and that. */
const mysqlDump = `-- MySQL dump 10.13  Distrib 8.4.2, for Linux (x86_64)
/*!50503 SET NAMES utf8mb4 */;
--
-- Position to start replication or point-in-time recovery from
--

-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000007', SOURCE_LOG_POS=158;

DROP TABLE IF EXISTS \`t\`;
CREATE TABLE \`t\` (
  \`a\` int NOT NULL
);
LOCK TABLES \`t\` WRITE;
/*!40000 ALTER TABLE \`t\` DISABLE KEYS */;
set autocommit=0;
INSERT INTO \`t\` (\`a\`, \`b\`) VALUES (1,'INSERT INTO \`t\` (\`a\`, \`b\`) VALUES (');
INSERT INTO \`t\` (\`a\`, \`b\`) VALUES (2,NULL);
INSERT INTO \`t\` (\`a\`, \`b\`) VALUES (3,'x;');
/*!40000 ALTER TABLE \`t\` ENABLE KEYS */;
UNLOCK TABLES;
commit;
DELIMITER ;;
CREATE DEFINER=\`a\`@\`%\` PROCEDURE \`p\`()
BEGIN
INSERT INTO \`t\` VALUES (1);
INSERT INTO \`t\` VALUES (2);
UNLOCK TABLES;
END ;;
DELIMITER ;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=\`a\`@\`%\` SQL SECURITY DEFINER */
/*!50001 VIEW \`v\` AS select 1 AS \`1\` */;
-- Dump completed
`;

test('rows, views, position and end are read from the dump itself', async () => {
  expect(await readDump(fileOf(mysqlDump), signal)).toEqual({
    complete: true,
    tables: [{ name: 't', rows: 3 }],
    views: new Set(['v']),
    sequences: new Set(),
    position: { file: 'binlog.000007', position: 158 },
  });
  const uuid = (digit: number): string => `${digit}e11fa47-71ca-11e1-9e33-c80aa9429562`;
  const ids = `/* SET @@GLOBAL.GTID_PURGED='+${uuid(3)}:1-5,\n${uuid(4)}:1-20227:30-31';*/\n`;
  const withIds = mysqlDump.replace('-- CHANGE', `${ids}-- CHANGE`);
  expect((await readDump(fileOf(withIds), signal)).position).toEqual({
    file: 'binlog.000007',
    position: 158,
    gtid: `${uuid(3)}:1-5,${uuid(4)}:1-20227:30-31`,
  });
  expect(await restored(withIds)).toContain(ids);
  for (const cut of ['-- Dump completed\n', 'ump completed\n']) {
    expect((await readDump(fileOf(mysqlDump.replace(cut, '')), signal)).complete).toBe(false);
  }
  expect(await readDump(fileOf(''), signal)).toMatchObject({ complete: false, tables: [] });
});

test('dates that a server takes only when told are taken', async () => {
  const line = (mode: string) => `/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='${mode}' */;\n`;
  expect(await restored(line('NO_AUTO_VALUE_ON_ZERO'))).toBe(line('NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'));
});

test('rows are joined, locks left out, and nothing else is touched', async () => {
  const text = await restored(mysqlDump);
  expect(text).toBe(
    mysqlDump
      .replace(
        "');\nINSERT INTO `t` (`a`, `b`) VALUES (2,NULL);\nINSERT INTO `t` (`a`, `b`) VALUES (3",
        "'),(2,NULL),(3",
      )
      .replace('LOCK TABLES `t` WRITE;\n', '')
      .replace('set autocommit=0;\n', '')
      .replace('UNLOCK TABLES;\ncommit;\n', ''),
  );
});

test('joined INSERTs stay small enough for any server, and one long row is left as it is', async () => {
  const row = (length: number) => `INSERT INTO \`t\` VALUES ('${'x'.repeat(length)}');\n`;
  const text = await restored(
    `LOCK TABLES \`t\` WRITE;\n${row(100_000).repeat(20)}${row(3_000_000)}${row(10)}UNLOCK TABLES;\n`,
  );
  const statements = text.split('\n').filter(Boolean);
  expect(
    statements
      .map((one) => one.length)
      .slice(0, -2)
      .every((length) => length < 600_000),
  ).toBe(true);
  expect(statements.slice(-2).map((one) => one.length)).toEqual([row(3_000_000).length - 1, row(10).length - 1]);
  expect(text.match(/x+/g)).toHaveLength(22);
  expect((await readDump(fileOf(`LOCK TABLES \`t\` WRITE;\n${row(3_000_000).repeat(3)}`), signal)).tables).toEqual([
    { name: 't', rows: 3 },
  ]);
});

test('definers go where they can’t be kept', async () => {
  const text = await restored(mysqlDump, { withoutDefiners: true });
  expect(text).not.toContain('DEFINER=');
  expect(text).toContain('CREATE PROCEDURE `p`()');
  expect(text).toContain('/*!50013 SQL SECURITY DEFINER */');
});

test('bytes that are no UTF-8 pass through changed lines', async () => {
  const line = Buffer.concat([
    Buffer.from('DELIMITER ;;\nCREATE DEFINER=`a`@`%` PROCEDURE `p`() SELECT "'),
    Buffer.from([0xe4, 0xff]),
    Buffer.from('";;\n'),
  ]);
  expect(await restored(line, { withoutDefiners: true })).toBe(
    'DELIMITER ;;\nCREATE PROCEDURE `p`() SELECT "\xe4\xff";;\n',
  );
});

test.each([
  [
    '/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`b`*/ /*!50003 TRIGGER `s`.`t` AFTER INSERT ON `s`.`u` FOR EACH ROW x',
    'TRIGGER `t` AFTER INSERT ON `u` FOR',
  ],
  [
    '/*!50003 CREATE*/ /*!50003 TRIGGER t\n  BEFORE  DELETE\nON s.u\nFOR EACH ROW x',
    'TRIGGER t\n  BEFORE  DELETE\nON u\nFOR',
  ],
  [
    'CREATE OR REPLACE TRIGGER IF NOT EXISTS s . t before update on s . u for each row x',
    'EXISTS t before update on u for',
  ],
  [
    '/*!50003 CREATE*/ /*!50003 TRIGGER t AFTER INSERT ON u FOR EACH ROW INSERT INTO s.log VALUES (1)',
    'INSERT INTO s.log',
  ],
])('%s', (trigger, part) => {
  expect(isTrigger(trigger)).toBe(true);
  expect(inOwnDatabase(trigger)).toContain(part);
});

test('other programs are no triggers; what can’t be understood is refused', () => {
  expect(isTrigger('CREATE DEFINER=`a`@`b` PROCEDURE `p`() SELECT "TRIGGER x"')).toBe(false);
  expect(() => inOwnDatabase('CREATE TRIGGER /* why */ s.t AFTER INSERT ON s.u')).toThrow('can’t be restored');
  const renamed = { from: 'shöp', to: 'x`y' };
  const line = Buffer.from('`id` int DEFAULT nextval(`shöp`.`n`), `b` int DEFAULT nextval(`other`.`n`)').toString(
    'latin1',
  );
  expect(sequencesRenamed(line, renamed)).toContain('nextval(`x``y`.`n`), `b` int DEFAULT nextval(`other`.`n`)');
});

test('a view reads its own database under the new name, and nothing else of its text changes', () => {
  const renamed = { from: 'shop', to: 'x`y' };
  expect(
    viewRenamed("select `shop`.`t`.`a` AS `b`,'`shop`.`t`' AS `s` from (`shop`.`t` join `o`.`shop` `p`)", renamed),
  ).toBe("select `x``y`.`t`.`a` AS `b`,'`shop`.`t`' AS `s` from (`shop`.`t` join `o`.`shop` `p`)");
  expect(viewRenamed("select 'it\\'s `shop`.`' AS `s` from `shop`.`t` join `shop`.`f`()", renamed)).toBe(
    "select 'it\\'s `shop`.`' AS `s` from `x``y`.`t` join `x``y`.`f`()",
  );
});

test('lines are the same however the stream is cut', () => {
  fc.assert(
    fc.property(fc.string(), fc.array(fc.nat(8), { minLength: 1 }), (noise, sizes) => {
      const data = Buffer.from(`a\n\n${noise}\nlast${noise}`);
      let seen = '';
      let lines = 0;
      const splitter = new LineSplitter((part, start, end, _first, last) => {
        seen += part.toString('latin1', start, end);
        if (last) lines++;
      });
      for (let at = 0, step = 0; at < data.length; step++) {
        const size = 1 + (sizes[step % sizes.length] ?? 0);
        splitter.push(data.subarray(at, at + size));
        at += size;
      }
      splitter.end();
      expect(seen).toBe(data.toString('latin1'));
      expect(lines).toBe(data.toString('latin1').split(/(?<=\n)/).length);
    }),
  );
});

test('each family of tools gets the options it knows', () => {
  const facts = { product: '', logPosition: true, gtids: true };
  const args = (options: string[], flavour: 'mysql' | 'mariadb', version: number, by = 'Ver 9.7.4') => {
    const tool = {
      options: new Set(options),
      flavour: by.includes('MariaDB') ? 'mariadb' : 'mysql',
      version: by,
    } as const;
    return dumpArguments('shop', tool, { ...facts, flavour, version }, new Set(['a b']));
  };
  const mysql = ['set-gtid-purged', 'column-statistics', 'source-data', 'master-data'];
  expect(args(mysql, 'mysql', 8004)).toEqual(expect.arrayContaining(['--set-gtid-purged=OFF', '--source-data=2']));
  const commented = [...mysql, 'set-gtid-purged=COMMENTED'];
  expect(args(commented, 'mysql', 8004)).toContain('--set-gtid-purged=COMMENTED');
  expect(args(commented, 'mysql', 8004)).not.toContain('--set-gtid-purged=OFF');
  // They ask for the position in words that this server does not know.
  for (const by of ['Ver 8.0.36', 'Ver 10.19 Distrib 10.11.19-MariaDB']) {
    expect(args(commented, 'mysql', 8004, by).join(' ')).not.toMatch(/data=2|COMMENTED/);
    expect(args(mysql, 'mysql', 8000, by)).toContain('--source-data=2');
  }
  facts.gtids = false;
  expect(args(commented, 'mysql', 8004)).toContain('--set-gtid-purged=OFF');
  expect(args(mysql, 'mysql', 8004)).not.toContain('--column-statistics=0');
  expect(args(mysql, 'mariadb', 10011)).toContain('--column-statistics=0');
  expect(args(['master-data'], 'mariadb', 10011)).toContain('--master-data=2');
  expect(args(['master-data'], 'mariadb', 10011).join(' ')).not.toMatch(/gtid|column|source/);
  expect(args([], 'mysql', 5007).slice(-3)).toEqual(['--ignore-table=shop.a b', '--', 'shop']);
});

test('option files say TLS as their tool knows it', () => {
  const address = { host: 'db', port: 3306, user: 'u', password: 'a"\\b' };
  const of = (mode: 'off' | 'require' | 'verify-ca' | 'verify-full', flavour: 'mysql' | 'mariadb') =>
    optionFile({ ...address, tls: { mode, caFile: '/ca' } }, flavour).split('\n');
  expect(of('off', 'mysql')).toEqual(
    expect.arrayContaining([
      '[client]',
      'user="u"',
      'password="a\\"\\\\b"',
      'host="db"',
      'port=3306',
      'ssl-mode=DISABLED',
    ]),
  );
  expect(of('verify-ca', 'mysql')).toEqual(expect.arrayContaining(['ssl-mode=VERIFY_CA', 'ssl-ca="/ca"']));
  expect(of('verify-full', 'mariadb')).toEqual(
    expect.arrayContaining(['ssl', 'ssl-verify-server-cert', 'ssl-ca="/ca"']),
  );
  expect(of('off', 'mariadb')).toContain('skip-ssl');
});
