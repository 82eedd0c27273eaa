import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import type { Check } from '../../src/control/doctor.js';
import type { RestoreDocument } from '../../src/workflows/restore-types.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { restorer, runPython } from '../docs/python.js';
import { type Running, TestHost } from '../support/cli.js';
import { type MariaDb, startMariaDb } from '../support/mariadb.js';
import { type Mount, mayMount, mountTmpfs } from '../support/mounts.js';
import { PostgresServer } from '../support/postgres.js';

type JobSource = NonNullable<ConfigInput['jobs']>[string]['sources'][number];

let host: TestHost;
let server: PostgresServer;
let mariadb: MariaDb;
let up: Running;
/** The spool is a small disk. */
let spool: Mount | undefined;
/** With as long a name as file systems take, which leaves no room for SQLite's `-journal`. */
const longFile = () => host.path(`${'ü'.repeat(126)}.db`);
const nas = () => ({ nas: { type: 'local' as const, path: host.path('nas') } });

beforeAll(async () => {
  [host, server, mariadb] = await Promise.all([TestHost.make(), PostgresServer.start(), startMariaDb()]);
  // Twice as large in a dump as at the server.
  mariadb.sql(`CREATE USER holder@localhost IDENTIFIED BY 'pw with " and #'; GRANT ALL ON *.* TO holder@localhost;
    CREATE DATABASE shop; USE shop; CREATE TABLE a AS SELECT seq AS id, REPEAT(UNHEX(MD5(seq)), 4096) AS b FROM seq_1_to_100;
    CREATE TABLE held AS SELECT seq AS id FROM seq_1_to_10`);
  writeFileSync(host.path('my-password'), 'pw with " and #', { mode: 0o600 });
  await server.sql('CREATE DATABASE shop');
  await server.sql(readFileSync(path.resolve(import.meta.dirname, '../support/everything.sql'), 'utf8'), 'shop');
  await server.sql(
    'CREATE TABLE big AS SELECT g AS id, md5(g::text) || md5((g * 7)::text) AS filler FROM generate_series(1, 100000) g; CREATE TABLE fresh (a int)',
    'shop',
  );
  writeFileSync(host.path('pg-url'), server.url(), { mode: 0o600 });
  const app = new Database(host.path('app.db'));
  app.pragma('journal_mode = WAL');
  app.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t (x) VALUES ('one'), ('two')");
  new Database(host.path('short')).exec('CREATE TABLE t AS SELECT 7 AS x').close();
  renameSync(host.path('short'), longFile());
  writeFileSync(path.join(host.source, 'a.txt'), 'a file');
  await host.configure({
    destinations: nas(),
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
  if (mayMount) spool = await mountTmpfs(host.spool, '96m');
  up = await host.up();
});

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await holds()); await sleep(50))
    if (Date.now() > deadline) throw new Error(`not in time: ${what}; ${host.logTail()}`);
}

/** Whether the process does anything still; where nobody waits for orphans, a dead one keeps its entry. */
function lives(pid: string | undefined): boolean {
  const file = `/proc/${pid}/stat`;
  return existsSync(file) && !/\) Z /.test(readFileSync(file, 'utf8'));
}

const job = (source: JobSource) => ({ sources: [source], destinations: ['nas'] });

