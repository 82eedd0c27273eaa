import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { MysqlSettings } from '../../config/schema-mysql.js';
import { HoldfastError } from '../../errors.js';
import {
  type Ask,
  compareTables,
  type DatabaseContext,
  type DatabaseSource,
  type DatabaseWarning,
  type DumpReport,
  type Examination,
  type Finding,
  mustBeScratch,
  noDatabase,
  type Preflight,
  type RestoreReport,
  type RestoreTarget,
  type StoredDump,
  unfinishedMark,
  unfinishedWarning,
} from '../database.js';
import { splitWords } from '../exec/command-prefix.js';
import { openTunnel, type Tunnel } from '../exec/ssh-tunnel.js';
import { addressOf, type MysqlAddress } from './address.js';
import { checkContent, checkMarks, dumpName, excludedTables, writeDump } from './dump.js';
import { asToolError } from './errors.js';
import { foreignTool, unrestorable } from './foreign-tool.js';
import { inexactText } from './inexact-text.js';
import { asStatements, invalidViews, invalidViewsName, makeInvalidViews } from './invalid-views.js';
import type { Flavour } from './option-file.js';
import { dropScratch, dropUnfinished, prepareTarget, removeMark } from './restore.js';
import { restoreStream } from './restore-stream.js';
import { grantsOfUser, mayReadUsers, missingRights, rightsText } from './rights.js';
import {
  countRows,
  type FoundTable,
  findDatabases,
  findTables,
  madeWith,
  type ServerFacts,
  serverFacts,
  tableMarks,
} from './server.js';
import { connectDirectly, quoteName, type Sql } from './sql.js';
import { chooseTool, type MysqlTool, runMysqlTool, type ToolKind, toolName } from './tool.js';
import { connectThroughTool } from './tool-session.js';
import { definersOf, maySetDefiners, missingAccounts, readUsers, restoreUsers } from './users.js';
import { writeFileDurably } from './write-file.js';

const usersName = 'users.sql';

/** Databases of a MySQL or MariaDB server, dumped and restored by the server's own programs. */
export class MysqlSource implements DatabaseSource {
  readonly kind = 'mysql';
  private tunnel: Promise<Tunnel> | undefined;
  private readonly prefix: readonly string[];
  private readonly tools = new Map<string, Promise<MysqlTool>>();

  /** `config` has its secrets resolved. Connects to nothing yet. */
  constructor(private readonly config: MysqlSettings) {
    this.prefix = config.command === undefined ? [] : (splitWords(config.command) ?? []);
  }

  async preflight(context: DatabaseContext): Promise<Preflight> {
    return this.connected(context, async (sql) => {
      const facts = await serverFacts(sql);
      await this.tool('dump', facts.flavour, context);
      const databases = await findDatabases(sql, this.config.databases, this.config.exclude);
      const warnings: DatabaseWarning[] = [];
      for (const { name } of databases) {
        const tables = await findTables(sql, name);
        warnings.push(...notTransactional(name, tables, excludedTables(name, tables, this.config.excludeTables)));
      }
      return { server: facts.product, databases, warnings };
    });
  }

  async examine(context: DatabaseContext): Promise<Examination> {
    return this.connected(context, async (sql) => {
      const facts = await serverFacts(sql);
      const tool = await this.tool('dump', facts.flavour, context);
      const { databases: wanted, exclude, globals } = this.config;
      const databases = await findDatabases(sql, wanted, exclude);
      const grants = await grantsOfUser(sql, facts);
      const problems: Finding[] = foreignTool(tool, facts).map(({ message }) => ({
        status: 'warn',
        message,
        hint: `Install ${facts.flavour === 'mariadb' ? 'mariadb-client' : 'mysql-client'}.`,
      }));
      for (const { name } of databases) {
        const excluded = excludedTables(name, await findTables(sql, name), this.config.excludeTables);
        const refused = await unrestorable(sql, tool, facts, name, excluded);
        if (refused) problems.push({ status: 'fail', message: refused.message, hint: refused.hint ?? '' });
        const missing = missingRights(grants, name, facts.flavour);
        if (missing.length === 0) continue;
        problems.push({
          status: missing.some(({ silent }) => !silent) ? 'fail' : 'warn',
          message: `${name}: this user may not see ${rightsText(missing)}`,
          hint: 'Grant these rights; docs/databases.md lists those that a backup needs.',
        });
      }
      if (globals && !(await mayReadUsers(sql)))
        problems.push({
          status: 'warn',
          message: 'this user may not read users and rights, which will not be in the backup',
          hint: 'GRANT SELECT ON mysql.* TO it, or set `globals: false`.',
        });
      if (databases.length === 0) problems.push(noDatabase);
      return { server: facts.product, tool: tool.version, databases: databases.length, problems };
    });
  }

