import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.js';

/** A MariaDB server of Debian's package on a temporary folder, with root@localhost without a password. */
export interface MariaDb {
  socket: string;
  port: number;
  folder: string;
  /** Statements through the server's own client, `delimiter` and all; the output as tab-separated lines. */
  sql(statements: string, database?: string): string;
  /** Ends the server as a crash would. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export async function startMariaDb(...options: string[]): Promise<MariaDb> {
  const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-mariadb-'));
  const data = path.join(folder, 'data');
  const user = process.getuid?.() === 0 ? ['--user=root'] : [];
  execFileSync(
    'mariadb-install-db',
    ['--no-defaults', ...user, `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db'],
    { stdio: 'ignore' },
  );
  const socket = path.join(folder, 'server.sock');
  const port = await freePort();
  const child: ChildProcess = spawn(
    '/usr/sbin/mariadbd',
    [
      '--no-defaults',
      ...user,
      `--datadir=${data}`,
      `--socket=${socket}`,
      `--port=${port}`,
      `--pid-file=${path.join(folder, 'pid')}`,
      '--bind-address=127.0.0.1',
      '--skip-name-resolve',
      '--innodb-flush-log-at-trx-commit=0',
      '--innodb-buffer-pool-size=32M',
      '--innodb-log-file-size=16M',
      ...options,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  for (const deadline = Date.now() + 60_000; !said.includes('ready for connections'); await sleep(20)) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`mariadbd did not start: ${said}`);
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  };
  return {
    socket,
    port,
    folder,
    sql(statements, database = '') {
      return execFileSync(
        'mariadb',
        [
          '--no-defaults',
          `--socket=${socket}`,
          '--user=root',
          '--default-character-set=utf8mb4',
          '--comments',
          '--batch',
          '--skip-column-names',
          ...(database === '' ? [] : [database]),
        ],
        { input: statements, encoding: 'utf8', maxBuffer: 64 << 20 },
      );
    },
    kill: () => end('SIGKILL'),
    async stop() {
      await end('SIGTERM');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
