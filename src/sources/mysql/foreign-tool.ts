import { HoldfastError } from '../../errors.js';
import type { DatabaseWarning } from '../database.js';
import type { ServerFacts } from './server.js';
import { quoteText, type Sql } from './sql.js';
import { type MysqlTool, toolName } from './tool.js';

/** Said of a dump that the other server's tool made. */
export function foreignTool(tool: MysqlTool, facts: ServerFacts): DatabaseWarning[] {
  if (tool.flavour === facts.flavour) return [];
  const own = facts.flavour === 'mariadb' ? 'mariadb-dump' : 'MySQL’s mysqldump';
  return [
    {
      code: 'ToolForeign',
      message: `${facts.product} was dumped by ${tool.version}; its own ${own} is not installed`,
    },
  ];
}

/**
 * MariaDB's tool writes the values of generated columns, and vectors as text, which MySQL refuses to take back: a dump that
 * no restore could use.
 * @returns what is the matter, where a database has such tables.
 */
export async function unrestorable(
  sql: Sql,
  tool: MysqlTool,
  facts: ServerFacts,
  database: string,
  excluded: ReadonlySet<string>,
): Promise<HoldfastError | undefined> {
  if (tool.flavour === 'mysql' || facts.flavour === 'mariadb') return undefined;
  const rows = await sql.query(
    `SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = ${quoteText(database)} AND (generation_expression <> '' OR data_type = 'vector')`,
  );
  const tables = rows.map(([name = '']) => name).filter((name) => !excluded.has(name));
  if (tables.length === 0) return undefined;
  return new HoldfastError(
    'ToolMissing',
    `${database}: MySQL takes no rows back that ${toolName(tool)} of MariaDB writes for generated columns and vectors in ${tables.slice(0, 20).join(', ')}`,
    { hint: 'Install MySQL’s own mysqldump (mysql-client), and see that it is on the PATH of the worker.' },
  );
}