  async dump(database: string, { folder }: { folder: string }, context: DatabaseContext): Promise<DumpReport> {
    return this.connected(context, async (sql, address) => {
      const facts = await serverFacts(sql);
      const tool = await this.tool('dump', facts.flavour, context);
      const before = await findTables(sql, database);
      const excluded = excludedTables(database, before, this.config.excludeTables);
      const refused = await unrestorable(sql, tool, facts, database, excluded);
      if (refused) throw refused;
      const invalid = await invalidViews(
        sql,
        database,
        before.filter(({ name }) => !excluded.has(name)),
      );
      const warnings = [
        ...notTransactional(database, before, excluded),
        ...foreignTool(tool, facts),
        ...hidden(database, await grantsOfUser(sql, facts), facts),
        ...unreadable(database, invalid),
        ...(await inexactText(sql, database, excluded)),
        ...(before.some(({ name }) => name === unfinishedMark) ? [unfinishedWarning(database)] : []),
      ];
      for (const name of [...invalid.keys(), unfinishedMark]) excluded.add(name);
      const marks = await tableMarks(sql, database);
      const takenAt = new Date().toISOString();
      const content = await writeDump(
        { database, folder, tool, address, prefix: this.prefix, facts, excluded },
        context,
      );
      checkContent(database, content, before, await findTables(sql, database), excluded);
      checkMarks(database, marks, await tableMarks(sql, database), excluded);
      const files = [{ path: dumpName, bytes: content.bytes }];
      if (invalid.size > 0) files.push(await writeFileDurably(folder, invalidViewsName, asStatements(invalid)));
      if (this.config.globals) {
        const users = await readable(() => readUsers(sql, facts), warnings);
        if (users !== undefined) files.push(await writeFileDurably(folder, usersName, users));
      }
      return {
        format: 1,
        kind: 'mysql',
        database,
        files,
        bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
        tables: content.tables,
        server: facts.product,
        tool: tool.version,
        made: await madeWith(sql, database),
        roles: await definersOf(sql, database),
        takenAt,
        ...(content.position === undefined ? {} : { position: content.position }),
        warnings,
      };
    });
  }

  async restore(dump: StoredDump, target: RestoreTarget, context: DatabaseContext): Promise<RestoreReport> {
    return this.connected(context, (sql, address) => this.fill(sql, address, dump, target, false, context));
  }

  async scratch(
    dump: StoredDump,
    database: string,
    context: DatabaseContext,
    inspect?: (ask: Ask) => Promise<void>,
  ): Promise<RestoreReport> {
    mustBeScratch(database);
    const target = { database, create: true, clean: false, globals: false, id: database };
    try {
      const report = await this.connected(context, async (sql, address) => {
        await dropScratch(sql, database, context);
        return this.fill(sql, address, dump, target, true, context);
      });
      await inspect?.((question, signal) => {
        const its = { ...context, signal: AbortSignal.any([context.signal, signal]) };
        return this.connected(its, async (sql) => {
          await sql.query(`USE ${quoteName(database)}`);
          const [row] = await sql.query(question.trim().replace(/;+$/, ''));
          return row?.[0] ?? null;
        });
      });
      return report;
    } finally {
      // With a connection of its own: the other may be what failed, and cancelling must not keep it.
      const last = { ...context, signal: AbortSignal.timeout(60_000) };
      await this.connected(last, (sql) => dropScratch(sql, database, last)).catch((error: unknown) => {
        context.log(`the temporary database ${database} may be left`, { reason: String(error) });
      });
    }
  }

