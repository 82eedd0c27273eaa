import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import type { ScheduleInfo } from '../../src/control/schedules.js';
import type { DrillReport } from '../../src/workflows/drill-types.js';
import { TestHost } from '../support/cli.js';

type Drill = NonNullable<ConfigInput['jobs'][string]['drill']>;

let host: TestHost;
beforeAll(async () => {
  host = await TestHost.make();
});
afterAll(() => host?.remove());

const shop = () => host.path('shop.db');
const configure = (drill?: Partial<Drill>) =>
  host.configure({
    destinations: { nas: { type: 'local', path: host.path('nas') } },
    jobs: {
      site: {
        sources: [
          { type: 'files', paths: [host.source], name: 'www' },
          { type: 'sqlite', path: shop(), name: 'shop' },
        ],
        destinations: ['nas'],
        ...(drill === undefined ? {} : { drill: { every: '7d', ...drill } }),
      },
    },
  });
/** Dead ones may wait a while for init to look at them. */
const isAlive = (pid: string): boolean => {
  try {
    return !/\) Z /.test(readFileSync(join('/proc', pid, 'stat'), 'utf8'));
  } catch {
    return false;
  }
};
const left = () => readdirSync(host.spool).filter((name) => name.startsWith('drill'));
const objects = (folder: string) =>
  readdirSync(host.path('nas', 'fault-host', 'site', folder), { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map((each) => join(each.parentPath, each.name));

test('a drill restores, compares, asks and clears up; what is wrong fails it by name', async () => {
  const big = join(host.source, 'big');
  writeFileSync(big, randomBytes(6_000_000));
  for (let at = 0; at < 40; at++) writeFileSync(join(host.source, `small-${at}`), `small ${at}`);
  const database = new Database(shop());
  database.exec(
    "CREATE TABLE orders (total); INSERT INTO orders VALUES (7), (35); CREATE TABLE names (n); INSERT INTO names VALUES ('Ö')",
  );
  database.close();
  const seen = host.path('seen');
  await configure({
    databases: 'scratch',
    sample: '20%',
    assert: [
      { sql: 'SELECT sum(total), 1 FROM orders', expect: 42 },
      { sql: 'SELECT n FROM names', expect: 'Ö', source: 'shop', database: shop() },
      {
        command: `pwd > ${seen}; test "$HOLDFAST_DRILL_DIR" = "$PWD" && ls .${host.source}/* && test -z "$HOLDFAST_TEST_PASSPHRASE"`,
      },
    ],
  });
  const up = await host.up();
  await host.json(['backup', 'site']);
  const good = await host.json<DrillReport>(['drill', 'site']);
  expect(good).toMatchObject({ status: 'passed', job: 'site', sample: 20, problems: [], scheduled: false });
  expect(good.sampled.files).toBeGreaterThan(0);
  expect(good.sampled.files).toBeLessThan(35);
  expect(good.files).toBe(good.sampled.files);
  expect(good.total.files).toBeGreaterThan(40);
  expect(good.restoreMs).toBeGreaterThan(0);
  expect(good.databases).toMatchObject([{ source: 'shop', name: shop(), status: 'passed', tables: 2, rows: 3 }]);
  expect(good.asserts.map(({ status }) => status)).toEqual(['passed', 'passed', 'passed']);
  expect(good.asserts[0]).toMatchObject({ kind: 'sql', expected: '42', found: '42' });
  const place = readFileSync(seen, 'utf8').trim();
  expect(place.startsWith(host.spool)).toBe(true);
  expect(existsSync(place)).toBe(false);
  expect(left()).toEqual([]);

  // Its schedule does the same, is listed, and goes when the config drops it.
  const listed = async () =>
    (await host.json<ScheduleInfo[]>(['schedule', 'list'])).filter(({ kind }) => kind === 'drill');
  expect(await listed()).toMatchObject([{ job: 'site', paused: false }]);
  const server = JSON.parse(readFileSync(join(host.state, 'run', 'server.json'), 'utf8')) as { address: string };
  const connection = await Connection.connect({ address: server.address });
  const schedule = new Client({ connection }).schedule.getHandle((await listed())[0]?.id ?? '');
  await schedule.trigger();
  const reports = () => host.json<DrillReport[]>(['drills', 'list', 'site']);
  await expect.poll(async () => (await reports()).length, { timeout: 60_000, interval: 500 }).toBe(2);
  const [byItself] = await reports();
  expect(byItself).toMatchObject({ status: 'passed', scheduled: true });
  await schedule.pause('for now');
  await host.json(['schedule', 'apply']);
  expect(await listed()).toMatchObject([{ paused: true, note: 'for now' }]);
  await connection.close();

  await configure({
    databases: 'scratch',
    assert: [
      { sql: 'SELECT sum(total) FROM orders', expect: 41 },
      { sql: 'SELECT a FROM nowhere', expect: '' },
      { command: 'echo it is broken; echo really >&2; exit 3' },
      { command: `sleep 300 & echo $! > ${host.path('pid')}; wait`, timeout: '5s' },
    ],
  });
  const bad = await host.json<DrillReport>(['drill', 'site', '--sample', '1%'], [1]);
  expect(bad).toMatchObject({ status: 'failed', sample: 1, files: 1 });
  expect(bad.asserts).toMatchObject([
    { status: 'failed', expected: '41', found: '42' },
    { status: 'failed', output: expect.stringContaining('nowhere') },
    { status: 'failed', exitCode: 3, output: 'it is broken\nreally' },
    { status: 'failed', exitCode: null, output: expect.stringContaining('did not end within 5 s') },
  ]);
  expect(bad.problems.map(({ message }) => message).join('\n')).toContain('it is broken');
  const sleeper = readFileSync(host.path('pid'), 'utf8').trim();
  await expect.poll(() => isAlive(sleeper), { timeout: 30_000, interval: 50 }).toBe(false);
  expect(left()).toEqual([]);

  const largest = objects('packs').sort((a, b) => statSync(b).size - statSync(a).size)[0] ?? '';
  const bytes = readFileSync(largest);
  bytes.fill(0, 1_000_000, 1_000_100);
  rmSync(largest);
  writeFileSync(largest, bytes);
  await configure({});
  const damaged = await host.json<DrillReport>(['drill', 'site', '--sample', '100'], [1]);
  expect(damaged.status).toBe('failed');
  expect(damaged.problems.map(({ path }) => path)).toContain(big);
  expect(damaged.files).toBe(damaged.sampled.files - damaged.problems.length);
  expect(left()).toEqual([]);

  const list = await host.json<DrillReport[]>(['drills', 'list', 'site']);
  expect(list.map(({ drill }) => drill)).toEqual([damaged.drill, bad.drill, byItself?.drill, good.drill]);
  expect(await host.json(['drills', 'show', bad.drill])).toEqual(bad);
  expect((await host.run(['drills', 'list'])).stdout).toContain('passed');
  expect((await host.run(['drills', 'show', 'drill/none'])).code).not.toBe(0);
  expect((await host.run(['drill', 'site', '--sample', '0'])).code).toBe(2);
  const unknown = await host.json<DrillReport>(['drill', 'site', '--snapshot', 'abcdef'], [1]);
  expect(unknown).toMatchObject({ snapshot: null, problems: [{ code: 'SnapshotUnknown' }] });
  await configure();
  await host.json(['schedule', 'apply', '--prune']);
  expect(await listed()).toEqual([]);
  await up.kill('SIGTERM');
});

test('what a killed drill left is taken up and cleared by the next start', async () => {
  writeFileSync(shop(), '');
  rmSync(host.path('nas'), { recursive: true });
  rmSync(host.state, { recursive: true });
  rmSync(shop());
  new Database(shop()).exec('CREATE TABLE t (a)').close();
  const pid = host.path('slow');
  const once = host.path('once');
  await configure({
    assert: [{ command: `if test -e ${once}; then exit 0; fi; touch ${once}; echo $$ > ${pid}; sleep 300` }],
  });
  await host.json(['backup', 'site']);
  const drill = host.start(['drill', 'site', '--json']);
  await expect
    .poll(() => existsSync(pid) && readFileSync(pid, 'utf8') !== '', { timeout: 30_000, interval: 20 })
    .toBe(true);
  const child = readFileSync(pid, 'utf8').trim();
  expect(left()).toHaveLength(1);
  await drill.kill('SIGKILL');
  const up = await host.up();
  await expect.poll(() => left(), { timeout: 60_000 }).toEqual([]);
  await expect.poll(() => isAlive(child)).toBe(false);
  await up.kill('SIGTERM');
  expect(await host.json<DrillReport[]>(['drills', 'list'])).toMatchObject([{ status: 'passed' }]);
});
