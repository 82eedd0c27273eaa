import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type MysqlSettings, mysqlSourceSchema } from '../../../src/config/schema-mysql.js';
import type { DatabaseContext, StoredDump } from '../../../src/sources/database.js';
import { MysqlSource } from '../../../src/sources/mysql/source.js';
import { databaseContext } from '../../support/database-context.js';
import type { MariaDb } from '../../support/mariadb.js';

export const everything = readFileSync(path.resolve(import.meta.dirname, '../../support/everything-mysql.sql'), 'utf8');

/** A source as a config file would describe it. */
export function sourceOf(config: Partial<Record<keyof MysqlSettings, unknown>>): MysqlSource {
  return new MysqlSource(mysqlSourceSchema.parse({ type: 'mysql', ...config }));
}

/** Does one step with a source and a context of its own, and cleans up. */
export async function withSource<T>(
  config: Partial<Record<keyof MysqlSettings, unknown>>,
  work: (source: MysqlSource, context: ReturnType<typeof databaseContext>) => Promise<T>,
): Promise<T> {
  const context = databaseContext();
  const source = sourceOf(config);
  try {
    return await work(source, context);
  } finally {
    await source.close();
    context.remove();
  }
}

let dumps = 0;

/** Dumps into a new folder of the context. */
export async function dumpOf(
  source: MysqlSource,
  database: string,
  context: DatabaseContext & { folder: string },
): Promise<StoredDump> {
  const folder = path.join(context.folder, `dump-${dumps++}`);
  mkdirSync(folder);
  return { folder, report: await source.dump(database, { folder }, context) };
}

/** What the server's own tool says of a database, without what may differ; to compare two of them from the outside. */
export function plainDump(server: MariaDb, database: string): string {
  return execFileSync(
    'mariadb-dump',
    [
      '--no-defaults',
      `--socket=${server.socket}`,
      '--user=root',
      '--routines',
      '--triggers',
      '--events',
      '--hex-blob',
    ].concat(['--skip-dump-date', '--skip-comments', '--default-character-set=utf8mb4', database]),
    { encoding: 'utf8', maxBuffer: 256 << 20 },
  );
}

/** `CHECKSUM TABLE` of every table. */
export function checksums(server: MariaDb, database: string): string[] {
  const tables = server
    .sql(
      `SELECT table_name FROM information_schema.tables WHERE table_schema='${database}' AND table_type='BASE TABLE' ORDER BY 1`,
    )
    .split('\n')
    .filter(Boolean);
  return tables.map((table) => {
    const name = table.replaceAll('`', '``');
    return `${table} ${server.sql(`CHECKSUM TABLE \`${name}\` EXTENDED`, database).trim().split('\t').at(-1)}`;
  });
}
