import { readFileSync } from 'node:fs';
import type { DatabaseWarning } from '../database.js';
import { rolesThere } from './catalog.js';
import type { Queries } from './queries.js';

const aboutRole = /^(?:CREATE ROLE|ALTER ROLE|COMMENT ON ROLE) ("(?:[^"]|"")+"|[^\s;]+)/;

/**
 * Makes the roles and tablespaces of a dump that the server lacks. Roles that it has stay as they are, passwords too.
 * What can't be made (a tablespace's folder that is not there) is a warning.
 */
export async function applyGlobals(client: Queries, file: string): Promise<DatabaseWarning[]> {
  const there = await rolesThere(client);
  const warnings: DatabaseWarning[] = [];
  for (const statement of statementsOf(readFileSync(file, 'utf8'))) {
    const role = aboutRole.exec(statement)?.[1];
    if (role !== undefined && there.has(plain(role))) continue;
    try {
      await client.query(statement);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (/already exists|is already a member/.test(message)) continue;
      // Never the statement itself: it may hold a password.
      const what = statement.split(/\s+/, 3).join(' ');
      warnings.push({
        code: 'GlobalNotRestored',
        message: `${what}${role === undefined ? '' : ` ${role}`}: ${message}`,
      });
    }
  }
  return warnings;
}

/** Statements of pg_dumpall's script: each ends with `;` at the end of a line, outside quotes. */
export function statementsOf(script: string): string[] {
  const statements: string[] = [];
  const pattern = /\s+|--[^\n]*\n|\\[^\n]*\n|((?:'(?:[^']|'')*'|"(?:[^"]|"")*"|[^;'"])+);/gy;
  for (const [, statement] of script.matchAll(pattern))
    if (statement !== undefined && !statement.startsWith('SET ')) statements.push(statement);
  return statements;
}

const plain = (identifier: string): string =>
  identifier.startsWith('"') ? identifier.slice(1, -1).replaceAll('""', '"') : identifier;
