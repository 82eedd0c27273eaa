import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import { restorer, runPython } from '../docs/python.js';
import { plainDump } from '../sources/mysql/rig.js';
import { TestHost } from '../support/cli.js';
import { type MariaDb, startMariaDb } from '../support/mariadb.js';

let server: MariaDb;
let host: TestHost;
/** As long as names may be; encoded it is longer than what file systems take. */
const long = 'Ж'.repeat(64);

beforeAll(async () => {
  server = await startMariaDb('--skip-log-bin');
  server.sql(`CREATE DATABASE shop; USE shop; CREATE TABLE orders (id INT PRIMARY KEY, words TEXT);
    INSERT INTO orders SELECT seq, MD5(seq) FROM seq_1_to_20000;
    CREATE DATABASE \`${long}\`; CREATE TABLE \`${long}\`.t (a INT); INSERT INTO \`${long}\`.t VALUES (1);
    CREATE USER keeper@localhost IDENTIFIED BY 'word of keeper'; GRANT ALL ON *.* TO keeper@localhost`);
  host = await TestHost.make();
  await host.configure({
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    jobs: {
      data: {
        sources: [
          { type: 'mysql', socket: server.socket, user: 'keeper', password: 'word of keeper', databases: ['shop'] },
        ],
        destinations: ['nas'],
      },
      long: {
        sources: [
          { type: 'mysql', socket: server.socket, user: 'keeper', password: 'word of keeper', databases: [long] },
        ],
        destinations: ['nas'],
        drill: { every: '7d', databases: 'scratch', assert: [{ sql: 'SELECT a FROM t', database: long, expect: 1 }] },
      },
      refused: {
        sources: [
          { type: 'mysql', socket: server.socket, user: 'keeper', password: 'wrong one' },
          { type: 'files', paths: [host.source] },
        ],
        destinations: ['nas'],
      },
    },
  });
  // Else every command starts a server of its own.
  await host.up();
});
afterAll(async () => {
  await server.stop();
  await host?.remove();
});

test('a database is backed up and restored under another name', async () => {
  const first = await host.json<RunDocument>(['backup', 'data']);
  expect(first).toMatchObject({ status: 'succeeded', warnings: [] });
  const second = await host.json<RunDocument>(['backup', 'data']);
  expect(second.bytes.new).toBeLessThan(first.bytes.new / 10);
  const restore = await host.json<object>(['restore', 'data', '--database', 'shop', '--into', 'copy', '--create']);
  expect(restore).toMatchObject({ status: 'succeeded', database: { into: 'copy', tables: 1, rows: 20_000 } });
  expect(plainDump(server, 'copy')).toBe(plainDump(server, 'shop'));
  // The program that knows only the format gives the same dump, which any client can load.
  const secret = host.path('passphrase');
  writeFileSync(secret, 'correct horse battery staple', { mode: 0o600 });
  await runPython(restorer, [host.path('nas', 'fault-host', 'data'), host.path('python'), secret]);
  const dumps = readdirSync(host.path('python'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.sql$/.test(name),
  );
  expect(dumps.length).toBeGreaterThan(0);
  server.sql('CREATE DATABASE by_hand');
  const text = dumps.map((name) => readFileSync(join(host.path('python'), name), 'utf8')).join('\n');
  server.sql(`USE by_hand;\n${text}`);
  expect(plainDump(server, 'by_hand')).toBe(plainDump(server, 'shop'));
  const url = `mysql://root@localhost/elsewhere?socket=${encodeURIComponent(server.socket)}`;
  const to = ['restore', 'data', '--database', 'shop', '--target-url', url, '--create'];
  expect(await host.json<object>(to)).toMatchObject({ database: { into: 'elsewhere' } });
  expect(plainDump(server, 'elsewhere')).toBe(plainDump(server, 'shop'));
  expect(
    readdirSync(host.spool, { recursive: true, encoding: 'utf8' }).filter((name) => /my\.cnf|dump\.sql/.test(name)),
  ).toEqual([]);
});

test('a database whose name is as long as names may be', async () => {
  expect(await host.json<RunDocument>(['backup', 'long'])).toMatchObject({ status: 'succeeded', warnings: [] });
  await host.json(['restore', 'long', '--database', long, '--clean']);
  expect(await host.json(['drill', 'long'])).toMatchObject({
    status: 'passed',
    databases: [{ name: long, rows: 1 }],
    asserts: [{ database: long, status: 'passed' }],
  });
});

test('a refused password fails the source by name and is not told', async () => {
  const { code, stdout, stderr } = await host.run(['backup', 'refused', '--json']);
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ status: 'failed' });
  expect(stdout).toContain('Access denied for user');
  expect(stdout + stderr).not.toContain('wrong one');
});
