import path from 'node:path';
import { HoldfastError } from '../../errors.js';
import type { DatabaseContext } from '../database.js';
import { secretAsDescriptor, secretDescriptor, withPrefix } from '../exec/command-prefix.js';
import { findTool } from '../exec/find-tool.js';
import { runTool, type ToolOptions, type ToolResult } from '../exec/run-tool.js';
import { writeSecretFile } from '../exec/secret-file.js';
import { toolFailure } from '../exec/tool-failure.js';
import type { MysqlAddress } from './address.js';
import { type Flavour, optionFile } from './option-file.js';

/** A program of MySQL or MariaDB, here or behind a prefix. */
export interface MysqlTool {
  /** As it is started: absolute here, a name behind a prefix. */
  program: string;
  flavour: Flavour;
  /** Its own words about itself. */
  version: string;
  /** The long options it knows, without dashes. */
  options: ReadonlySet<string>;
}

export type ToolKind = 'dump' | 'client';

const names: Record<ToolKind, Record<Flavour, string>> = {
  dump: { mariadb: 'mariadb-dump', mysql: 'mysqldump' },
  client: { mariadb: 'mariadb', mysql: 'mysql' },
};
const packages: Record<Flavour, string> = { mariadb: 'mariadb-client', mysql: 'mysql-client' };

/** MySQL's programs read ~/.mylogin.cnf even beside --defaults-file. */
const env = { MYSQL_TEST_LOGIN_FILE: '/dev/null' };

/**
 * Finds the program that fits the server best: its own kind first, else the other's.
 * @throws HoldfastError ToolMissing.
 */
export async function chooseTool(
  kind: ToolKind,
  server: Flavour,
  prefix: readonly string[],
  context: DatabaseContext,
): Promise<MysqlTool> {
  const other = server === 'mariadb' ? 'mysql' : 'mariadb';
  let said = '';
  let fallback: MysqlTool | undefined;
  for (const name of [names[kind][server], names[kind][other]]) {
    const program = prefix.length > 0 ? name : findTool([name]);
    if (program === undefined) continue;
    const result = await runTool({
      argv: withPrefix(prefix, [program, '--no-defaults', '--verbose', '--help']),
      env,
      processes: context.processes,
      signal: context.signal,
    });
    if (result.exitCode === 0) {
      const tool = describe(program, result.stdout);
      if (tool.flavour === server) return tool;
      fallback ??= tool;
    } else if (result.exitCode === 126 || result.exitCode === 127) {
      said ||= result.stderr;
    } else {
      throw toolFailure('SourceFailed', 'looking for a program', withPrefix(prefix, [program])[0] ?? program, result);
    }
  }
  if (fallback !== undefined) return fallback;
  const wanted = names[kind][server];
  const where = prefix.length > 0 ? ` behind \`${prefix.join(' ')}\`` : '';
  throw new HoldfastError('ToolMissing', `there is no ${wanted}${where}${said === '' ? '' : `: ${said}`}`, {
    hint: `Install ${wanted} (Debian: apt install ${packages[server]}), and see that it is on the PATH of the worker.`,
  });
}

/** Among the options: that MySQL's transaction ids can be had as a comment, which no restore takes for an order. */
export const commentedGtids = 'set-gtid-purged=COMMENTED';

function describe(program: string, help: string): MysqlTool {
  const version = help.split('\n').find((line) => line.includes('Ver ')) ?? '';
  return {
    program,
    flavour: /mariadb/i.test(version) ? 'mariadb' : 'mysql',
    version: version
      .replace(/^\S*[\\/]/, '')
      .replace(/ for \S+ on .*$|, for .*$/, '')
      .trim(),
    options: new Set([
      ...[...help.matchAll(/^ {2,6}(?:-\S, )?--([a-z0-9-]+)/gm)].map(([, name = '']) => name),
      ...(/\bCOMMENTED\b/.test(help) ? [commentedGtids] : []),
    ]),
  };
}

export interface ToolCall extends Pick<ToolOptions, 'stdin' | 'stdout' | 'onOutput' | 'onProgress'> {
  /** After those that say where the server is. */
  args: readonly string[];
}

/** Runs a tool signed in to the server. Resolves however it ended. */
export async function runMysqlTool(
  tool: MysqlTool,
  address: MysqlAddress,
  prefix: readonly string[],
  call: ToolCall,
  context: Pick<DatabaseContext, 'tempDir' | 'processes' | 'signal'>,
): Promise<ToolResult> {
  const { args, stdin, ...rest } = call;
  const content = optionFile(address, tool.flavour);
  const common = { ...rest, env, processes: context.processes, signal: context.signal };
  // Not --defaults-extra-file: after that one ~/.my.cnf is still read, and may name another password.
  const argv = (file: string): string[] => [
    tool.program,
    `--defaults-file=${file}`,
    // MariaDB's client would put whole INSERTs into messages.
    ...(tool.options.has('print-query-on-error') ? ['--skip-print-query-on-error'] : []),
    ...args,
  ];
  if (prefix.length > 0) {
    const behind = secretAsDescriptor(argv(secretDescriptor), content);
    return runTool({
      ...common,
      argv: withPrefix(prefix, behind.argv),
      stdin: { ...stdin, text: behind.text + (stdin?.text ?? '') },
    });
  }
  const file = writeSecretFile(context.tempDir, 'my.cnf', content);
  try {
    return await runTool({ ...common, argv: argv(file.path), ...(stdin === undefined ? {} : { stdin }) });
  } finally {
    file.remove();
  }
}

/** For messages. */
export const toolName = (tool: MysqlTool): string => path.basename(tool.program);
