import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fingerprintOf } from '../../src/destinations/fingerprint.js';
import { answers } from './answers.js';
import { freePort } from './free-port.js';
import { killTree } from './process-tree.js';

export interface SshdOptions {
  /** More lines for sshd_config. */
  config?: string[];
  /** Arguments of the SFTP server, such as `-R`. */
  sftp?: string;
  /** A password for this user, without touching the system's own (needs root). */
  password?: string;
}

/** A real OpenSSH server on the loopback, for one test file; it lets this process's user in. */
export interface Sshd {
  readonly port: number;
  readonly user: string;
  /** The private key that may log in. */
  readonly privateKey: string;
  /** `SHA256:...` of its ed25519 host key. */
  readonly hostKey: string;
  /** Its host key's line for known_hosts, without the name: `ssh-ed25519 AAAA...`. */
  readonly hostKeyLine: string;
  /** Public keys that may log in. */
  readonly authorizedKeys: string;
  /** The file of its public host key of a type: ed25519, rsa, ecdsa. */
  hostKeyFile(type: string): string;
  /** Its own folder, for tests to use. */
  readonly dir: string;
  /** Ends it and all sessions at once, as a crash would. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const program = ['/usr/sbin/sshd', '/usr/bin/sshd', '/usr/local/sbin/sshd'].find((path) => existsSync(path)) ?? 'sshd';

/** Makes a key pair and returns the private key's file; its public key is in the same place with `.pub`. */
export function makeKey(file: string, type = 'ed25519', passphrase = ''): string {
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', passphrase, '-C', 'test', '-f', file]);
  return file;
}

export async function startSshd(options: SshdOptions = {}): Promise<Sshd> {
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-sshd-'));
  const etc = join(dir, 'etc');
  await mkdir(etc, { mode: 0o700 });
  const hostKeys = ['ed25519', 'rsa', 'ecdsa'].map((type) => makeKey(join(etc, `host_${type}`), type));
  const clientKey = makeKey(join(etc, 'client'));
  const port = await freePort();
  const config = join(etc, 'sshd_config');
  // sshd as root insists on this folder.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  await writeFile(
    config,
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      ...hostKeys.map((key) => `HostKey ${key}`),
      `AuthorizedKeysFile ${clientKey}.pub`,
      `PidFile ${join(etc, 'pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PermitRootLogin yes',
      `PasswordAuthentication ${options.password === undefined ? 'no' : 'yes'}`,
      'KbdInteractiveAuthentication no',
      'MaxStartups 100',
      'UseDNS no',
      `Subsystem sftp internal-sftp ${options.sftp ?? ''}`,
      ...(options.config ?? []),
      '',
    ].join('\n'),
  );
  const command = [program, '-D', '-e', '-f', config];
  if (options.password !== undefined) {
    const shadow = join(etc, 'shadow');
    const hash = execFileSync('openssl', ['passwd', '-6', options.password], { encoding: 'utf8' }).trim();
    await writeFile(shadow, `${userInfo().username}:${hash}:19000:0:99999:7:::\n`, { mode: 0o600 });
    // A mount namespace of its own: nobody else sees this file in place of the system's.
    command.unshift('unshare', '-m', 'sh', '-c', `mount --bind "$0" /etc/shadow && exec "$@"`, shadow);
  }
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const [first = '', ...rest] = command;
    let said = '';
    const started = spawn(first, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
    started.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4000);
    });
    child = started;
    for (const deadline = Date.now() + 10_000; !(await answers(port)); await sleep(10)) {
      if (started.exitCode !== null || Date.now() > deadline) throw new Error(`sshd did not start:\n${said}`);
    }
  };
  const kill = async (): Promise<void> => {
    const running = child;
    child = undefined;
    if (running?.pid === undefined || running.exitCode !== null) return;
    const gone = once(running, 'exit');
    killTree(running.pid);
    await gone;
  };
  await start();
  const hostKeyLine = (await readFile(join(etc, 'host_ed25519.pub'), 'utf8')).split(' ').slice(0, 2).join(' ');
  return {
    port,
    user: userInfo().username,
    privateKey: await readFile(clientKey, 'utf8'),
    hostKey: fingerprintOf(Buffer.from(hostKeyLine.split(' ')[1] ?? '', 'base64')),
    hostKeyLine,
    authorizedKeys: `${clientKey}.pub`,
    hostKeyFile: (type) => join(etc, `host_${type}.pub`),
    dir,
    kill,
    restart: start,
    async stop() {
      await kill();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
