import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { HoldfastError } from '../../errors.js';
import { runTool } from '../exec/run-tool.js';

/** One installation of PostgreSQL's client programs. */
export interface Tools {
  folder: string;
  major: number;
  /** As the program names itself: `pg_dump (PostgreSQL) 15.13`. */
  version: string;
}

type Run = { signal: AbortSignal; processes: string };

/** Where distributions put each major version; newest first within each. */
const places: readonly { parent: string; folder: RegExp }[] = [
  { parent: '/usr/lib/postgresql', folder: /^\d+(\.\d+)?$/ },
  { parent: '/usr', folder: /^pgsql-\d+$/ },
  { parent: '/opt/homebrew/opt', folder: /^(postgresql@\d+|libpq)$/ },
  { parent: '/usr/local/opt', folder: /^(postgresql@\d+|libpq)$/ },
  { parent: '/Library/PostgreSQL', folder: /^\d+$/ },
];

const program = (name: string): string => (process.platform === 'win32' ? `${name}.exe` : name);

/**
 * The client programs whose version is the nearest to `server` and not below it: an older pg_dump refuses a newer server,
 * and a much newer one writes what an older server can't restore.
 * @throws HoldfastError ToolMissing that names what there is and how to get what is needed.
 */
export async function findTools(server: number, context: Run): Promise<Tools> {
  const found: Tools[] = [];
  for (const folder of folders()) {
    const tools = await toolsIn(folder, context);
    if (tools) found.push(tools);
  }
  const best = found.filter(({ major }) => major >= server).sort((a, b) => a.major - b.major)[0];
  if (best) return best;
  const there =
    found.length === 0
      ? 'none is installed'
      : `there is ${found.map(({ folder, major }) => `${major} in ${folder}`).join(', ')}`;
  throw new HoldfastError(
    'ToolMissing',
    `the server is PostgreSQL ${server} and needs pg_dump ${server} or newer; ${there}`,
    {
      hint: `Debian, Ubuntu: apt install postgresql-client-${server} (newer ones: apt.postgresql.org); Fedora: dnf install postgresql; macOS: brew install libpq.`,
    },
  );
}

function folders(): string[] {
  const found = places.flatMap(({ parent, folder }) =>
    namesIn(parent)
      .filter((name) => folder.test(name))
      .map((name) => path.join(parent, name, 'bin')),
  );
  const onPath = (process.env.PATH ?? '').split(path.delimiter).filter((folder) => path.isAbsolute(folder));
  return [...new Set([...found, ...onPath])].filter((folder) =>
    ['pg_dump', 'pg_dumpall', 'pg_restore'].every((name) => isFile(path.join(folder, program(name)))),
  );
}

async function toolsIn(folder: string, { signal, processes }: Run): Promise<Tools | undefined> {
  const { exitCode, stdout } = await runTool({
    argv: [toolPath({ folder }, 'pg_dump'), '--version'],
    signal,
    processes,
  });
  const version = stdout.trim();
  const major = majorOf(version);
  return exitCode === 0 && major !== undefined ? { folder, major, version } : undefined;
}

/** 15 of `pg_dump (PostgreSQL) 15.13 (Debian ...)`. */
export function majorOf(version: string): number | undefined {
  const match = /\) (\d+)/.exec(version);
  return match ? Number(match[1]) : undefined;
}

export const toolPath = (tools: { folder: string }, name: string): string => path.join(tools.folder, program(name));

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort().reverse();
  } catch {
    return [];
  }
}

function isFile(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() === true;
}
