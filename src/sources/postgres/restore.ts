import { existsSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../errors.js';
import {
  type Ask,
  compareTables,
  type DatabaseContext,
  type DatabaseWarning,
  type DumpReport,
  passingName,
  type RestoreReport,
  type RestoreTarget,
  type StoredDump,
  unfinishedMark,
} from '../database.js';
import { runTool, type ToolResult } from '../exec/run-tool.js';
import { toolFailure } from '../exec/tool-failure.js';
import { quoted } from '../sql-names.js';
import {
  countTables,
  isEmpty,
  isMarked,
  listServerDatabases,
  literal,
  rolesThere,
  type ServerFacts,
  serverFacts,
  subscriptionsThere,
  tablespacesThere,
} from './catalog.js';
import { sqlState } from './client.js';
import { archiveName, globalsName, listArchive, plainName } from './dump.js';
import { applyGlobals } from './globals.js';
import type { Queries } from './queries.js';
import type { Reach } from './reach.js';
import { databaseArgument } from './server.js';
import { findTools, majorOf, type Tools, toolPath } from './tools.js';

/**
 * Fills a database from a dump. A new one, and one that replaces another, takes its name only once its rows have been
 * counted; one that is empty is filled in place.
 */
export async function restorePostgres(
  reach: Reach,
  dump: StoredDump,
  target: RestoreTarget,
  context: DatabaseContext,
): Promise<RestoreReport> {
  const { database } = target;
  return reach.maintenance(context, async (client) => {
    const facts = await serverFacts(client);
    const exists = (await listServerDatabases(client)).some(({ name }) => name === database);
    const warnings: DatabaseWarning[] = [];
    if (!exists && !target.create) {
      throw new HoldfastError('UsageInvalid', `the target server has no database ${database}`, {
        hint: '--create makes it.',
      });
    }
    const state = exists ? await reach.connect(database, context, fillOf) : 'none';
    if (state === 'full' && !target.clean) {
      throw new HoldfastError('TargetConflict', `the database ${database} at the target is not empty`, {
        hint: '--into NEWNAME --create restores beside it; --clean replaces it.',
      });
    }
    const globals = path.join(dump.folder, globalsName);
    if (target.globals) {
      if (existsSync(globals)) warnings.push(...(await applyGlobals(client, globals)));
      else
        warnings.push({ code: 'GlobalsMissing', message: 'the dump has no roles: its source said `globals: false`' });
    }
    if (state === 'empty') {
      const inIt = (statement: string) => reach.connect(database, context, (own) => own.query(statement));
      await inIt(`CREATE SCHEMA ${unfinishedMark}`);
      const report = await load(reach, dump, database, target.jobs, facts, warnings, context);
      await reach.connect(database, context, (own) => unhindered(own, `DROP SCHEMA ${unfinishedMark}`));
      return report;
    }
    const fresh = passingName('new', target.id);
    return withDatabase(reach, client, fresh, dump, facts, warnings, context, async () => {
      const report = await load(reach, dump, fresh, target.jobs, facts, warnings, context);
      if (report.differences.length > 0) return { ...report, database };
      const refused = await applyProperties(client, fresh, dump);
      await takeName(reach, client, fresh, database, context, exists ? passingName('old', target.id) : undefined);
      return { ...report, database, warnings: [...report.warnings, ...refused] };
    });
  });
}

/** How much a database holds; `half`: what a restore that did not end left, for another one to replace. */
async function fillOf(client: Queries): Promise<'empty' | 'half' | 'full'> {
  if (await isMarked(client)) return 'half';
  return (await isEmpty(client)) ? 'empty' : 'full';
}

/** Event triggers that have just been restored may refuse everything. Only a superuser may leave them out. */
const unhindered = (client: Queries, statement: string): Promise<unknown> =>
  client
    .query(`SET session_replication_role = replica; ${statement}; SET session_replication_role = DEFAULT`)
    .catch(() => client.query(statement));

/** Restores into a database that is dropped afterwards, whatever happened. */
export async function scratchPostgres(
  reach: Reach,
  dump: StoredDump,
  name: string,
  context: DatabaseContext,
  inspect?: (ask: Ask) => Promise<void>,
): Promise<RestoreReport> {
  return reach.maintenance(context, async (client) => {
    const facts = await serverFacts(client);
    const warnings: DatabaseWarning[] = [];
    return withDatabase(reach, client, name, dump, facts, warnings, context, async () => {
      const report = await load(reach, dump, name, undefined, facts, warnings, context);
      await inspect?.((sql, signal) => {
        const its = { ...context, signal: AbortSignal.any([context.signal, signal]) };
        return reach.connect(name, its, (asked) => firstValue(asked, sql));
      });
      return report;
    }).finally(async () => {
      // Cancelled or not: the client's own connection may be closed by then.
      const last = { ...context, signal: AbortSignal.timeout(60_000) };
      await reach.maintenance(last, (other) => drop(reach, other, name, last));
    });
  });
}

/** The same text whether asked over a connection or through psql: as JSON writes it, times with a `T`. */
async function firstValue(client: Queries, sql: string): Promise<string | null> {
  const query = sql.trim().replace(/;+$/, '');
  const { rows } = await client.query<{ value: string | null }>(
    `SELECT e.value AS value FROM (SELECT * FROM (${query}\n) a LIMIT 1) q,
     LATERAL json_each_text(row_to_json(q)) WITH ORDINALITY AS e(key, value, n) WHERE e.n = 1`,
  );
  return rows[0]?.value ?? null;
}

/** Makes a database, and drops it unless it has got another name by the end. */
async function withDatabase<T>(
  reach: Reach,
  client: Queries,
  name: string,
  dump: StoredDump,
  facts: ServerFacts,
  warnings: DatabaseWarning[],
  context: DatabaseContext,
  work: () => Promise<T>,
): Promise<T> {
  await drop(reach, client, name, context);
  warnings.push(...(await create(client, name, dump, facts)));
  try {
    return await work();
  } finally {
    await drop(reach, client, name, context).catch(() => undefined);
  }
}

async function load(
  reach: Reach,
  dump: StoredDump,
  database: string,
  jobs: number | undefined,
  facts: ServerFacts,
  warnings: readonly DatabaseWarning[],
  context: DatabaseContext,
): Promise<RestoreReport> {
  const { report } = dump;
  const tools = await reach.tools(Math.max(majorOf(report.tool) ?? 0, facts.major), context);
  const all = [...warnings];
  const missing = await reach.maintenance(context, async (client) => {
    const there = await rolesThere(client);
    return (report.roles ?? []).filter((role) => !there.has(role));
  });
  if (missing.length > 0) {
    all.push({
      code: 'RolesMissing',
      message: `the server lacks ${missing.join(', ')}: everything belongs to the user who restores, and rights are left out; --globals makes missing roles`,
    });
  }
  const noTablespaces = await missingTablespaces(reach, report, context);
  if (noTablespaces.length > 0) {
    all.push({
      code: 'TablespacesMissing',
      message: `the server lacks the tablespaces ${noTablespaces.join(', ')}: everything goes to the default one`,
    });
  }
  const load = {
    database,
    missing,
    tablespaces: !report.tablespaces?.some((name) => noTablespaces.includes(name)),
    jobs,
  };
  all.push(...(await loadDump(reach, tools, dump, load, context)));
  const wanted = new Set(report.tables.map(({ name }) => name));
  const tables = await reach.connect(database, context, (client) => countTables(client, wanted));
  return {
    database,
    server: `PostgreSQL ${facts.version}`,
    tables: tables.length,
    rows: tables.reduce((sum, { rows }) => sum + rows, 0),
    differences: compareTables(report.tables, tables),
    warnings: all,
    ...(all.some(({ code }) => code === 'NotRefreshed') ? { incomplete: true } : {}),
  };
}

async function missingTablespaces(reach: Reach, { tablespaces = [], made }: DumpReport, context: DatabaseContext) {
  const wanted = [...new Set([...(made?.tablespace === undefined ? [] : [made.tablespace]), ...tablespaces])];
  if (wanted.length === 0) return [];
  const there = await reach.maintenance(context, tablespacesThere);
  return wanted.filter((name) => !there.has(name));
}

interface Load {
  database: string;
  /** Roles that the server lacks. */
  missing: readonly string[];
  /** The server has those that are needed. */
  tablespaces: boolean;
  jobs: number | undefined;
}

async function loadDump(
  reach: Reach,
  tools: Tools,
  dump: StoredDump,
  { database, missing, tablespaces, jobs }: Load,
  context: DatabaseContext,
): Promise<DatabaseWarning[]> {
  const archive = path.join(dump.folder, archiveName);
  const anonymous = [
    ...(missing.length > 0 ? ['--no-owner', '--no-privileges'] : []),
    ...(tablespaces ? [] : ['--no-tablespaces']),
  ];
  if (existsSync(archive) && !reach.isElsewhere) {
    const parallel = jobs === undefined ? [] : [`--jobs=${jobs}`];
    const tool = toolPath(tools, 'pg_restore');
    const run = async (lines: readonly string[], options: readonly string[]): Promise<ToolResult> => {
      const file = path.join(context.tempDir, 'contents');
      writeFileSync(file, lines.join('\n'), { mode: 0o600 });
      try {
        const argv = [tool, '--no-password', `--use-list=${file}`, ...anonymous, ...options];
        return await reach.run([...argv, databaseArgument(database), archive], context);
      } finally {
        rmSync(file, { force: true });
      }
    };
    const { most, refreshes, eventTriggers } = contentsOf(
      await listArchive(reach, tools, archive, 'RestoreFailed', context),
    );
    const mustLoad = async (lines: readonly string[], options: readonly string[]): Promise<void> => {
      const result = await run(lines, ['--exit-on-error', ...options]);
      if (result.exitCode !== 0) throw notLoaded(tool, result);
    };
    const warnings: DatabaseWarning[] = [];
    await mustLoad(most, parallel);
    const refreshed = refreshes.length === 0 ? undefined : await run(refreshes, []);
    if (refreshed !== undefined && refreshed.exitCode !== 0) {
      if (refreshed.exitCode !== 1 || !/errors ignored on restore/.test(refreshed.stderr))
        throw notLoaded(tool, refreshed);
      const message = `materialized views are empty: ${refreshed.stderr.slice(0, 1000)}`;
      warnings.push({ code: 'NotRefreshed', message });
    }
    if (eventTriggers.length > 0) await mustLoad(eventTriggers, []);
    return warnings;
  }
  let script = path.join(dump.folder, plainName);
  if (existsSync(archive)) {
    // The programs behind `command` see no files of this machine: they get the archive as SQL.
    script = path.join(context.tempDir, plainName);
    const local = await findTools(majorOf(dump.report.tool) ?? 0, context);
    const tool = toolPath(local, 'pg_restore');
    const { processes, signal } = context;
    const argv = [tool, ...anonymous, '--file=-', archive];
    const result = await runTool({ argv, processes, signal, stdout: { file: script } });
    if (result.exitCode !== 0) throw toolFailure('RestoreFailed', 'the dump can’t be read', tool, result);
  } else if (missing.length > 0) {
    throw new HoldfastError('RestoreFailed', `the server lacks the roles ${missing.join(', ')}`, {
      hint: '--globals makes them.',
    });
  }
  const tool = toolPath(tools, 'psql');
  const argv = [
    tool,
    '-X',
    '-q',
    '-w',
    '-v',
    'ON_ERROR_STOP=1',
    '-o',
    '/dev/null',
    databaseArgument(database),
    '-f',
    '-',
  ];
  const result = await reach.run(argv, context, { stdin: { file: script } });
  if (result.exitCode !== 0) throw notLoaded(tool, result);
  return [];
}

function notLoaded(tool: string, result: ToolResult): HoldfastError {
  const failure = toolFailure('RestoreFailed', 'the dump was not loaded', tool, result);
  // Policies and user mappings are for roles, whoever owns them.
  if (!/ERROR: .*role ".*" does not exist/.test(result.stderr)) return failure;
  return new HoldfastError(failure.code, failure.message, { hint: '--globals makes missing roles.' });
}

/**
 * The lines of an archive's table of contents, in three parts. Those that fill materialized views: their queries may fail
 * where they did not, and keep nothing else from being restored. Those of event triggers: once made, they may refuse the rest.
 */
function contentsOf(list: string): { most: string[]; refreshes: string[]; eventTriggers: string[] } {
  const kindOf = /^\d+; \d+ \d+ (?:(MATERIALIZED VIEW DATA)|(?:(?:COMMENT|SECURITY LABEL) - )?(EVENT TRIGGER)) /;
  const most: string[] = [];
  const refreshes: string[] = [];
  const eventTriggers: string[] = [];
  for (const line of list.split('\n')) {
    const [, refresh, eventTrigger] = kindOf.exec(line) ?? [];
    (refresh !== undefined ? refreshes : eventTrigger !== undefined ? eventTriggers : most).push(line);
  }
  return { most, refreshes, eventTriggers };
}

/** Settings whose values are lists of identifiers: quoted as they are stored. */
const listSettings = new Set([
  'search_path',
  'temp_tablespaces',
  'local_preload_libraries',
  'session_preload_libraries',
]);

async function create(
  client: Queries,
  name: string,
  { report }: StoredDump,
  { major }: ServerFacts,
): Promise<DatabaseWarning[]> {
  const { made = {} } = report;
  const warnings: DatabaseWarning[] = [];
  const part = (keyword: string, value: string | undefined): string =>
    value === undefined || value === '' ? '' : ` ${keyword} ${literal(value)}`;
  const { tablespace } = made;
  const known = tablespace !== undefined && (await tablespacesThere(client)).has(tablespace);
  const place = known ? ` TABLESPACE ${quoted(tablespace)}` : '';
  const encoding = `CREATE DATABASE ${quoted(name)} TEMPLATE template0${part('ENCODING', made.encoding)}${place}`;
  const provider =
    major < 15 || made.provider === undefined || made.provider === 'c'
      ? ''
      : made.provider === 'i'
        ? ` LOCALE_PROVIDER icu${part('ICU_LOCALE', made.locale)}${part('ICU_RULES', made.icuRules)}`
        : ` LOCALE_PROVIDER builtin${part('BUILTIN_LOCALE', made.locale)}`;
  try {
    await client.query(`${encoding}${part('LC_COLLATE', made.collate)}${part('LC_CTYPE', made.ctype)}${provider}`);
  } catch (error) {
    // 42809: wrong object type, what the server says of a locale it does not know; 22023: invalid value.
    if (!['42809', '22023', '42704'].includes(sqlState(error) ?? '')) throw error;
    await client.query(encoding);
    const locale = made.locale ?? made.collate ?? '';
    warnings.push({
      code: 'LocaleMissing',
      message: `the server does not know the locale ${locale}: the database has the server’s own, and may sort differently`,
    });
  }
  warnings.push(
    ...(await applyEach(
      client,
      settingsOf(name, made).filter((statement) => !forbidsWriting.test(statement)),
    )),
  );
  if (made.owner !== undefined && (await rolesThere(client)).has(made.owner)) {
    await client.query(`ALTER DATABASE ${quoted(name)} OWNER TO ${quoted(made.owner)}`).catch((error: unknown) => {
      if (sqlState(error) !== '42501') throw error;
      warnings.push({ code: 'OwnerNotRestored', message: `this user may not give the database to ${made.owner}` });
    });
  }
  return warnings;
}

interface Grant {
  /** null: everybody. */
  to: string | null;
  right: string;
  grantable: boolean;
}

/** Comment and rights of the database as a whole, and settings of roles in it; of roles that the server has. */
async function applyProperties(client: Queries, name: string, { report }: StoredDump): Promise<DatabaseWarning[]> {
  const { comment, acl, ofRoles, owner, connections, template } = report.made ?? {};
  const there = await rolesThere(client);
  const on = quoted(name);
  const statements = settingsOf(name, report.made).filter((statement) => forbidsWriting.test(statement));
  if (comment !== undefined) statements.push(`COMMENT ON DATABASE ${on} IS ${literal(comment)}`);
  if (template === 'true') statements.push(`ALTER DATABASE ${on} IS_TEMPLATE true`);
  if (connections !== undefined && /^\d+$/.test(connections))
    statements.push(`ALTER DATABASE ${on} CONNECTION LIMIT ${connections}`);
  for (const { role, setting } of JSON.parse(ofRoles ?? '[]') as { role: string; setting: string }[]) {
    const at = setting.indexOf('=');
    if (there.has(role))
      statements.push(
        `ALTER ROLE ${quoted(role)} IN DATABASE ${on} ${setTo(setting.slice(0, at), setting.slice(at + 1))}`,
      );
  }
  if (acl !== undefined) {
    statements.push(`REVOKE ALL ON DATABASE ${on} FROM PUBLIC`);
    for (const { to, right, grantable } of JSON.parse(acl) as Grant[]) {
      if (!/^[A-Z]+$/.test(right) || to === owner || (to !== null && !there.has(to))) continue;
      const option = grantable ? ' WITH GRANT OPTION' : '';
      statements.push(`GRANT ${right} ON DATABASE ${on} TO ${to === null ? 'PUBLIC' : quoted(to)}${option}`);
    }
  }
  return applyEach(client, statements);
}

/** Rows are loaded under the settings of their database (one may ask for them in a constraint), but for these. */
const forbidsWriting = / SET "default_transaction_read_only" /;

const settingsOf = (name: string, made: Readonly<Record<string, string>> = {}): string[] =>
  Object.entries(made)
    .filter(([key]) => key.startsWith('set:'))
    .map(([key, value]) => `ALTER DATABASE ${quoted(name)} ${setTo(key.slice(4), value)}`);

/** What of a database as a whole this user may not, or this server can't, have does not keep its rows from coming back. */
async function applyEach(client: Queries, statements: readonly string[]): Promise<DatabaseWarning[]> {
  const refused: string[] = [];
  for (const statement of statements) {
    try {
      await client.query(statement);
    } catch (error) {
      if (sqlState(error) === undefined) throw error;
      refused.push(error instanceof Error ? error.message : String(error));
    }
  }
  if (refused.length === 0) return [];
  const message = `rights to, comment on and settings of the database are not all restored: ${[...new Set(refused)].join('; ').slice(0, 1000)}`;
  return [{ code: 'OwnerNotRestored', message }];
}

function setTo(setting: string, value: string): string {
  const text = listSettings.has(setting) ? value : literal(value);
  return `SET ${setting.split('.').map(quoted).join('.')} TO ${text}`;
}

/** Gives the finished database its name. The one that has it gets the name `old` in the same moment, and goes then. */
async function takeName(
  reach: Reach,
  client: Queries,
  fresh: string,
  database: string,
  context: DatabaseContext,
  old: string | undefined,
): Promise<void> {
  const take = `ALTER DATABASE ${quoted(fresh)} RENAME TO ${quoted(database)}`;
  if (old === undefined) {
    await client.query(take);
    return;
  }
  await drop(reach, client, old, context);
  await alone(client, database, async () => {
    try {
      await client.query(`BEGIN; ALTER DATABASE ${quoted(database)} RENAME TO ${quoted(old)}; ${take}; COMMIT`);
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    }
  });
  await client.query(`ALTER DATABASE ${quoted(old)} IS_TEMPLATE false`);
  await drop(reach, client, old, context);
}

/** Drops the half-filled database of a killed restore, and the one it had just replaced. */
export async function dropUnfinished(
  reach: Reach,
  { id }: Pick<RestoreTarget, 'id'>,
  context: DatabaseContext,
): Promise<void> {
  await reach.maintenance(context, async (client) => {
    for (const kind of ['new', 'old'] as const) await drop(reach, client, passingName(kind, id), context);
  });
}

const inUse = '55006';

/** Does what no other connection to the database may see; ends those that there are, also what a killed program still does. */
async function alone(client: Queries, database: string, work: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    await client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${literal(database)} AND pid <> pg_backend_pid()`,
    );
    try {
      await work();
      return;
    } catch (error) {
      if (sqlState(error) !== inUse || attempt >= 50) throw error;
      await sleep(100);
    }
  }
}

/** Drops a database, whoever uses it. */
export async function drop(reach: Reach, client: Queries, name: string, context: DatabaseContext): Promise<void> {
  // A server drops no database with a subscription. What it has at the publisher stays for who goes on with it.
  const subscriptions = await subscriptionsThere(client, name).catch(() => []);
  for (const subscription of subscriptions) {
    const about = `SUBSCRIPTION ${quoted(subscription)}`;
    await reach.connect(name, context, async (own) => {
      await unhindered(own, `ALTER ${about} DISABLE`);
      await unhindered(own, `ALTER ${about} SET (slot_name = NONE)`);
      await unhindered(own, `DROP ${about}`);
    });
  }
  await alone(client, name, () => client.query(`DROP DATABASE IF EXISTS ${quoted(name)}`));
}
