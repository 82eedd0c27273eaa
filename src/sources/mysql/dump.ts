import { stat } from 'node:fs/promises';
import path from 'node:path';
import { HoldfastError } from '../../errors.js';
import type { DatabaseContext } from '../database.js';
import type { MysqlAddress } from './address.js';
import { asToolError } from './errors.js';
import { type DumpContent, readDump } from './read-dump.js';
import { type FoundTable, hasRows, namePattern, type ServerFacts } from './server.js';
import { commentedGtids, type MysqlTool, runMysqlTool, toolName } from './tool.js';

export const dumpName = 'dump.sql';

/** The tables that the config leaves out; `patterns` are DATABASE.TABLE with `*`. */
export function excludedTables(
  database: string,
  tables: readonly FoundTable[],
  patterns: readonly string[],
): Set<string> {
  const matchers = patterns.map(namePattern);
  return new Set(
    tables.map(({ name }) => name).filter((name) => matchers.some((one) => one.test(`${database}.${name}`))),
  );
}

/** The dump tool's options. Of the two families of tools, each knows some that the other refuses. */
export function dumpArguments(
  database: string,
  tool: Pick<MysqlTool, 'options' | 'flavour' | 'version'>,
  facts: ServerFacts,
  excluded: ReadonlySet<string>,
): string[] {
  const args = [
    '--single-transaction',
    '--quick',
    '--routines',
    '--triggers',
    '--events',
    '--hex-blob',
    '--default-character-set=utf8mb4',
    '--max-allowed-packet=1073741824',
    // The same tables make the same bytes, whatever the day,
    '--skip-dump-date',
    // and a row that is longer than last night moves no border of those after it.
    '--skip-extended-insert',
    '--no-autocommit',
    // Asks for a right that tables don't need.
    '--no-tablespaces',
  ];
  const has = (name: string): boolean => tool.options.has(name);
  const position = facts.logPosition && asksForPosition(tool, facts);
  // Of the dump's own moment only under the lock that the position of the log is read with; refused where there are none.
  if (has(commentedGtids) && facts.gtids && position) args.push(`--${commentedGtids}`);
  else if (has('set-gtid-purged')) args.push('--set-gtid-purged=OFF');
  // Histograms are kept only by MySQL 8 and later.
  if (has('column-statistics') && (facts.flavour === 'mariadb' || facts.version < 8000))
    args.push('--column-statistics=0');
  if (position) {
    if (has('source-data')) args.push('--source-data=2');
    else if (has('master-data')) args.push('--master-data=2');
  }
  return [...args, ...[...excluded].map((name) => `--ignore-table=${database}.${name}`), '--', database];
}

/** MySQL 8.4 knows no SHOW MASTER STATUS any more, by which MariaDB's tools and MySQL's before 8.2 ask. */
function asksForPosition(tool: Pick<MysqlTool, 'flavour' | 'version'>, facts: ServerFacts): boolean {
  if (facts.flavour === 'mariadb' || facts.version < 8004) return true;
  const [, major = 0, minor = 0] = /Ver (\d+)\.(\d+)/.exec(tool.version)?.map(Number) ?? [];
  return tool.flavour === 'mysql' && major * 1000 + minor >= 8002;
}

export interface DumpStep {
  database: string;
  folder: string;
  tool: MysqlTool;
  address: MysqlAddress;
  prefix: readonly string[];
  facts: ServerFacts;
  excluded: ReadonlySet<string>;
}

/**
 * Writes the dump and reads it back.
 * @throws HoldfastError DumpIncomplete without the tool's end mark; SourceFailed, AuthDenied, SpoolFull when the tool fails.
 */
export async function writeDump(step: DumpStep, context: DatabaseContext): Promise<DumpContent & { bytes: number }> {
  const { database, tool, address, prefix } = step;
  const file = path.join(step.folder, dumpName);
  const result = await runMysqlTool(
    tool,
    address,
    prefix,
    {
      args: dumpArguments(database, tool, step.facts, step.excluded),
      stdout: { file },
      onProgress: context.onProgress,
    },
    context,
  );
  if (result.exitCode !== 0) throw asToolError(`the dump of ${database}`, toolName(tool), result, 'SourceFailed');
  const content = await readDump(file, context.signal);
  const { size } = await stat(file);
  if (!content.complete) {
    throw new HoldfastError(
      'DumpIncomplete',
      `the dump of ${database} has no end mark, although ${toolName(tool)} ended well`,
      {
        hint: 'It is tried again. If it stays so, run the tool by hand and look at the last lines it writes.',
      },
    );
  }
  return { ...content, bytes: size };
}

/** Everything that was there before the dump and still is after it has to be in it. @throws HoldfastError DumpIncomplete. */
export function checkContent(
  database: string,
  content: DumpContent,
  before: readonly FoundTable[],
  after: readonly FoundTable[],
  excluded: ReadonlySet<string>,
): void {
  const still = new Map(after.map((table) => [table.name, table]));
  const tables = new Set(content.tables.map(({ name }) => name));
  const missing = before.filter((table) => {
    const now = still.get(table.name);
    if (now === undefined || now.kind !== table.kind || excluded.has(table.name)) return false;
    if (table.kind === 'view') return !content.views.has(table.name);
    if (table.kind === 'sequence') return !content.sequences.has(table.name);
    return hasRows(table) && !tables.has(table.name);
  });
  if (missing.length === 0) return;
  throw new HoldfastError(
    'DumpIncomplete',
    `the dump of ${database} lacks ${missing
      .map(({ kind, name }) => `${kind} ${name}`)
      .slice(0, 20)
      .join(', ')}`,
    { hint: 'May the user read them? Sequences need MariaDB’s own mariadb-dump.' },
  );
}

/**
 * A table that was altered, emptied or replaced meanwhile may be in the dump as it was at another moment than the rest.
 * @throws HoldfastError DumpIncomplete.
 */
export function checkMarks(
  database: string,
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
  excluded: ReadonlySet<string>,
): void {
  const changed = [...before].filter(([name, mark]) => !excluded.has(name) && (after.get(name) ?? mark) !== mark);
  if (changed.length === 0) return;
  const names = changed.map(([name]) => name);
  throw new HoldfastError(
    'DumpIncomplete',
    `the dump of ${database} is not of one moment: ${names.slice(0, 20).join(', ')} was altered, emptied or replaced meanwhile`,
    { hint: 'It is tried again. Change the schema at another time than that of the backup.' },
  );
}
