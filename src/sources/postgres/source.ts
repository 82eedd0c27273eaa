import type { PostgresSourceConfig } from '../../config/schema.js';
import { HoldfastError } from '../../errors.js';
import {
  type Ask,
  type DatabaseContext,
  type DatabaseSource,
  type DumpReport,
  type Examination,
  type Finding,
  isPassing,
  mustBeScratch,
  noDatabase,
  type Preflight,
  type RestoreReport,
  type RestoreTarget,
  type StoredDump,
} from '../database.js';
import { matcherOf } from '../name-patterns.js';
import {
  type DatabaseRow,
  databaseBytes,
  listServerDatabases,
  listTables,
  serverFacts,
  tableBytes,
  unreadableObjects,
} from './catalog.js';
import { dumpPostgres } from './dump.js';
import { Reach } from './reach.js';
import { drop, dropUnfinished, restorePostgres, scratchPostgres } from './restore.js';

/** A PostgreSQL server: one dump per database, by the server's own pg_dump. */
export class PostgresSource implements DatabaseSource {
  readonly kind = 'postgres';
  private readonly reach: Reach;

  constructor(private readonly config: PostgresSourceConfig) {
    this.reach = new Reach(config);
  }

  async preflight(context: DatabaseContext): Promise<Preflight> {
    const { facts, rows } = await this.reach.maintenance(context, async (client) => ({
      facts: await serverFacts(client),
      rows: await listServerDatabases(client),
    }));
    await this.reach.tools(facts.major, context);
    const databases: Preflight['databases'] = [];
    for (const name of this.wanted(rows)) databases.push({ name, estimatedBytes: await this.estimate(name, context) });
    const closed = this.chosen(rows)
      .filter(({ connectable }) => !connectable)
      .map(({ name }) => name);
    return {
      server: `PostgreSQL ${facts.version}`,
      databases,
      warnings:
        this.config.databases !== 'all' || closed.length === 0
          ? []
          : [{ code: 'NotConnectable', message: `${closed.join(', ')}: nobody may connect, so it can't be dumped` }],
    };
  }

  async examine(context: DatabaseContext): Promise<Examination> {
    const { facts, rows } = await this.reach.maintenance(context, async (client) => ({
      facts: await serverFacts(client),
      rows: await listServerDatabases(client),
    }));
    const tools = await this.reach.tools(facts.major, context);
    const problems: Finding[] = [];
    const names = this.wanted(rows);
    for (const name of names) problems.push(...(await this.examineDatabase(name, context)));
    if (names.length === 0) problems.push(noDatabase);
    return { server: `PostgreSQL ${facts.version}`, tool: tools.version, databases: names.length, problems };
  }

  private async examineDatabase(name: string, context: DatabaseContext): Promise<Finding[]> {
    try {
      return await this.reach.connect(name, context, async (client) => {
        const unreadable = await unreadableObjects(client, await listTables(client, this.config));
        if (unreadable.length === 0) return [];
        const more = unreadable.length > 5 ? ` and ${unreadable.length - 5} more` : '';
        return [
          {
            status: 'fail',
            message: `${name}: this user may not read ${unreadable.slice(0, 5).join(', ')}${more}`,
            hint: 'GRANT pg_read_all_data TO it; for row-level security ALTER ROLE ... BYPASSRLS; large objects need a superuser or a grant each.',
          },
        ];
      });
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return [{ status: 'fail', message: error.message, hint: error.hint ?? 'Correct that and try again.' }];
    }
  }

  dump(database: string, { folder }: { folder: string }, context: DatabaseContext): Promise<DumpReport> {
    return dumpPostgres(this.reach, this.config, database, folder, context);
  }

  restore(dump: StoredDump, target: RestoreTarget, context: DatabaseContext): Promise<RestoreReport> {
    return restorePostgres(this.reach, dump, target, context);
  }

  scratch(
    dump: StoredDump,
    name: string,
    context: DatabaseContext,
    inspect?: (ask: Ask) => Promise<void>,
  ): Promise<RestoreReport> {
    mustBeScratch(name);
    return scratchPostgres(this.reach, dump, name, context, inspect);
  }

  dropUnfinished(target: Pick<RestoreTarget, 'database' | 'id'>, context: DatabaseContext): Promise<void> {
    return dropUnfinished(this.reach, target, context);
  }

  async dropScratch(name: string, context: DatabaseContext): Promise<void> {
    mustBeScratch(name);
    await this.reach.maintenance(context, (client) => drop(this.reach, client, name, context));
  }

  close(): Promise<void> {
    return this.reach.close();
  }

  private wanted(rows: readonly DatabaseRow[]): string[] {
    const { databases } = this.config;
    if (databases !== 'all') return [...new Set(databases)];
    return this.chosen(rows)
      .filter(({ connectable }) => connectable)
      .map(({ name }) => name);
  }

  /** What `all` stands for. */
  private chosen(rows: readonly DatabaseRow[]): DatabaseRow[] {
    const left = this.config.exclude.map(matcherOf);
    return rows.filter(({ name }) => !/^template[01]$/.test(name) && !isPassing(name) && !left.some((is) => is(name)));
  }

  /** 0 where it can't be had: the dump itself then says why. */
  private async estimate(database: string, context: DatabaseContext): Promise<number> {
    // Through psql no setting outlives its query, and so none keeps a lock from being waited for.
    for (const ask of this.reach.isElsewhere ? [databaseBytes] : [tableBytes, databaseBytes]) {
      try {
        return await this.reach.connect(database, context, ask);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
      }
    }
    return 0;
  }
}
