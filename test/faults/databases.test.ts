import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RestoreDocument } from '../../src/workflows/restore-types.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { TestHost } from '../support/cli.js';
import { PostgresServer } from '../support/postgres.js';

let host: TestHost;
let server: PostgresServer;

beforeAll(async () => {
  [host, server] = await Promise.all([TestHost.make(), PostgresServer.start()]);
  await server.sql('CREATE DATABASE shop');
  await server.sql(readFileSync(path.resolve(import.meta.dirname, '../support/everything.sql'), 'utf8'), 'shop');
  await server.sql(
    "CREATE TABLE big AS SELECT g AS id, md5(g::text) || md5((g * 7)::text) AS filler FROM generate_series(1, 100000) g; CREATE TABLE fresh (a int)",
    'shop',
  );
  writeFileSync(host.path('pg-url'), server.url(), { mode: 0o600 });
  const app = new Database(host.path('app.db'));
  app.pragma('journal_mode = WAL');
  app.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t (x) VALUES ('one'), ('two')");
  writeFileSync(path.join(host.source, 'a.txt'), 'a file');
  await host.configure({
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    jobs: {
      site: {
        sources: [
          { type: 'files', paths: [host.source] },
          { type: 'postgres', name: 'pg', url: `\${file:${host.path('pg-url')}}`, exclude: ['postgres'] },
          { type: 'sqlite', name: 'apps', path: host.path('*.db') },
        ],
        destinations: ['nas'],
      },
    },
  });
  mkdirSync(host.path('nas'));
});

afterAll(async () => {
  await host.remove();
  await server.remove();
});

test('databases are stored, restored as files, and restored into servers, with the same content', async () => {
  const first = await host.json<RunDocument>(['backup', 'site']);
  expect(first.warnings).toEqual([]);
  expect(first.status).toBe('succeeded');
  // What only the first run stores is stored only once.
  await server.sql('INSERT INTO fresh VALUES (1)', 'shop');
  const second = await host.json<RunDocument>(['backup', 'site']);
  expect([second.status, second.mode]).toEqual(['succeeded', 'incremental']);
  expect(second.bytes.stored).toBeLessThan(first.bytes.stored / 20);

  const to = host.path('files');
  await host.json(['restore', 'site', '--to', to]);
  expect(readdirSync(path.join(to, '.holdfast/pg/shop')).sort()).toEqual(['dump', 'globals.sql', 'report.json']);
  const app = new Database(path.join(to, host.path('app.db')), { readonly: true });
  expect(app.prepare('SELECT x FROM t').pluck().all()).toEqual(['one', 'two']);
  app.close();

  const document = await host.json<RestoreDocument>([
    ...['restore', 'site', '--database', 'shop', '--into', 'shop_back', '--create'],
  ]);
  expect(document).toMatchObject({ status: 'succeeded', database: { source: 'pg', name: 'shop', into: 'shop_back' } });
  expect(await server.dump('shop_back')).toBe(await server.dump('shop'));
  await host.json([...['restore', 'site', '--database', host.path('app.db')], '--into', host.path('restored', 'app.db')]);
  const restored = new Database(host.path('restored', 'app.db'), { readonly: true });
  expect(restored.prepare('SELECT x FROM t').pluck().all()).toEqual(['one', 'two']);
  restored.close();
  // Nothing of the dumps, and no password, stays in the spool.
  expect(readdirSync(path.join(host.spool, 'restore'))).toEqual([]);
  expect(readdirSync(host.spool)).toEqual(['restore']);
  const again = await host.run(['restore', 'site', '--database', 'shop', '--into', 'shop_back', '--json']);
  expect([again.code, JSON.parse(again.stdout)]).toMatchObject([1, { error: { code: 'TargetConflict' } }]);
});
