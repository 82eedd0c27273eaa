import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { PostgresSourceConfig } from '../../config/schema.js';
import { HoldfastError } from '../../errors.js';
import type { DatabaseContext, DumpReport, TableRows } from '../database.js';
import { toolFailure } from '../exec/tool-failure.js';
import { filesBelow, proveArchive } from './archive.js';
import { databaseMade, listTables, qualified, rolesUsed, serverFacts, type Table } from './catalog.js';
import { provePlain } from './plain.js';
import type { Queries } from './queries.js';
import type { Reach } from './reach.js';
import { databaseArgument } from './server.js';
import { type Tools, toolPath } from './tools.js';

export const archiveName = 'dump';
/** In place of the archive where the programs see no folder of this machine. */
export const plainName = 'dump.sql';
export const globalsName = 'globals.sql';

/** A lock that somebody holds for longer than this fails the dump instead of holding everybody up behind it. */
const lockWaitMs = 10 * 60_000;
const progressEveryMs = 1000;

/** Dumps one database and proves it; with roles and tablespaces beside it. */
export async function dumpPostgres(
  reach: Reach,
  config: PostgresSourceConfig,
  database: string,
  folder: string,
  context: DatabaseContext,
): Promise<DumpReport> {
  return reach.connect(database, context, async (client) => {
    const { major, version } = await serverFacts(client);
    const tools = await reach.tools(major, context);
    const takenAt = new Date().toISOString();
    const dump = { reach, config, tools, database, folder };
    const { seen, tables } = await (reach.isElsewhere
      ? dumpPlain(dump, client, context)
      : dumpArchive(dump, client, context));
    if (config.globals) await dumpGlobals(dump, seen.passwords, context);
    const files = filesBelow(folder);
    return {
      format: 1,
      kind: 'postgres',
      database,
      files,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      tables,
      server: `PostgreSQL ${version}`,
      tool: tools.version,
      made: seen.made,
      roles: seen.roles,
      takenAt,
      ...(seen.lsn === null ? {} : { position: { lsn: seen.lsn } }),
      warnings: [],
    };
  });
}

interface Dump {
  reach: Reach;
  config: PostgresSourceConfig;
  tools: Tools;
  database: string;
  folder: string;
}

interface Dumped {
  seen: Seen;
  tables: TableRows[];
}

/** In the directory format, a file for each table, several at once. */
async function dumpArchive(dump: Dump, client: Queries, context: DatabaseContext): Promise<Dumped> {
  // This connection's snapshot is the dump's: what is read here and what is dumped are of one moment.
  await client.query('SET idle_in_transaction_session_timeout = 0');
  await client.query('SET statement_timeout = 0');
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
  const { rows } = await client.query<{ snapshot: string }>('SELECT pg_export_snapshot() AS snapshot');
  const seen = await look(client);
  const archive = path.join(dump.folder, archiveName);
  const options = ['--format=directory', '--compress=0', `--jobs=${dump.config.jobs}`, `--file=${archive}`];
  await watched(archive, context, () => runDump(dump, [...options, `--snapshot=${rows[0]?.snapshot}`], context));
  const list = await listArchive(dump.reach, dump.tools, archive, context);
  return { seen, tables: await proveArchive(archive, list, seen.tables, isComplete(dump), context.signal) };
}

/** As SQL through a pipe, where no folder is seen from both sides. */
async function dumpPlain(dump: Dump, client: Queries, context: DatabaseContext): Promise<Dumped> {
  const seen = await look(client);
  const file = path.join(dump.folder, plainName);
  await runDump(dump, ['--format=plain'], context, file);
  const tables = await provePlain(file, context.signal);
  const after = new Set((await listTables(client)).map(qualified));
  // A table that was there before and is there after was there in between.
  const due = seen.tables.map(qualified).filter((name) => after.has(name));
  const there = new Set(tables.map(({ name }) => name));
  const lacking = due.filter((name) => !there.has(name));
  if (isComplete(dump) && lacking.length > 0)
    throw new HoldfastError('DumpIncomplete', `the dump lacks ${lacking.slice(0, 5).join(', ')}`);
  return { seen, tables };
}

const isComplete = ({ config }: Dump): boolean =>
  config.excludeSchemas.length === 0 && config.excludeTables.length === 0;

interface Seen {
  lsn: string | null;
  tables: Table[];
  made: Record<string, string>;
  roles: string[];
  /** This user may read the roles' passwords. */
  passwords: boolean;
}

async function look(client: Queries): Promise<Seen> {
  const { rows } = await client.query<{ lsn: string | null; passwords: boolean }>(
    `SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS passwords,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn`,
  );
  const [row] = rows;
  if (!row) throw new Error('the server said nothing');
  return { ...row, tables: await listTables(client), made: await databaseMade(client), roles: await rolesUsed(client) };
}

async function runDump(
  { reach, config, tools, database }: Dump,
  options: readonly string[],
  context: DatabaseContext,
  file?: string,
): Promise<void> {
  const tool = toolPath(tools, 'pg_dump');
  const argv = [
    tool,
    ...options,
    '--blobs',
    `--lock-wait-timeout=${lockWaitMs}`,
    '--no-password',
    ...config.excludeSchemas.map((pattern) => `--exclude-schema=${pattern}`),
    ...config.excludeTables.map((pattern) => `--exclude-table=${pattern}`),
    databaseArgument(database),
  ];
  const more = file === undefined ? {} : { stdout: { file }, onProgress: context.onProgress };
  const result = await reach.run(argv, context, more);
  if (result.exitCode !== 0) throw toolFailure('DumpIncomplete', 'the dump did not end', tool, result);
}

/** Tells how the folder grows while `work` goes on. */
async function watched(folder: string, context: DatabaseContext, work: () => Promise<void>): Promise<void> {
  let told = 0;
  const timer = setInterval(() => {
    if (!existsSync(folder)) return;
    const now = filesBelow(folder).reduce((sum, { bytes }) => sum + bytes, 0);
    context.onProgress(now - told);
    told = now;
  }, progressEveryMs);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
}

/** The archive's table of contents, read by pg_restore: no dump that can't be read counts as one. */
export async function listArchive(
  reach: Reach,
  tools: Tools,
  archive: string,
  context: DatabaseContext,
): Promise<string> {
  const tool = toolPath(tools, 'pg_restore');
  const result = await reach.run([tool, '--list', archive], context);
  if (result.exitCode !== 0) throw toolFailure('DumpIncomplete', 'the dump can’t be read', tool, result);
  return result.stdout;
}

async function dumpGlobals(
  { reach, tools, folder, database }: Dump,
  passwords: boolean,
  context: DatabaseContext,
): Promise<void> {
  const tool = toolPath(tools, 'pg_dumpall');
  const file = path.join(folder, globalsName);
  // Managed servers let nobody read passwords: roles without them are better than none.
  if (!passwords)
    context.log('the roles are dumped without their passwords, which this user may not read', { database });
  const argv = [
    tool,
    '--globals-only',
    '--no-password',
    `--database=${database}`,
    ...(passwords ? [] : ['--no-role-passwords']),
  ];
  const result = await reach.run(argv, context, { stdout: { file } });
  if (result.exitCode !== 0) throw toolFailure('DumpIncomplete', 'roles and tablespaces were not dumped', tool, result);
  if (!/^-- PostgreSQL database cluster dump complete$/m.test(readFileSync(file, 'utf8').slice(-200)))
    throw new HoldfastError('DumpIncomplete', 'the dump of roles and tablespaces ends without its end mark');
}
