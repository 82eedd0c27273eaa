import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Client } from 'pg';
import type { PostgresSourceConfig } from '../../config/schema.js';
import { HoldfastError } from '../../errors.js';
import type { DatabaseContext, DumpReport } from '../database.js';
import { toolFailure } from '../exec/tool-failure.js';
import { filesBelow, proveArchive } from './archive.js';
import { databaseMade, listTables, rolesUsed, serverFacts, type Table } from './catalog.js';
import type { Reach } from './reach.js';
import { databaseArgument } from './server.js';
import { findTools, type Tools, toolPath } from './tools.js';

export const archiveName = 'dump';
export const globalsName = 'globals.sql';

/** A lock that somebody holds for longer than this fails the dump instead of holding everybody up behind it. */
const lockWaitMs = 10 * 60_000;
const progressEveryMs = 1000;

/** Dumps one database in the directory format and proves it; with roles and tablespaces beside it. */
export async function dumpPostgres(
  reach: Reach,
  config: PostgresSourceConfig,
  database: string,
  folder: string,
  context: DatabaseContext,
): Promise<DumpReport> {
  const { signal } = context;
  return reach.connect(database, signal, async (client) => {
    const { major, version } = await serverFacts(client);
    const tools = await findTools(major, context);
    // This connection's snapshot is the dump's: what is read here and what is dumped are of one moment.
    await client.query('SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0');
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const takenAt = new Date().toISOString();
    const seen = await look(client);
    const archive = path.join(folder, archiveName);
    await runDump(reach, config, tools, { database, archive, snapshot: seen.snapshot }, context);
    const list = await listArchive(reach, tools, archive, context);
    const complete = config.excludeSchemas.length === 0 && config.excludeTables.length === 0;
    const tables = await proveArchive(archive, list, seen.tables, complete, signal);
    if (config.globals) await dumpGlobals(reach, tools, { folder, database, passwords: seen.passwords }, context);
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

interface Seen {
  snapshot: string;
  lsn: string | null;
  tables: Table[];
  made: Record<string, string>;
  roles: string[];
  /** This user may read the roles' passwords. */
  passwords: boolean;
}

async function look(client: Client): Promise<Seen> {
  const { rows } = await client.query<{ snapshot: string; lsn: string | null; passwords: boolean }>(
    `SELECT pg_export_snapshot() AS snapshot, has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS passwords,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn`,
  );
  const [row] = rows;
  if (!row) throw new Error('the server exported no snapshot');
  return { ...row, tables: await listTables(client), made: await databaseMade(client), roles: await rolesUsed(client) };
}

async function runDump(
  reach: Reach,
  config: PostgresSourceConfig,
  tools: Tools,
  { database, archive, snapshot }: { database: string; archive: string; snapshot: string },
  context: DatabaseContext,
): Promise<void> {
  const tool = toolPath(tools, 'pg_dump');
  const argv = [
    tool,
    '--format=directory',
    '--compress=0',
    '--blobs',
    `--jobs=${config.jobs}`,
    `--file=${archive}`,
    `--snapshot=${snapshot}`,
    `--lock-wait-timeout=${lockWaitMs}`,
    '--no-password',
    ...config.excludeSchemas.map((pattern) => `--exclude-schema=${pattern}`),
    ...config.excludeTables.map((pattern) => `--exclude-table=${pattern}`),
    databaseArgument(database),
  ];
  let told = 0;
  const timer = setInterval(() => {
    if (!existsSync(archive)) return;
    const now = filesBelow(archive).reduce((sum, { bytes }) => sum + bytes, 0);
    context.onProgress(now - told);
    told = now;
  }, progressEveryMs);
  try {
    const result = await reach.run(argv, context);
    if (result.exitCode !== 0) throw toolFailure('DumpIncomplete', 'the dump did not end', tool, result);
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
  reach: Reach,
  tools: Tools,
  { folder, database, passwords }: { folder: string; database: string; passwords: boolean },
  context: DatabaseContext,
): Promise<void> {
  const tool = toolPath(tools, 'pg_dumpall');
  const file = path.join(folder, globalsName);
  // Managed servers let nobody read passwords: roles without them are better than none.
  if (!passwords) context.log('the roles are dumped without their passwords, which this user may not read', { database });
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
