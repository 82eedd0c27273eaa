import {
  appendFileSync,
  chownSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { PostgresSourceConfig } from '../../../src/config/schema.js';
import type { DumpReport } from '../../../src/sources/database.js';
import { scratchName } from '../../../src/sources/database.js';
import { proveArchive } from '../../../src/sources/postgres/archive.js';
import { provePlain } from '../../../src/sources/postgres/plain.js';
import { countRows } from '../../../src/sources/postgres/rows.js';
import { PostgresSource } from '../../../src/sources/postgres/source.js';
import { findTools } from '../../../src/sources/postgres/tools.js';
import { makeCertificates } from '../../support/certificates.js';
import { databaseContext } from '../../support/database-context.js';
import { mountTmpfs } from '../../support/mounts.js';
import { PostgresServer, postgresPrograms } from '../../support/postgres.js';
import { startSshd } from '../exec/sshd.js';

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

const target = { create: true, clean: false, globals: false, jobs: 2, id: 'a restore' };
const rowsOf = (report: DumpReport, name: string): number | undefined =>
  report.tables.find((table) => table.name === name)?.rows;

test('lists what the config asks for, with sizes and the server’s version', async () => {
  await server.sql('CREATE DATABASE holdfast_new_0123456789ab');
  const found = await withSource((source) => source.preflight(context), { exclude: ['post*'] });
  await server.sql('DROP DATABASE holdfast_new_0123456789ab');
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

test('the same through a command, where no folder is seen from both sides', async () => {
  // Another user, and nothing of our environment: much as in a container.
  const asServer = process.getuid?.() === 0 ? 'setpriv --reuid=postgres --regid=postgres --clear-groups ' : '';
  const command = `${asServer}env -i PATH=${postgresPrograms}:/usr/bin:/bin`;
  const there = { command, url: undefined, socket: server.folder, port: server.port, user: 'admin' };
  const elsewhere: Partial<PostgresSourceConfig> = { ...there, password: 'not asked for', jobs: 1 };
  const dump = await dumpOf('shop', elsewhere);
  const archived = await dumpOf('shop');
  expect(dump.report.tables).toEqual(archived.report.tables);
  expect(dump.report.files.map((file) => file.path)).toEqual(['dump.sql', 'globals.sql']);
  const plain = await withSource(
    (source) => source.restore(dump, { ...target, database: 'from_plain' }, context),
    elsewhere,
  );
  expect(plain.differences).toEqual([]);
  expect(await server.dump('from_plain')).toBe(await server.dump('shop'));
  const mixed = await withSource(
    (source) => source.restore(archived, { ...target, database: 'from_archive' }, context),
    elsewhere,
  );
  expect(mixed.differences).toEqual([]);
  const wrong = { ...elsewhere, socket: undefined, host: '127.0.0.1', password: 'wrong' };
  await expect(dumpOf('shop', wrong)).rejects.toMatchObject({ code: 'AuthDenied' });
  const nowhere = { ...elsewhere, command: 'env PATH=/nowhere' };
  await expect(dumpOf('shop', nowhere)).rejects.toMatchObject({ code: 'ToolMissing' });
});

test('a target that holds something is left alone, replaced only when told, and only once the new one is good', async () => {
  await server.sql('CREATE DATABASE busy');
  await server.sql('CREATE TABLE mine (a int)', 'busy');
  const dump = await dumpOf('shop');
  const into = (change: object = {}) =>
    withSource((source) => source.restore(dump, { ...target, database: 'busy', ...change }, context));
  await expect(into()).rejects.toMatchObject({ code: 'TargetConflict' });
  const damaged = { ...dump, report: { ...dump.report, tables: [{ name: 'public.kinds', rows: 6 }] } };
  const bad = await withSource((source) =>
    source.restore(damaged, { ...target, database: 'busy', clean: true }, context),
  );
  expect(bad.differences).toContainEqual({ table: 'public.kinds', expected: 6, found: 5 });
  expect(bad.differences).toContainEqual({ table: 'public.self', expected: null, found: 2 });
  expect(await server.sql('SELECT count(*) FROM mine', 'busy')).toBe('0');
  expect((await into({ clean: true })).differences).toEqual([]);
  // One that was filled in place and did not end is no obstacle for the next; a backup of it says what it is.
  await server.sql('CREATE DATABASE prepared');
  const torn = { ...dump, folder: `${dump.folder}-torn` };
  cpSync(dump.folder, torn.folder, { recursive: true });
  for (const name of readdirSync(path.join(torn.folder, 'dump')).filter((each) => /^\d+\.dat$/.test(each)))
    rmSync(path.join(torn.folder, 'dump', name));
  const prepared = { ...target, create: false, database: 'prepared' };
  await expect(withSource((source) => source.restore(torn, prepared, context))).rejects.toMatchObject({
    code: 'RestoreFailed',
  });
  expect((await dumpOf('prepared')).report.warnings).toMatchObject([{ code: 'RestoreUnfinished' }]);
  expect((await into(prepared)).differences).toEqual([]);
  expect(await server.dump('prepared')).toBe(await server.dump('shop'));
  expect(await server.dump('busy')).toBe(await server.dump('shop'));
  await expect(into({ database: 'absent', create: false })).rejects.toMatchObject({ code: 'UsageInvalid' });
  expect(await server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'holdfast%'")).toBe('0');
});

test('roles: kept beside the dump, made when asked for, else named as missing', async () => {
  await server.sql(
    "CREATE ROLE \"the owner\" LOGIN PASSWORD 'x'; CREATE ROLE reader; GRANT reader TO \"the owner\"; CREATE DATABASE owned OWNER \"the owner\"; REVOKE ALL ON DATABASE owned FROM PUBLIC; GRANT CONNECT ON DATABASE owned TO reader; COMMENT ON DATABASE owned IS 'it''s'; ALTER ROLE reader IN DATABASE owned SET work_mem = '7MB'",
  );
  await server.sql(
    'CREATE TABLE t (a int); ALTER TABLE t OWNER TO "the owner"; GRANT SELECT ON t TO reader; ALTER DATABASE owned SET search_path = public, pg_catalog',
    'owned',
  );
  const dump = await dumpOf('owned');
  expect(dump.report.roles).toEqual(['reader', 'the owner']);
  const before = await server.dump('owned');
  const whole = `SELECT shobj_description(d.oid, 'pg_database'), (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(d.datacl) a),
    (SELECT setconfig FROM pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole = 'reader'::regrole) FROM pg_database d WHERE datname = 'owned'`;
  const wholeBefore = await server.sql(whole);
  expect(wholeBefore).toMatch(/^it's\|.*reader=c\/.*work_mem=7MB/);
  await server.sql('DROP DATABASE owned');
  await server.sql('DROP ROLE reader; DROP ROLE "the owner"');
  const without = await withSource((source) => source.restore(dump, { ...target, database: 'unowned' }, context));
  expect(without.warnings).toMatchObject([{ code: 'RolesMissing', message: expect.stringContaining('the owner') }]);
  const restored = await withSource((source) =>
    source.restore(dump, { ...target, database: 'owned', globals: true }, context),
  );
  expect(restored.warnings).toEqual([]);
  expect(await server.dump('owned')).toBe(before);
  expect(await server.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'owned'")).toBe('the owner');
  expect(await server.sql('SHOW search_path', 'owned')).toBe('public, pg_catalog');
  expect(await server.sql(whole)).toBe(wholeBefore);
  expect(await server.sql("SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = 'the owner'")).toBe('t');
});

test('rows written and a table made while it is dumped: the dump is of one moment', async () => {
  await server.sql('CREATE DATABASE live');
  await server.sql(
    "CREATE TABLE log AS SELECT g AS n, repeat('x', 500) AS filler FROM generate_series(1, 40000) g",
    'live',
  );
  let writing = true;
  const writer = (async () => {
    for (let n = 0; writing; n++) {
      await server.sql(
        `INSERT INTO log SELECT -${n} FROM generate_series(1, 50); CREATE TABLE IF NOT EXISTS new_${n % 5} (a int)`,
        'live',
      );
    }
  })();
  const dump = await dumpOf('live');
  writing = false;
  await writer;
  expect(rowsOf(dump.report, 'public.log')).toBeGreaterThanOrEqual(40_000);
  const restored = await withSource((source) => source.restore(dump, { ...target, database: 'live2' }, context));
  expect(restored.differences).toEqual([]);
});

/** Until a statement like that waits for a lock. */
async function waitingFor(query: string): Promise<void> {
  const who = `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '${query}' AND wait_event_type = 'Lock'`;
  while ((await server.sql(who)) === '0') await sleep(10);
}

test('a table that is altered, emptied or swapped as the dump begins is in it as it is then, not empty', async () => {
  await server.sql('CREATE DATABASE altered');
  const make = 'AS SELECT g AS n FROM generate_series(1, 1000) g';
  await server.sql(
    `CREATE TABLE a_first ${make}; CREATE TABLE typed ${make}; CREATE TABLE emptied ${make}; CREATE TABLE swapped ${make}; CREATE TABLE dropped ${make}`,
    'altered',
  );
  const held = (statements: string): Promise<string> =>
    server.sql(`BEGIN; ${statements}; SELECT pg_advisory_lock(4); COMMIT`, 'altered');
  const changes = `ALTER TABLE typed ALTER COLUMN n TYPE bigint; TRUNCATE emptied; INSERT INTO emptied VALUES (1), (2), (3);
    ALTER TABLE swapped RENAME TO swapped_old; CREATE TABLE swapped AS SELECT 7 AS n; DROP TABLE dropped`;
  for (const elsewhere of [false, true]) {
    const gate = server.sql('SELECT pg_advisory_lock(4), pg_sleep(60)', 'altered').catch(() => 'over');
    while ((await server.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")) === '0')
      await sleep(10);
    const changing = held(elsewhere ? 'TRUNCATE typed; INSERT INTO typed VALUES (1)' : changes);
    await waitingFor('%pg_advisory_lock(4)%');
    const there = { url: undefined, socket: server.folder, port: server.port, user: 'admin', jobs: 1 };
    const dumping = dumpOf(
      'altered',
      elsewhere ? { ...there, command: `env PATH=${postgresPrograms}:/usr/bin:/bin` } : {},
    );
    await waitingFor(elsewhere ? '%EXISTS%' : 'LOCK TABLE%ACCESS SHARE%');
    await server.sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()",
    );
    await Promise.all([gate, changing]);
    const { report, folder } = await dumping;
    const rows = Object.fromEntries(report.tables.map(({ name, rows }) => [name.replace('public.', ''), rows]));
    const typed = elsewhere ? 1 : 1000;
    expect(rows).toEqual({ a_first: 1000, typed, emptied: 3, swapped: 1, swapped_old: 1000 });
    const restored = await withSource((source) =>
      source.restore({ folder, report }, { ...target, database: `altered_${elsewhere}` }, context),
    );
    expect(restored.differences).toEqual([]);
    expect(await server.dump(`altered_${elsewhere}`)).toBe(await server.dump('altered'));
  }
});

test('tables and schemas left out are left out, whatever the pattern; all others are still due', async () => {
  await server.sql('CREATE DATABASE patterns');
  await server.sql(
    `CREATE SCHEMA "Odd.one"; CREATE SCHEMA audit; CREATE TABLE "Odd.one"."A*b" (a int); CREATE TABLE "Odd.one".a (a int);
     CREATE TABLE audit.log (a int); CREATE TABLE audit.keep (a int); CREATE TABLE tmp_1 (a int); CREATE TABLE tmp_22 (a int); CREATE TABLE a$b (a int); CREATE TABLE "Tmp_3" (a int)`,
    'patterns',
  );
  const names = async (change: Partial<PostgresSourceConfig>): Promise<string[]> =>
    (await dumpOf('patterns', { jobs: 1, ...change })).report.tables.map(({ name }) => name);
  const all = [
    'Odd.one.A*b',
    'Odd.one.a',
    'audit.keep',
    'audit.log',
    'public.Tmp_3',
    'public.a$b',
    'public.tmp_1',
    'public.tmp_22',
  ];
  const without = (...left: string[]): string[] => all.filter((name) => !left.includes(name));
  for (const [pattern, left] of [
    ['tmp_?', ['public.tmp_1']],
    ['TMP_*', ['public.tmp_1', 'public.tmp_22']],
    ['"Tmp_"*', ['public.Tmp_3']],
    ['"Odd.one"."A*b"', ['Odd.one.A*b']],
    ['*.a', ['Odd.one.a']],
    ['audit.(log|keep)', ['audit.keep', 'audit.log']],
    ['log', []],
    ['a$b', ['public.a$b']],
  ] as const) {
    expect(await names({ excludeTables: [pattern], globals: false }), pattern).toEqual(without(...left));
  }
  expect(await names({ excludeSchemas: ['aud*', '"Odd.one"'], globals: false })).toEqual(all.slice(4));
});

test('a user who may not read a table is told which, and is not tried again', async () => {
  await server.sql("CREATE ROLE little LOGIN PASSWORD 'l'; CREATE DATABASE part");
  await server.sql(
    'CREATE TABLE seen (a int); CREATE TABLE unseen (a int); GRANT SELECT ON seen TO little; CREATE SEQUENCE hidden; GRANT SELECT ON unseen TO little',
    'part',
  );
  const url = server
    .url()
    .replace('admin', 'little')
    .replace(/:[^:@]*@/, ':l@');
  await expect(dumpOf('part', { url })).rejects.toMatchObject({
    code: 'AuthDenied',
    message: expect.stringContaining('hidden'),
    hint: expect.stringContaining('pg_read_all_data'),
  });
  await server.sql(
    'REVOKE SELECT ON unseen FROM little; DROP SEQUENCE hidden; CREATE TABLE rowwise (a int); GRANT SELECT ON rowwise TO little; ALTER TABLE rowwise ENABLE ROW LEVEL SECURITY; SELECT lo_create(7)',
    'part',
  );
  const examined = await withSource((source) => source.examine(context), { url, databases: ['part', 'absent'] });
  expect(examined).toMatchObject({
    server: expect.stringMatching(/^PostgreSQL \d/),
    tool: expect.stringMatching(/^pg_dump/),
    problems: [
      { status: 'fail', message: 'part: this user may not read large objects of admin, public.rowwise, public.unseen' },
      { status: 'fail', message: expect.stringContaining('no database absent') },
    ],
  });
  expect((await withSource((source) => source.examine(context))).problems).toEqual([]);
  await server.sql('DROP TABLE rowwise; SELECT lo_unlink(7)', 'part');
  await expect(dumpOf('part', { url })).rejects.toMatchObject({
    code: 'AuthDenied',
    retryable: false,
    message: expect.stringContaining('unseen'),
  });
  const { report, folder } = await dumpOf('part', { url, excludeTables: ['unseen'] });
  expect(report.tables).toEqual([{ name: 'public.seen', rows: 0 }]);
  expect(readFileSync(path.join(folder, 'globals.sql'), 'utf8')).toContain('CREATE ROLE little');
});

test('a scratch restore compares and leaves nothing, also when the dump is bad', async () => {
  const dump = await dumpOf('shop');
  const answers: (string | null)[] = [];
  const asked = await withSource((source) =>
    source.scratch(dump, scratchName('a test'), context, async (ask) => {
      const never = new AbortController().signal;
      for (const sql of ['SELECT 40 + 2 AS z, 1 AS a;', 'SELECT true', 'SELECT NULL', 'SELECT 1 WHERE false'])
        answers.push(await ask(sql, never));
      await expect(ask('SELECT 1 FROM nowhere', never)).rejects.toMatchObject({ code: 'SourceFailed' });
    }),
  );
  expect(asked).toMatchObject({ differences: [] });
  expect(answers).toEqual(['42', 'true', null, null]);
  const toc = path.join(dump.folder, 'dump', 'toc.dat');
  copyFileSync(toc, `${toc}.good`);
  truncateSync(toc, statSync(toc).size - 500);
  await expect(withSource((source) => source.scratch(dump, scratchName('a test'), context))).rejects.toMatchObject({
    code: 'RestoreFailed',
  });
  expect(await server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'holdfast%'")).toBe('0');
});

test('what a server refuses to refresh, or to drop, keeps nothing else from coming back or going', async () => {
  await server.sql(
    `SET allow_in_place_tablespaces = on; CREATE TABLESPACE apart LOCATION '';
     CREATE ROLE poor; CREATE ROLE "бедный"; CREATE DATABASE stubborn CONNECTION LIMIT 7 IS_TEMPLATE true TABLESPACE apart`,
  );
  await server.sql(
    `CREATE TABLE t AS SELECT 1 AS a; CREATE MATERIALIZED VIEW m AS SELECT a FROM t; ALTER MATERIALIZED VIEW m OWNER TO poor;
     CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false);
     CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$;
     CREATE EVENT TRIGGER nothing_more ON ddl_command_start EXECUTE FUNCTION no();
     ALTER DATABASE stubborn SET default_transaction_read_only = on; ALTER DATABASE stubborn SET statement_timeout = 500;
     ALTER DATABASE stubborn SET client_encoding = LATIN1`,
    'stubborn',
  );
  expect((await withSource((source) => source.preflight(context))).databases.map(({ name }) => name)).toContain(
    'stubborn',
  );
  const dump = await dumpOf('stubborn');
  const into = (change: object) =>
    withSource((source) => source.restore(dump, { ...target, database: 'stubborn2', ...change }, context));
  for (const change of [{}, { clean: true }])
    expect(await into(change)).toMatchObject({
      differences: [],
      incomplete: true,
      warnings: [{ code: 'NotRefreshed', message: expect.stringContaining('permission denied') }],
    });
  expect(await server.sql('SELECT subname, subenabled FROM pg_subscription ORDER BY 1')).toBe('s|f\ns|f');
  const made = `SELECT datconnlimit, datistemplate, spcname, setconfig FROM pg_database d
     JOIN pg_db_role_setting ON setdatabase = d.oid JOIN pg_tablespace t ON t.oid = dattablespace`;
  expect(await server.sql(`${made} WHERE datname = 'stubborn2'`)).toBe(
    '7|t|apart|{statement_timeout=500,client_encoding=latin1,default_transaction_read_only=on}',
  );
  await server.sql('CREATE DATABASE stubborn3');
  expect((await into({ database: 'stubborn3' })).differences).toEqual([]);
  await withSource((source) => source.scratch(dump, scratchName('a test'), context));
  expect(await server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'holdfast%'")).toBe('0');
});

test('a full disk is told as such', async () => {
  await server.sql('CREATE DATABASE filling');
  await server.sql("CREATE TABLE t AS SELECT repeat('x', 500) AS filler FROM generate_series(1, 20000)", 'filling');
  const mount = await mountTmpfs(path.join(context.folder, 'small-disk'), '4m');
  try {
    for (const elsewhere of [
      {},
      {
        url: undefined,
        socket: server.folder,
        port: server.port,
        user: 'admin',
        command: `env PATH=${postgresPrograms}:/usr/bin:/bin`,
      },
    ]) {
      const dumping = withSource((source) => source.dump('filling', { folder: mount.path }, context), elsewhere);
      await expect(dumping).rejects.toMatchObject({
        code: 'SpoolFull',
        retryable: true,
        hint: expect.stringContaining('spool.path'),
      });
      for (const name of readdirSync(mount.path)) rmSync(path.join(mount.path, name), { recursive: true });
    }
  } finally {
    await mount.remove();
  }
});

test('a dump that was cut short, or lacks a table, is not taken for one', async () => {
  const dump = await dumpOf('shop');
  const archive = path.join(dump.folder, 'dump');
  const list = [...readdirSync(archive)]
    .filter((name) => /^\d+\.dat$/.test(name))
    .map((name) => `${name.replace('.dat', '')}; 0 99 TABLE DATA public x admin`)
    .join('\n');
  const table = { oid: '7', schema: 'public', name: 'absent' };
  await expect(proveArchive(archive, list, [table], context.signal)).rejects.toThrow('the dump lacks public.absent');
  const file = path.join(
    archive,
    readdirSync(archive).find((name) => statSync(path.join(archive, name)).size > 4000 && /^\d+\.dat$/.test(name)) ??
      '',
  );
  expect(await countRows(file, context.signal)).toBeGreaterThan(0);
  truncateSync(file, statSync(file).size - 20);
  await expect(countRows(file, context.signal)).rejects.toMatchObject({ code: 'DumpIncomplete' });
  await expect(proveArchive(archive, list, [], context.signal)).rejects.toMatchObject({ code: 'DumpIncomplete' });
  const plain = path.join(context.folder, 'cut.sql');
  appendFileSync(plain, 'COPY public.t (a) FROM stdin;\n1\n2\n\\.\n');
  await expect(provePlain(plain, context.signal)).rejects.toMatchObject({ code: 'DumpIncomplete' });
  appendFileSync(plain, 'COPY public."t\nu;""" (a, "b\nc") FROM stdin;\n3\t4\n\\.\n');
  appendFileSync(plain, '--\n-- PostgreSQL database dump complete\n--\n');
  expect(await provePlain(plain, context.signal)).toEqual([
    { name: 'public.t', rows: 2 },
    { name: 'public.t\nu;"', rows: 1 },
  ]);
});

test('what is wrong is said clearly: password, database, server, tool', async () => {
  const wrong = server.url().replace(/:[^:@]*@/, ':wrong@');
  await expect(withSource((source) => source.preflight(context), { url: wrong })).rejects.toMatchObject({
    code: 'AuthDenied',
    retryable: false,
  });
  await expect(dumpOf('absent')).rejects.toMatchObject({ code: 'SourceMissing' });
  const nobody = 'postgresql://u:p@127.0.0.1:1/x';
  await expect(withSource((source) => source.preflight(context), { url: nobody })).rejects.toMatchObject({
    code: 'SourceFailed',
    retryable: true,
  });
  await expect(findTools(99, context)).rejects.toMatchObject({
    code: 'ToolMissing',
    message: expect.stringMatching(/PostgreSQL 99 .* there is \d+ in/),
  });
  const encrypted = withSource((source) => source.preflight(context), { tls: { mode: 'verify-full' } });
  await expect(encrypted).rejects.toMatchObject({ code: 'SourceFailed', hint: expect.stringContaining('tls') });
});

test('cancelled or left by its server in the middle, it ends with an error and no process', async () => {
  await server.sql('CREATE DATABASE slow');
  await server.sql('CREATE TABLE t AS SELECT g AS n FROM generate_series(1, 10) g', 'slow');
  // Holds pg_dump up for as long as it is held: nobody else reads it.
  const locked = server
    .sql('BEGIN; LOCK TABLE pg_catalog.pg_ts_config IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)', 'slow')
    .catch(() => 'gone');
  const waiting = (): Promise<void> => waitingFor('%FROM pg_ts_config%');
  const own = databaseContext();
  const folder = path.join(own.folder, 'dump');
  mkdirSync(folder);
  const cancelled = withSource((source) => source.dump('slow', { folder }, own));
  cancelled.catch(() => undefined);
  await waiting();
  expect(readdirSync(own.processes)).toHaveLength(1);
  own.abort.abort(new Error('enough'));
  await expect(cancelled).rejects.toThrow('enough');
  expect([readdirSync(own.processes), readdirSync(own.tempDir)]).toEqual([[], []]);
  own.remove();
  const left = dumpOf('slow');
  left.catch(() => undefined);
  await waiting();
  await server.crash();
  await expect(left).rejects.toMatchObject({ code: 'DumpIncomplete', retryable: true });
  await locked;
  await server.up();
});

test('TLS: required, verified, refused; also through an SSH host, to a port or a socket there', async () => {
  const { ca, key, cert } = makeCertificates(server.folder);
  for (const [name, text] of [
    ['server.key', key],
    ['server.pem', cert],
  ] as const) {
    const file = path.join(server.data, name);
    const { uid, gid } = statSync(server.data);
    writeFileSync(file, text, { mode: 0o600 });
    chownSync(file, uid, gid);
  }
  const hba = path.join(server.data, 'pg_hba.conf');
  writeFileSync(hba, `hostnossl all safe all reject\n${readFileSync(hba, 'utf8')}`);
  await server.sql("CREATE ROLE safe SUPERUSER LOGIN PASSWORD 'safe word'");
  for (const [name, value] of [
    ['ssl_key_file', 'server.key'],
    ['ssl_cert_file', 'server.pem'],
    ['ssl', 'on'],
  ])
    await server.sql(`ALTER SYSTEM SET ${name} = '${value}'`);
  await server.sql('SELECT pg_reload_conf()');
  const safe = { url: undefined, host: 'localhost', port: server.port, user: 'safe', password: 'safe word', jobs: 2 };
  const inTls = async (change: Partial<PostgresSourceConfig>): Promise<string> => {
    const { report } = await dumpOf('shop', { ...safe, ...change });
    expect(rowsOf(report, 'public.kinds')).toBe(5);
    return report.server;
  };
  await vi.waitFor(() => inTls({ tls: { mode: 'require' } }), 30_000);
  await inTls({ tls: { mode: 'verify-full', caFile: ca } });
  await inTls({ tls: { mode: 'verify-ca', caFile: ca }, host: '127.0.0.1' });
  const url = `postgresql://safe:safe%20word@localhost:${server.port}/postgres`;
  const urls = { host: undefined, port: undefined, user: undefined, password: undefined };
  await inTls({ ...urls, url: `${url}?sslmode=prefer` });
  await inTls({ ...urls, url: `${url}?sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}` });

  const sshd = await startSshd();
  try {
    const { port, user, privateKey, hostKey } = sshd;
    const ssh = { host: '127.0.0.1', port, user, privateKey, hostKey, passphrase: undefined, agent: undefined };
    // The name is the server's, not that of the tunnel's near end.
    await inTls({ tls: { mode: 'verify-full', caFile: ca }, ssh });
    await expect(inTls({ tls: { mode: 'verify-full', caFile: ca }, host: '127.0.0.1', ssh })).rejects.toMatchObject({
      message: expect.stringMatching(/altnames|does not match/),
    });
    const local = { ...urls, url: undefined, socket: server.folder, port: server.port, user: 'admin', ssh };
    const dump = await dumpOf('shop', local);
    const restored = await withSource(
      (source) => source.restore(dump, { ...target, database: 'tunnelled' }, context),
      local,
    );
    expect(restored.differences).toEqual([]);
    expect(await server.dump('tunnelled')).toBe(await server.dump('shop'));
    await expect(inTls({ ssh: { ...ssh, hostKey: `SHA256:${'B'.repeat(43)}` } })).rejects.toMatchObject({
      code: 'AuthDenied',
    });
  } finally {
    await sshd.stop();
  }
  for (const refused of [
    { tls: { mode: 'off' as const } },
    { tls: { mode: 'verify-full' as const } },
    { tls: { mode: 'verify-full' as const, caFile: ca }, host: '127.0.0.1' },
    { tls: { mode: 'verify-full' as const, caFile: path.join(server.folder, 'absent.pem') } },
  ])
    await expect(inTls(refused), JSON.stringify(refused)).rejects.toMatchObject({ name: 'HoldfastError' });
});
