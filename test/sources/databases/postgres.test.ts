import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PostgresSourceConfig } from '../../../src/config/schema.js';
import type { DumpReport } from '../../../src/sources/database.js';
import { PostgresSource } from '../../../src/sources/postgres/source.js';
import { databaseContext } from '../../support/database-context.js';
import { PostgresServer } from '../../support/postgres.js';

let server: PostgresServer;
const context = databaseContext();
let folders = 0;

beforeAll(async () => {
  server = await PostgresServer.start();
  await server.sql('CREATE DATABASE shop');
  await server.sql(readFileSync(path.resolve(import.meta.dirname, '../../support/everything.sql'), 'utf8'), 'shop');
});
afterAll(async () => {
  await server.remove();
  context.remove();
});

function configOf(change: Partial<PostgresSourceConfig> = {}): PostgresSourceConfig {
  return {
    type: 'postgres',
    name: 'pg',
    url: server.url(),
    databases: 'all',
    exclude: [],
    globals: true,
    tls: {},
    excludeSchemas: [],
    excludeTables: [],
    jobs: 2,
    ...change,
  };
}

async function withSource<T>(
  work: (source: PostgresSource) => Promise<T>,
  change: Partial<PostgresSourceConfig> = {},
): Promise<T> {
  const source = new PostgresSource(configOf(change));
  try {
    return await work(source);
  } finally {
    await source.close();
  }
}

async function dumpOf(database: string, change: Partial<PostgresSourceConfig> = {}) {
  const folder = path.join(context.folder, `dump-${folders++}`);
  mkdirSync(folder);
  const report = await withSource((source) => source.dump(database, { folder }, context), change);
  return { folder, report };
}

const target = { create: true, clean: false, globals: false, jobs: 2 };
const rowsOf = (report: DumpReport, name: string): number | undefined =>
  report.tables.find((table) => table.name === name)?.rows;

test('lists what the config asks for, with sizes and the server’s version', async () => {
  const found = await withSource((source) => source.preflight(context), { exclude: ['post*'] });
  expect(found.server).toMatch(/^PostgreSQL \d+/);
  expect(found.databases.map(({ name }) => name)).toEqual(['shop']);
  expect(found.databases[0]?.estimatedBytes).toBeGreaterThan(10_000);
});

test('a database with everything in it comes back the same', async () => {
  const dump = await dumpOf('shop');
  expect(rowsOf(dump.report, 'public.kinds')).toBe(5);
  expect(rowsOf(dump.report, 'Ünï code.Ta"ble; DROP')).toBe(100);
  expect(rowsOf(dump.report, 'public.parent')).toBe(2);
  expect(rowsOf(dump.report, 'public.empty')).toBe(0);
  expect(rowsOf(dump.report, 'public.nothing')).toBe(1);
  expect(dump.report.files.map((file) => file.path)).toContain('globals.sql');
  expect(dump.report.position?.lsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/);
  const restored = await withSource((source) => source.restore(dump, { ...target, database: 'shop two' }, context));
  expect(restored).toMatchObject({ database: 'shop two', differences: [], warnings: [] });
  expect(await server.dump('shop two')).toBe(await server.dump('shop'));
  expect(await server.sql("SELECT encode(lo_get(424242), 'hex')", 'shop two')).toBe('00ff'.repeat(5000));
  expect(readdirSync(context.tempDir)).toEqual([]);
});