  dropUnfinished(target: Pick<RestoreTarget, 'database' | 'id'>, context: DatabaseContext): Promise<void> {
    return this.connected(context, (sql) => dropUnfinished(sql, target));
  }

  async dropScratch(database: string, context: DatabaseContext): Promise<void> {
    mustBeScratch(database);
    await this.connected(context, (sql) => sql.query(`DROP DATABASE IF EXISTS ${quoteName(database)}`));
  }

  async close(): Promise<void> {
    const tunnel = this.tunnel;
    this.tunnel = undefined;
    await tunnel?.then(
      (open) => open.close(),
      () => undefined,
    );
  }

  private async fill(
    sql: Sql,
    address: MysqlAddress,
    { folder, report }: StoredDump,
    target: RestoreTarget,
    scratch: boolean,
    context: DatabaseContext,
  ): Promise<RestoreReport> {
    const { database } = target;
    const facts = await serverFacts(sql);
    const tool = await this.tool('client', facts.flavour, context);
    const file = path.join(folder, dumpName);
    await stat(file).catch(() => {
      throw new HoldfastError('RestoreFailed', `there is no dump at ${file}`);
    });
    const warnings: DatabaseWarning[] = [];
    const withoutDefiners = !(await maySetDefiners(sql));
    if (withoutDefiners && (report.roles ?? []).length > 0) {
      warnings.push({
        code: 'DefinersReplaced',
        message: `views and programs now run as the restoring user: it may not make them run as ${report.roles?.join(', ')}`,
      });
    }
    await prepareTarget(sql, target, report.made ?? {});
    const sandbox = tool.options.has('sandbox');
    const renamed = database === report.database ? undefined : { from: report.database, to: database };
    const result = await runMysqlTool(
      tool,
      address,
      this.prefix,
      {
        args: [
          '--binary-mode',
          // MariaDB's client would take them out of the bodies of programs.
          '--comments',
          '--default-character-set=utf8mb4',
          '--max-allowed-packet=1073741824',
          ...(sandbox ? ['--sandbox'] : []),
          '--',
          database,
        ],
        stdin: {
          stream: restoreStream(file, {
            withoutEvents: scratch,
            withoutDefiners,
            withoutSandbox: !sandbox,
            renamed,
            onProgress: context.onProgress,
            signal: context.signal,
          }),
        },
      },
      context,
    );
    if (result.exitCode !== 0)
      throw asToolError(`the restore into ${database}`, toolName(tool), result, 'RestoreFailed');
    const invalid = await readFile(path.join(folder, invalidViewsName), 'utf8').catch(() => '');
    if (invalid !== '')
      warnings.push(...notMade(await makeInvalidViews(sql, database, invalid, { renamed, withoutDefiners })));
    await removeMark(sql, database);
    if (target.globals) warnings.push(...(await this.fillUsers(sql, folder)));
    if (!withoutDefiners && !scratch) warnings.push(...(await orphaned(sql, database)));
    const found = await countRows(sql, database, await findTables(sql, database));
    return {
      database,
      server: facts.product,
      tables: found.length,
      rows: found.reduce((sum, { rows }) => sum + rows, 0),
      differences: compareTables(report.tables, found),
      warnings,
      ...(warnings.some(({ code }) => code === 'ViewInvalid') ? { incomplete: true } : {}),
    };
  }

  private async fillUsers(sql: Sql, folder: string): Promise<DatabaseWarning[]> {
    const statements = await readFile(path.join(folder, usersName), 'utf8').catch(() => undefined);
    if (statements === undefined) return [{ code: 'GlobalsIncomplete', message: 'the dump has no users and rights' }];
    return restoreUsers(sql, statements);
  }

  /** Opens a session, through a tunnel or a prefix if need be, and closes it afterwards. */
  private async connected<T>(
    context: DatabaseContext,
    work: (sql: Sql, address: MysqlAddress) => Promise<T>,
  ): Promise<T> {
    const address = await this.reach(context.signal);
    const where = this.where(address);
    const sql =
      this.prefix.length === 0
        ? await connectDirectly(address, where, context.signal)
        : // Nothing is known of the server yet; MariaDB's client speaks to both.
          connectThroughTool(await this.tool('client', 'mariadb', context), address, this.prefix, where, context);
    try {
      return await work(sql, address);
    } finally {
      await sql.close();
    }
  }

