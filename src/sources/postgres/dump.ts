import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { PostgresSourceConfig } from '../../config/schema.js';
import { HoldfastError } from '../../errors.js';
import {
  type DatabaseContext,
  type DumpReport,
  type TableRows,
  unfinishedMark,
  unfinishedWarning,
} from '../database.js';
import type { ToolResult } from '../exec/run-tool.js';
import { toolFailure } from '../exec/tool-failure.js';
import { filesBelow, proveArchive } from './archive.js';
import {
  databaseMade,
  type Exclusions,
  isMarked,
  listTables,
  lockTables,
  qualified,
  rewrittenTables,
  rolesUsed,
  serverFacts,
  type Table,
  tablePlaces,
  tablespacesUsed,
} from './catalog.js';
import { sqlState } from './client.js';
import { provePlain } from './plain.js';
import type { Queries } from './queries.js';
import type { Reach } from './reach.js';
import { databaseArgument, databaseInfo } from './server.js';
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
    if (config.globals) await dumpGlobals(dump, seen, context);
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
      ...(seen.tablespaces.length === 0 ? {} : { tablespaces: seen.tablespaces }),
      takenAt,
      ...(seen.lsn === null ? {} : { position: { lsn: seen.lsn } }),
      warnings: seen.unfinished ? [unfinishedWarning(database)] : [],
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
  const { seen, snapshot } = await hold(dump, client);
  const archive = path.join(dump.folder, archiveName);
  const options = ['--format=directory', '--compress=0', `--jobs=${dump.config.jobs}`, `--file=${archive}`];
  const more = [`--snapshot=${snapshot}`, ...ownEncoding(seen)];
  await watched(archive, context, () => runDump(dump, [...options, ...more], context));
  const list = await listArchive(dump.reach, dump.tools, archive, 'DumpIncomplete', context);
  return { seen, tables: await proveArchive(archive, list, seen.tables, context.signal) };
}

/**
 * Takes the dump's snapshot in this connection, and locks on its tables: what is read here and what is dumped are of one
 * moment. A table that somebody rewrote or emptied after the snapshot and before the lock would look empty in it, so that
 * the snapshot is then taken anew.
 */
async function hold(dump: Dump, client: Queries): Promise<{ seen: Seen; snapshot: string }> {
  await client.query(`SET lock_timeout = ${lockWaitMs}`);
  // Else who waits for a lock does not notice that this end is gone. Servers before 14 don't know it.
  await client.query("SET client_connection_check_interval = '5s'").catch(() => undefined);
  for (let attempt = 1; ; attempt++) {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows } = await client.query<{ snapshot: string }>('SELECT pg_export_snapshot() AS snapshot');
    const seen = await look(client, dump.config);
    const changed = await lockTables(client, seen.tables).then(
      () => rewrittenTables(client, seen.tables),
      (error: unknown) => {
        // Renamed or dropped since the snapshot.
        if (!goneStates.has(sqlState(error) ?? '') || attempt === snapshotsAtMost) throw error;
        return undefined;
      },
    );
    if (changed?.length === 0) return { seen, snapshot: rows[0]?.snapshot ?? '' };
    if (attempt === snapshotsAtMost) throw changedMeanwhile(changed ?? []);
    await client.query('ROLLBACK');
  }
}

const snapshotsAtMost = 10;
/** No such table, no such schema. */
const goneStates: ReadonlySet<string> = new Set(['42P01', '3F000']);

function changedMeanwhile(tables: readonly Table[]): HoldfastError {
  const names = tables.map(qualified).slice(0, 5).join(', ');
  return new HoldfastError(
    'DumpIncomplete',
    `the dump is not of one moment: ${names} was altered or emptied as it began`,
    { hint: 'It is tried again. Change the schema at another time than that of the backup.' },
  );
}

/** As SQL through a pipe, where no folder is seen from both sides. */
async function dumpPlain(dump: Dump, client: Queries, context: DatabaseContext): Promise<Dumped> {
  const seen = await look(client, dump.config);
  const file = path.join(dump.folder, plainName);
  const places = await tablePlaces(client, seen.tables, 'filled');
  await runDump(dump, ['--format=plain', ...ownEncoding(seen)], context, file);
  const tables = await provePlain(file, context.signal);
  const still = new Set((await listTables(client, dump.config)).map(qualified));
  const dumped = new Map(tables.map(({ name, rows }) => [name, rows]));
  // A table that was there before and is there after was there in between.
  const lacking = seen.tables.map(qualified).filter((name) => still.has(name) && !dumped.has(name));
  if (lacking.length > 0) throw new HoldfastError('DumpIncomplete', `the dump lacks ${lacking.slice(0, 5).join(', ')}`);
  // One that was emptied or rewritten as the tool began looks empty to it.
  const empty = seen.tables.filter((table) => places.has(table.oid) && dumped.get(qualified(table)) === 0);
  const now = await tablePlaces(client, empty, 'all');
  const changed = empty.filter(({ oid }) => now.get(oid) !== places.get(oid));
  if (changed.length > 0) throw changedMeanwhile(changed);
  return { seen, tables };
}