function allBelow(folder: string): string[] {
  for (;;) {
    try {
      return readdirSync(folder, { recursive: true, encoding: 'utf8' });
    } catch (error) {
      // A folder went away while it was read.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
}

/** Paths below the spool whose names match. */
const find = (what: RegExp): string[] =>
  allBelow(host.spool)
    .filter((name) => what.test(name))
    .map((name) => path.join(host.spool, name));

afterAll(async () => {
  await host.killCommands();
  await spool?.remove();
  await host.remove();
  await Promise.all([server.remove(), mariadb.stop()]);
});

const mysqlSource = () => ({
  type: 'mysql' as const,
  name: 'my',
  socket: mariadb.socket,
  user: 'holder',
  password: `\${file:${host.path('my-password')}}`,
  databases: ['shop'],
  globals: false,
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

  // The program that knows only the format gives the same: dumps of PostgreSQL, and SQLite files.
  const secret = host.path('passphrase');
  writeFileSync(secret, 'correct horse battery staple', { mode: 0o600 });
  await runPython(restorer, [host.path('nas', 'fault-host', 'site'), host.path('python'), secret]);
  for (const part of ['.holdfast', host.path('app.db')])
    execFileSync('diff', ['-r', path.join(to, part), path.join(host.path('python'), part)]);

  const document = await host.json<RestoreDocument>([
    ...[
      'restore',
      'site',
      '--database',
      'shop',
      '--into',
      'shop_back',
      '--create',
      '--target-url',
      `\${file:${host.path('pg-url')}}`,
    ],
  ]);
  expect(document).toMatchObject({ status: 'succeeded', database: { source: 'pg', name: 'shop', into: 'shop_back' } });
  expect(await server.dump('shop_back')).toBe(await server.dump('shop'));
  await host.json([
    ...['restore', 'site', '--database', host.path('app.db')],
    '--into',
    host.path('restored', 'app.db'),
  ]);
  const restored = new Database(host.path('restored', 'app.db'), { readonly: true });
  expect(restored.prepare('SELECT x FROM t').pluck().all()).toEqual(['one', 'two']);
  restored.close();
  // Nothing of the dumps, and no password, stays in the spool.
  expect(readdirSync(path.join(host.spool, 'restore'))).toEqual([]);
  expect(readdirSync(host.spool)).toEqual(['restore']);
  const again = await host.run(['restore', 'site', '--database', 'shop', '--into', 'shop_back', '--json']);
  expect([again.code, JSON.parse(again.stdout)]).toMatchObject([1, { error: { code: 'TargetConflict' } }]);
});

test('a SQLite database whose name is as long as names may be', async () => {
  const long = ['restore', 'site', '--database', longFile(), '--clean'];
  expect(await host.json(long)).toMatchObject({ database: { tables: 1, rows: 1 } });
  expect(existsSync(path.join(host.path('files'), longFile()))).toBe(true);
});

test('one database that fails is named; the others are stored, and its earlier dump stays the one to restore', async () => {
  const pg = (databases: string[]) => ({
    destinations: nas(),
    jobs: {
      some: {
        sources: [
          { type: 'postgres' as const, name: 'pg', url: `\${file:${host.path('pg-url')}}`, databases },
          { type: 'files' as const, paths: [host.source] },
        ],
        destinations: ['nas'],
      },
    },
  });
  await server.sql('CREATE DATABASE gone');
  await server.sql('CREATE TABLE kept AS SELECT 1 AS a', 'gone');
  await host.configure(pg(['shop', 'gone']));
  expect((await host.json<RunDocument>(['backup', 'some'])).status).toBe('succeeded');
  await server.sql('DROP DATABASE gone');
  const document = await host.json<RunDocument>(['backup', 'some'], [1]);
  expect(document).toMatchObject({
    status: 'failed',
    error: { code: 'SourceMissing', message: expect.stringContaining('database gone') },
    destinations: [{ status: 'stored' }],
  });
  const [newest] = await host.json<{ id: string; complete: boolean }[]>(['snapshots', 'some']);
  expect([newest?.id, newest?.complete]).toEqual([document.snapshot, false]);
  const shop = await host.json<RestoreDocument>(['restore', 'some', '--database', 'shop', '--to', host.path('shop')]);
  expect(shop.snapshot).toBe(document.snapshot);
  const gone = await host.json<RestoreDocument>(['restore', 'some', '--database', 'gone', '--create']);
  expect(gone).toMatchObject({
    status: 'succeeded',
    database: { tables: 1, rows: 1 },
    warnings: [{ code: 'SnapshotOlder' }],
  });
  expect(gone.snapshot).not.toBe(document.snapshot);
});

test.runIf(mayMount)(
  'a full disk: the sources are named, tried again once there is room, and earlier dumps stay',
  async () => {
    await server.sql('CREATE DATABASE blobs');
    // Twice as large in a dump as at the server, which is what the check before it goes by.
    await server.sql(
      `CREATE TABLE t (a bytea); ALTER TABLE t ALTER a SET STORAGE EXTERNAL;
     INSERT INTO t SELECT decode(string_agg(md5(n::text || g), ''), 'hex') FROM generate_series(1, 30) n, generate_series(1, 16384) g GROUP BY n`,
      'blobs',
    );
    const large = new Database(host.path('large.sqlite'));
    large.exec('CREATE TABLE t AS SELECT randomblob(12000000) AS a').close();
    await host.configure({
      destinations: nas(),
      jobs: {
        pg: job({ type: 'postgres', name: 'pg', url: `\${file:${host.path('pg-url')}}`, databases: ['blobs'] }),
        my: job(mysqlSource()),
        app: job({ type: 'sqlite', name: 'app', path: host.path('large.sqlite') }),
      },
    });
    const jobs = ['pg', 'my', 'app'];
    const good = await Promise.all(jobs.map((name) => host.json<RunDocument>(['backup', name])));
    expect(good.map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'succeeded']);
    const filler = path.join(host.spool, 'filler');
    const { bavail, bsize } = statfsSync(host.spool);
    writeFileSync(filler, Buffer.alloc(bavail * bsize - 10e6));
    // Their own words, not of the disk that can't hold them.
    const told = (): string[] => find(/0\.failed\.json$/).map((name) => readFileSync(name, 'utf8'));
    const runs = [await host.startRun('pg')];
    await until('the dump fails', () => told().length > 0);
    expect(told().map((text) => JSON.parse(text))).toMatchObject([
      { code: 'SpoolFull', message: expect.stringContaining('pg_dump') },
    ]);
    expect(find(/\.dat$|pgpass|copy\.db/)).toEqual([]);
    runs.push(...(await Promise.all(['my', 'app'].map((name) => host.startRun(name)))));
    await until('all dumps have failed', () => told().length === 3);
    // A copy of SQLite may end in an error of its own when another dump takes the last of the room.
    for (const text of told()) expect(['SpoolFull', 'SourceFailed']).toContain(JSON.parse(text).code);
    for (const [at, name] of jobs.entries()) {
      const [newest] = await host.json<{ id: string; complete: boolean }[]>(['snapshots', name]);
      expect(newest).toMatchObject({ id: good[at]?.snapshot, complete: true });
    }
    rmSync(filler);
    for (const run of runs)
      expect(await host.finished(run, 120_000)).toMatchObject({ status: 'succeeded', warnings: [] });
    await until('the spool is empty', () => readdirSync(host.spool).every((name) => name === 'restore'));
  },
);

test('the doctor says of each database source whether it can be dumped', async () => {
  writeFileSync(host.path('wrong-url'), server.url().replace(/:[^:@]*@/, ':not-the-word@'), { mode: 0o600 });
  writeFileSync(host.path('damaged.sqlite'), 'words, and enough of them to be taken for a header'.repeat(100));
  const file = host.path('doctor.json');
  await host.configure(
    {
      destinations: nas(),
      jobs: {
        site: {
          sources: [
            { type: 'postgres', name: 'good', url: `\${file:${host.path('pg-url')}}` },
            { type: 'postgres', name: 'wrong', url: `\${file:${host.path('wrong-url')}}` },
            { type: 'sqlite', name: 'app', path: host.path('app.db') },
            { type: 'sqlite', name: 'damaged', path: host.path('damaged.sqlite') },
            { type: 'mysql', name: 'nobody', host: '127.0.0.1', port: 1, user: 'u' },
          ],
          destinations: ['nas'],
        },
      },
    },
    file,
  );
  const { checks } = await host.json<{ checks: Check[] }>(['doctor'], [1], file);
  const of = (name: string): Check | undefined => checks.find((check) => check.name === `source site/${name}`);
  expect(of('good')).toMatchObject({
    status: 'ok',
    message: expect.stringMatching(/^PostgreSQL .* databases, with pg_dump/),
  });
  expect(of('app')).toMatchObject({ status: 'ok', message: expect.stringMatching(/^SQLite .* 1 database$/) });
  for (const [name, message] of [
    ['wrong', 'refuses the user admin'],
    ['damaged', 'is not a SQLite database'],
    ['nobody', '127.0.0.1:1'],
  ] as const) {
    expect(of(name), name).toMatchObject({
      status: 'fail',
      message: expect.stringContaining(message),
      hint: expect.stringMatching(/./),
    });
  }
  expect(JSON.stringify(checks)).not.toContain('not-the-word');
  expect(existsSync(path.join(host.state, 'tools'))).toBe(false);
});

test('kill -9 in the middle of a restore: nothing of it stays, in the spool or at the server', async () => {
  await server.sql('CREATE DATABASE slow');
  // Whoever restores it waits in the middle.
  await server.sql(
    `CREATE TABLE t AS SELECT 1 AS a; CREATE FUNCTION gate() RETURNS text LANGUAGE sql AS
       $$ SELECT pg_sleep(CASE WHEN current_database() LIKE 'holdfast_new%' THEN 600 ELSE 0 END)::text $$;
     CREATE MATERIALIZED VIEW gated AS SELECT public.gate()`,
    'slow',
  );
  await host.configure({
    destinations: nas(),
    jobs: {
      slow: {
        sources: [{ type: 'postgres', name: 'pg', url: `\${file:${host.path('pg-url')}}`, databases: ['slow'] }],
        destinations: ['nas'],
      },
    },
  });
  // What a drill that was killed, and is over, left at the server.
  const orphan = `holdfast_scratch_${'0a'.repeat(6)}`;
  await server.sql(`CREATE DATABASE ${orphan}`);
  mkdirSync(path.join(host.state, 'scratch'), { recursive: true });
  const note = path.join(host.state, 'scratch', `${orphan}.json`);
  writeFileSync(note, JSON.stringify({ name: orphan, job: 'slow', source: 'pg', run: 'drill/fault-host/slow/over' }));
  await host.json(['backup', 'slow']);
  // At a server that is given by a reference; the sweep follows it, too.
  writeFileSync(host.path('target-url'), server.url(), { mode: 0o600 });
  const target = ['--target-url', `\${file:${host.path('target-url')}}`, '--into', 'never', '--create'];
  const restoring = host.start(['restore', 'slow', '--database', 'slow', ...target]);
  const loading = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'holdfast_new%' AND wait_event = 'PgSleep'";
  await until('the restore waits', async () => (await server.sql(loading)) === '1');
  expect(find(/^restore\/dump-.*\.dat$/).length).toBeGreaterThan(0);
  expect(find(/^restore\/.*pgpass-/).length).toBeGreaterThan(0);
  await restoring.kill('SIGKILL');
  await up.kill('SIGKILL');
  up = await host.up();
  await until('the killed restore is swept', () => find(/^restore\/./).length === 0);
  await until('the temporary database is dropped', () => !existsSync(note));
  expect(await server.sql("SELECT datname FROM pg_database WHERE datname LIKE 'holdfast%'")).toBe('');
});

test('kill -9 in the middle of dumps: no password and no program stays, and the runs go on', async () => {
  const app = new Database(host.path('held.sqlite'));
  app.exec('CREATE TABLE t AS SELECT 1 AS id, randomblob(25000000) AS b').close();
  const pg = { type: 'postgres' as const, name: 'pg', url: `\${file:${host.path('pg-url')}}`, databases: ['shop'] };
  const jobs = {
    'killed-pg': job(pg),
    'killed-my': job(mysqlSource()),
    'killed-app': job({ type: 'sqlite', name: 'app', path: host.path('held.sqlite') }),
  };
  await host.configure({ destinations: nas(), jobs });
  const hold = server
    .sql('BEGIN; LOCK TABLE pg_catalog.pg_ts_config IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)', 'shop')
    .catch(() => 'gone');
  const holder = spawn('mariadb', [
    '--no-defaults',
    '--unbuffered',
    `--socket=${mariadb.socket}`,
    '--user=root',
    'shop',
  ]);
  holder.stdin.write("LOCK TABLES held WRITE; SELECT 'held';\n");
  await once(holder.stdout, 'data');
  const runs = await Promise.all(['killed-pg', 'killed-my'].map((name) => host.startRun(name)));
  const waits =
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM pg_ts_config%' AND wait_event_type = 'Lock'";
  await until('pg_dump waits', async () => (await server.sql(waits)) === '1');
  const blocked =
    "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'holder' AND state LIKE 'Waiting for table metadata lock%'";
  await until('mariadb-dump waits', () => mariadb.sql(blocked).trim() === '1');
  const passwords = find(/pgpass-|my\.cnf/);
  expect(passwords.length).toBe(2);
  for (const file of passwords) {
    expect(readFileSync(file, 'utf8')).toContain('pw with');
    expect(statSync(file).mode & 0o777).toBe(0o600);
  }
  const pids = find(/\.process$/).map((record) => readFileSync(record, 'utf8').split('\n')[0] ?? '');
  expect(pids.length).toBe(2);
  for (const pid of pids) {
    const told = readFileSync(`/proc/${pid}/cmdline`, 'utf8') + readFileSync(`/proc/${pid}/environ`, 'utf8');
    expect(told).toMatch(/pg_dump|mariadb-dump/);
    expect(told).not.toContain('pw with');
  }
  runs.push(await host.startRun('killed-app'));
  const copies = (): string[] =>
    find(/held\.sqlite$/).filter((file) => (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0);
  for (const deadline = Date.now() + 60_000; copies().length === 0; await sleep(1))
    if (Date.now() > deadline) throw new Error(`no copy began: ${host.logTail()}`);
  await up.kill('SIGKILL');
  // Nothing is told as done.
  for (const run of runs) expect(host.document(run)?.endedAt).toBeNull();
  for (const pid of pids) expect(lives(pid)).toBe(true);
  up = await host.up();
  for (const pid of pids) expect(lives(pid)).toBe(false);
  for (const file of passwords) expect(existsSync(file)).toBe(false);
  await server.sql(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()",
  );
  await hold;
  holder.stdin.end();
  await once(holder, 'close');
  for (const [at, name] of Object.keys(jobs).entries()) {
    const document = await host.finished(runs[at] ?? '', 120_000);
    expect([document.status, document.warnings]).toEqual(['succeeded', []]);
    expect(await host.json<{ id: string }[]>(['snapshots', name])).toMatchObject([{ id: document.snapshot }]);
  }
  expect(host.logTail(1 << 20)).not.toContain('pw with');

  const back = (name: string, database: string, ...options: string[]) =>
    host.json<RestoreDocument>(['restore', name, '--database', database, ...options]);
  await back('killed-pg', 'shop', '--into', 'shop_again', '--create');
  expect(await server.dump('shop_again')).toBe(await server.dump('shop'));
  await back('killed-my', 'shop', '--into', 'shop_back', '--create');
  const sums = (database: string): string =>
    mariadb.sql('CHECKSUM TABLE a, held', database).replaceAll(`${database}.`, '');
  expect(sums('shop_back')).toBe(sums('shop'));
  await back('killed-app', host.path('held.sqlite'), '--into', host.path('held-back.sqlite'));
  execFileSync('cmp', [host.path('held.sqlite'), host.path('held-back.sqlite')]);
});
