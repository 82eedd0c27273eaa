import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { answers } from './answers.js';
import { type Certificate, makeCertificate } from './certificate.js';
import { freePort } from './free-port.js';
import { killTree } from './process-tree.js';

export interface VsftpdOptions {
  tls?: 'explicit' | 'implicit';
  /** More settings, such as `write_enable=NO`. */
  config?: string[];
}

/** A real FTP server on the loopback, for one test file. */
export interface Vsftpd {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** The folder that a login sees as `/`. */
  readonly dir: string;
  readonly certificate: Certificate;
  /** Passive ports: the first and the last. */
  readonly passive: [number, number];
  /** Makes a folder in `dir` that the server may write to. */
  folder(name: string): Promise<string>;
  /** Ends it and all sessions at once, as a crash would. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const program = ['/usr/sbin/vsftpd', '/usr/local/sbin/vsftpd'].find((path) => existsSync(path)) ?? 'vsftpd';
/** The server's name in its certificate. */
export const serverName = 'ftp.test';
/** Whom the server acts as: any system user whose home exists. */
export const ftpUser = { name: 'daemon', uid: 1 };

export async function startVsftpd(options: VsftpdOptions = {}): Promise<Vsftpd> {
  const base = await mkdtemp(join(tmpdir(), 'holdfast-ftp-'));
  await chmod(base, 0o755);
  const dir = join(base, 'root');
  const etc = join(base, 'etc');
  await mkdir(dir, { mode: 0o755 });
  await mkdir(etc, { mode: 0o700 });
  const certificate = makeCertificate(etc, serverName);
  const port = await freePort();
  const first = 20_000 + Math.floor(Math.random() * 400) * 32;
  const passive: [number, number] = [first, first + 31];
  const password = 'a-password-for-tests';
  // Anonymous logins whose password has to be in a list: passwords without touching the system's users.
  await writeFile(join(etc, 'passwords'), `${password}\n`);
  const config = join(etc, 'vsftpd.conf');
  const tls =
    options.tls === undefined
      ? ['ssl_enable=NO']
      : [
          'ssl_enable=YES',
          `implicit_ssl=${options.tls === 'implicit' ? 'YES' : 'NO'}`,
          `rsa_cert_file=${certificate.certFile}`,
          `rsa_private_key_file=${certificate.keyFile}`,
          'allow_anon_ssl=YES',
          'force_anon_logins_ssl=YES',
          'force_anon_data_ssl=YES',
          'require_ssl_reuse=YES',
        ];
  await writeFile(
    config,
    [
      'listen=YES',
      'listen_address=127.0.0.1',
      `listen_port=${port}`,
      'background=NO',
      'anonymous_enable=YES',
      'local_enable=NO',
      `anon_root=${dir}`,
      'secure_email_list_enable=YES',
      `email_password_file=${join(etc, 'passwords')}`,
      `ftp_username=${ftpUser.name}`,
      'nopriv_user=nobody',
      'write_enable=YES',
      'anon_upload_enable=YES',
      'anon_mkdir_write_enable=YES',
      'anon_other_write_enable=YES',
      'anon_world_readable_only=NO',
      'anon_umask=077',
      `secure_chroot_dir=${etc}`,
      `pasv_min_port=${passive[0]}`,
      `pasv_max_port=${passive[1]}`,
      'pasv_promiscuous=YES',
      'seccomp_sandbox=NO',
      'xferlog_enable=NO',
      'delay_failed_login=0',
      ...tls,
      ...(options.config ?? []),
      '',
    ].join('\n'),
  );
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    let said = '';
    const started = spawn(program, [config], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [started.stdout, started.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said = (said + text).slice(-4000);
      });
    }
    child = started;
    for (const deadline = Date.now() + 10_000; !(await answers(port)); await sleep(10)) {
      if (started.exitCode !== null || Date.now() > deadline) throw new Error(`vsftpd did not start:\n${said}`);
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
  return {
    port,
    user: 'anonymous',
    password,
    dir,
    certificate,
    passive,
    async folder(name) {
      const path = join(dir, name);
      await mkdir(path, { recursive: true });
      if (process.getuid?.() === 0) await chown(path, ftpUser.uid, ftpUser.uid);
      return path;
    },
    kill,
    restart: start,
    async stop() {
      await kill();
      await rm(base, { recursive: true, force: true });
    },
  };
}
