import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { answers } from './answers.js';
import { freePort } from './free-port.js';
import { killTree } from './process-tree.js';
import { ftpUser } from './vsftpd.js';

const unpacked = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'holdfast', 'tools', 'proftpd', 'usr');

/** A real FTP server that knows what vsftpd does not: MLSD, HASH, XSHA256. Without TLS. */
export interface Proftpd {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** The folder that a login sees as `/`. */
  readonly dir: string;
  readonly passive: [number, number];
  stop(): Promise<void>;
}

/** @param config more lines of its configuration, such as a `<Limit>` */
export async function startProftpd(...config: string[]): Promise<Proftpd> {
  const base = await mkdtemp(join(tmpdir(), 'holdfast-proftpd-'));
  await chmod(base, 0o755);
  const dir = join(base, 'root');
  await mkdir(dir);
  await chown(dir, ftpUser.uid, ftpUser.uid);
  const port = await freePort();
  const first = 33_000 + Math.floor(Math.random() * 200) * 32;
  const passive: [number, number] = [first, first + 31];
  const user = 'backup';
  const password = 'a-password-for-tests';
  const hash = execFileSync('openssl', ['passwd', '-1', '-stdin'], { input: password, encoding: 'utf8' }).trim();
  const users = join(base, 'users');
  await writeFile(users, `${user}:${hash}:${ftpUser.uid}:${ftpUser.uid}::${dir}:/bin/false\n`, { mode: 0o600 });
  const file = join(base, 'proftpd.conf');
  await writeFile(
    file,
    [
      `ModulePath ${join(unpacked, 'lib', 'proftpd')}`,
      'LoadModule mod_digest.c',
      'ServerType standalone',
      'DefaultAddress 127.0.0.1',
      `Port ${port}`,
      `User ${ftpUser.name}`,
      `Group ${ftpUser.name}`,
      'AuthOrder mod_auth_file.c',
      `AuthUserFile ${users}`,
      'RequireValidShell off',
      `DefaultRoot ${dir}`,
      'Umask 077',
      'AllowOverwrite on',
      'AllowStoreRestart on',
      'UseIPv6 off',
      'UseReverseDNS off',
      'WtmpLog off',
      'TransferLog none',
      'SystemLog none',
      `PidFile ${join(base, 'pid')}`,
      `ScoreboardFile ${join(base, 'scoreboard')}`,
      `PassivePorts ${passive[0]} ${passive[1]}`,
      'AllowForeignAddress on',
      'DigestEngine on',
      ...config,
      '',
    ].join('\n'),
  );
  let said = '';
  const child: ChildProcess = spawn(join(unpacked, 'sbin', 'proftpd'), ['--nodaemon', '--config', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4000);
    });
  }
  for (const deadline = Date.now() + 20_000; !(await answers(port)); await sleep(10)) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`These tests need ProFTPD (scripts/install-tools.sh), which did not start:\n${said}`);
    }
  }
  return {
    port,
    user,
    password,
    dir,
    passive,
    async stop() {
      if (child.pid !== undefined && child.exitCode === null) {
        const gone = once(child, 'exit');
        killTree(child.pid);
        await gone;
      }
      await rm(base, { recursive: true, force: true });
    },
  };
}
