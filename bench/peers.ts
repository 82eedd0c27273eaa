import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Contender, Round } from './contender.js';
import { type Cost, run } from './measure.js';

type Kind = 'restic' | 'kopia' | 'borg';

/** The peer with this name: its program is named by RESTIC, KOPIA or BORG, or `path`, else taken from PATH. */
export function peer(name: string, path?: string): Contender {
  const kind = (['restic', 'kopia', 'borg'] as const).find((candidate: Kind) => name.startsWith(candidate));
  if (kind === undefined) throw new Error(`unknown peer ${name}: restic, kopia and borg are known`);
  const program = path ?? process.env[kind.toUpperCase()] ?? kind;
  return { restic, kopia, borg }[kind](name, program);
}

const close = async (): Promise<void> => {};
const same = (round: Round, out: string): string => join(out, round.data);

function restic(name: string, program: string): Contender {
  const repository = (round: Round): string => join(round.work, 'repository');
  const call = (round: Round, ...args: string[]): Promise<Cost> =>
    run({
      program,
      args: ['-r', repository(round), ...args],
      env: { RESTIC_PASSWORD: 'bench', RESTIC_CACHE_DIR: join(round.work, 'cache') },
    });
  return {
    name,
    close,
    repository,
    restored: same,
    version: () => versionOf(program, ['version']),
    init: async (round) => void (await call(round, 'init', '-q')),
    backup: (round) => call(round, 'backup', '-q', round.data),
    restore: (round, out) => call(round, 'restore', '-q', 'latest', '-t', out),
  };
}

function kopia(name: string, program: string): Contender {
  const repository = (round: Round): string => join(round.work, 'repository');
  const call = (round: Round, ...args: string[]): Promise<Cost> =>
    run({
      program,
      args: ['--config-file', join(round.work, 'kopia.config'), '--log-dir', join(round.work, 'log'), ...args],
      env: {
        KOPIA_PASSWORD: 'bench',
        KOPIA_CHECK_FOR_UPDATES: 'false',
        KOPIA_CACHE_DIRECTORY: join(round.work, 'cache'),
      },
    });
  return {
    name,
    close,
    repository,
    restored: (_round, out) => out,
    version: () => versionOf(program, ['--version']),
    init: async (round) => {
      await call(round, 'repository', 'create', 'filesystem', '--path', repository(round));
      await call(round, 'policy', 'set', '--global', '--compression', 'zstd');
    },
    backup: (round) => call(round, 'snapshot', 'create', '--no-progress', round.data),
    restore: async (round, out) => {
      const listed = await call(round, 'snapshot', 'list', '--json', round.data);
      const snapshots = JSON.parse(listed.stdout) as { id: string }[];
      return call(round, 'restore', '--no-progress', snapshots.at(-1)?.id ?? '', out);
    },
  };
}

function borg(name: string, program: string): Contender {
  const repository = (round: Round): string => join(round.work, 'repository');
  let archives = 0;
  const call = (round: Round, args: string[], cwd?: string): Promise<Cost> =>
    run({ program, args, cwd, env: { BORG_PASSPHRASE: 'bench', BORG_BASE_DIR: join(round.work, 'base') } });
  return {
    name,
    close,
    repository,
    restored: same,
    version: () => versionOf(program, ['--version']),
    init: async (round) => {
      mkdirSync(join(round.work, 'base'), { recursive: true });
      await call(round, ['init', '-e', 'repokey', repository(round)]);
    },
    backup: (round) => {
      archives += 1;
      return call(round, ['create', '-C', 'zstd,3', `${repository(round)}::a${archives}`, round.data]);
    },
    restore: (round, out) => call(round, ['extract', `${repository(round)}::a${archives}`], out),
  };
}

async function versionOf(program: string, args: string[]): Promise<string> {
  return (await run({ program, args })).stdout.trim().split('\n')[0] ?? '';
}