interface Seen {
  lsn: string | null;
  tables: Table[];
  made: Record<string, string>;
  roles: string[];
  /** This user may read the roles' passwords. */
  passwords: boolean;
  tablespaces: string[];
  /** Holds only a part of what was restored into it. */
  unfinished: boolean;
}

async function look(client: Queries, exclusions: Exclusions): Promise<Seen> {
  const { rows } = await client.query<{ lsn: string | null; passwords: boolean }>(
    `SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS passwords,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn`,
  );
  const [row] = rows;
  if (!row) throw new Error('the server said nothing');
  return {
    ...row,
    tables: await listTables(client, exclusions),
    made: await databaseMade(client),
    roles: await rolesUsed(client),
    unfinished: await isMarked(client),
    tablespaces: await tablespacesUsed(client),
  };
}

/** What `client_encoding` is set to for a database or a role, and may not hold every name, is not asked. */
const ownEncoding = ({ made }: Seen): string[] => (made.encoding ? [`--encoding=${made.encoding}`] : []);

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
    `--exclude-schema=${unfinishedMark}`,
    ...config.excludeSchemas.map((pattern) => `--exclude-schema=${pattern}`),
    ...config.excludeTables.map((pattern) => `--exclude-table=${pattern}`),
    databaseArgument(database),
  ];
  const more = file === undefined ? {} : { stdout: { file }, onProgress: context.onProgress };
  const result = await reach.run(argv, context, more);
  if (result.exitCode !== 0) throw dumpFailure(tool, result, reach.server.user);
}

function dumpFailure(tool: string, result: ToolResult, user: string): HoldfastError {
  const failure = toolFailure('DumpIncomplete', 'the dump did not end', tool, result);
  if (/No space left on device|could not write to (?:output )?file/.test(result.stderr))
    return spoolFull(failure.message);
  if (!/permission denied|row-level security/.test(result.stderr)) return failure;
  return new HoldfastError('AuthDenied', failure.message, {
    hint: `Grant the user ${user} the right to read everything: GRANT pg_read_all_data TO ...; with row-level security also ALTER ROLE ... BYPASSRLS. excludeTables leaves tables out.`,
  });
}

export const spoolFull = (message: string): HoldfastError =>
  new HoldfastError('SpoolFull', message, {
    hint: 'Free some space, or set spool.path to a larger disk; the run goes on by itself.',
  });

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
  code: 'DumpIncomplete' | 'RestoreFailed',
  context: DatabaseContext,
): Promise<string> {
  const tool = toolPath(tools, 'pg_restore');
  const result = await reach.run([tool, '--list', archive], context);
  if (result.exitCode !== 0) throw toolFailure(code, 'the dump can’t be read', tool, result);
  return result.stdout;
}

async function dumpGlobals(
  { reach, tools, folder, database }: Dump,
  seen: Seen,
  context: DatabaseContext,
): Promise<void> {
  const { passwords } = seen;
  const tool = toolPath(tools, 'pg_dumpall');
  const file = path.join(folder, globalsName);
  // Managed servers let nobody read passwords: roles without them are better than none.
  if (!passwords)
    context.log('the roles are dumped without their passwords, which this user may not read', { database });
  const argv = [
    tool,
    '--globals-only',
    '--no-password',
    ...ownEncoding(seen),
    `--database=${databaseInfo(database)}`,
    ...(passwords ? [] : ['--no-role-passwords']),
  ];
  const result = await reach.run(argv, context, { stdout: { file } });
  if (result.exitCode !== 0) throw toolFailure('DumpIncomplete', 'roles and tablespaces were not dumped', tool, result);
  if (!/^-- PostgreSQL database cluster dump complete$/m.test(readFileSync(file, 'utf8').slice(-200)))
    throw new HoldfastError('DumpIncomplete', 'the dump of roles and tablespaces ends without its end mark');
}
