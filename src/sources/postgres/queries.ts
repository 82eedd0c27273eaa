import type { Client } from 'pg';
import type { ToolResult } from '../exec/run-tool.js';
import { toolFailure } from '../exec/tool-failure.js';

/** What can be asked of a database: over a connection, or through its own psql. */
export interface Queries {
  /** Rows of a SELECT; none of any other statement. Numbers may come as text. */
  query<Row extends object>(sql: string): Promise<{ rows: Row[] }>;
}

export function overClient(client: Client): Queries {
  return {
    async query<Row extends object>(sql: string) {
      const { rows } = await client.query<Row>(sql);
      return { rows };
    },
  };
}

/** What is set for a database or a user is for its programs: it must not end, or refuse, what a backup or a restore does. */
export const ownSession =
  'SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET default_transaction_read_only = off; ' +
  // Since version 17.
  "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'";

/** `run` gets psql's arguments, without database, and its input. Each query is a session of its own. */
export function overPsql(run: (args: string[], input: string) => Promise<ToolResult>): Queries {
  return {
    async query<Row extends object>(sql: string) {
      const isSelect = /^\s*(SELECT|WITH)\b/i.test(sql);
      const text = isSelect ? `SELECT coalesce(json_agg(to_jsonb(q)), '[]') FROM (${sql}) q;` : `${sql};`;
      const prelude = `\\o /dev/null\n${ownSession};\n\\o\n`;
      const args = ['-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-f', '-'];
      const result = await run(args, prelude + text);
      if (result.exitCode !== 0) throw psqlError(result);
      return { rows: isSelect ? (JSON.parse(result.stdout) as Row[]) : [] };
    },
  };
}

/** What psql said, with the server's own error code where there is one. */
class PsqlError extends Error {
  readonly severity = 'ERROR';

  constructor(
    message: string,
    readonly code: string | undefined,
  ) {
    super(message);
    this.name = 'PsqlError';
  }
}

function psqlError(result: ToolResult): Error {
  const { stderr, exitCode } = result;
  if (exitCode === 126 || exitCode === 127) return toolFailure('SourceFailed', 'a query was not run', 'psql', result);
  const said = /(?:ERROR|FATAL): {2}([0-9A-Z]{5}):/.exec(stderr)?.[1];
  return new PsqlError(
    stderr === '' ? `psql ended with exit code ${exitCode}` : stderr,
    said ?? connectionState(stderr),
  );
}

/** What a refused connection means: psql gives no code for it. */
function connectionState(said: string): string | undefined {
  if (
    /password authentication failed|no password supplied|role ".*" does not exist|no pg_hba.conf entry|authentication failed/.test(
      said,
    )
  )
    return '28P01';
  if (/database ".*" does not exist/.test(said)) return '3D000';
  return undefined;
}