  private tool(kind: ToolKind, server: Flavour, context: DatabaseContext): Promise<MysqlTool> {
    const key = `${kind} ${server}`;
    const known = this.tools.get(key);
    if (known) return known;
    const tool = chooseTool(kind, server, this.prefix, context);
    this.tools.set(key, tool);
    return tool;
  }

  private async reach(signal: AbortSignal): Promise<MysqlAddress> {
    const address = addressOf(this.config);
    const { ssh } = this.config;
    if (ssh === undefined) return address;
    const { host = '127.0.0.1', port, socket, ...rest } = address;
    this.tunnel ??= openTunnel(
      ssh,
      socket === undefined ? { host, port } : { socket },
      { socketName: 'mysql.sock' },
      signal,
    );
    const { near } = await this.tunnel;
    if (!('socket' in near)) throw new Error('expected a socket');
    return { ...rest, port, socket: near.socket };
  }

  private where({ host, port, socket }: MysqlAddress): string {
    if (this.config.ssh !== undefined) return `the database server behind ${this.config.ssh.host}`;
    if (this.prefix.length > 0) return `the database server behind \`${this.prefix.join(' ')}\``;
    return `the database server at ${socket ?? `${host}:${port}`}`;
  }
}

function notTransactional(
  database: string,
  tables: readonly FoundTable[],
  excluded: ReadonlySet<string>,
): DatabaseWarning[] {
  const named = tables
    .filter(
      ({ kind, name, transactional, engine }) =>
        kind === 'table' && !transactional && engine !== '' && !excluded.has(name),
    )
    .map(({ name, engine }) => `${name} (${engine})`);
  if (named.length === 0) return [];
  const more = named.length > 20 ? ` and ${named.length - 20} more` : '';
  return [
    {
      code: 'NotTransactional',
      message: `${database}: not as of one moment, because the engine has no transactions: ${named.slice(0, 20).join(', ')}${more}`,
    },
  ];
}

/** What this user does not see, so that the dump lacks it and the tool does not say so. */
function hidden(database: string, grants: readonly string[], { flavour }: ServerFacts): DatabaseWarning[] {
  const missing = missingRights(grants, database, flavour).filter(({ silent }) => silent);
  if (missing.length === 0) return [];
  return [
    {
      code: 'RightsMissing',
      message: `${database}: this user may not see ${rightsText(missing)}: what there is of them is not in the dump; docs/databases.md lists the rights that a backup needs`,
    },
  ];
}

function unreadable(database: string, invalid: ReadonlyMap<string, string>): DatabaseWarning[] {
  if (invalid.size === 0) return [];
  return [
    {
      code: 'ViewInvalid',
      message: `${database}: the views ${[...invalid.keys()].join(', ')} name tables, columns or users that are gone; they are kept as text in ${invalidViewsName}, and made again only where the server takes them`,
    },
  ];
}

function notMade(reasons: readonly string[]): DatabaseWarning[] {
  if (reasons.length === 0) return [];
  return [
    {
      code: 'ViewInvalid',
      message: `${reasons.length} views that could not be read when they were dumped could not be made (${invalidViewsName} of the dump has them); the first: ${reasons[0]}`,
    },
  ];
}

async function readable(read: () => Promise<string>, warnings: DatabaseWarning[]): Promise<string | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'AuthDenied') throw error;
    warnings.push({
      code: 'GlobalsUnreadable',
      message: `users and rights are not in the backup: ${error.message} (\`globals: false\` leaves them out)`,
    });
    return undefined;
  }
}

async function orphaned(sql: Sql, database: string): Promise<DatabaseWarning[]> {
  const missing = await missingAccounts(sql, await definersOf(sql, database));
  if (missing.length === 0) return [];
  return [
    {
      code: 'DefinerMissing',
      message: `views and programs of ${database} run as ${missing.join(', ')}, whom this server does not have`,
    },
  ];
}
