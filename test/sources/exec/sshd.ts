import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../support/free-port.js';

/** A real sshd of OpenSSH that lets this user in with one key. */
export interface Sshd {
  port: number;
  user: string;
  /** The key that is let in, OpenSSH format. */
  privateKey: string;
  /** Where that key's file is. */
  keyFile: string;
  /** `SHA256:...` */
  hostKey: string;
  folder: string;
  stop(): Promise<void>;
}

export async function startSshd(): Promise<Sshd> {
  const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-sshd-'));
  const key = (name: string): string => {
    const file = path.join(folder, name);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
    return file;
  };
  const hostFile = key('host');
  const keyFile = key('user');
  const port = await freePort();
  const config = path.join(folder, 'sshd_config');
  writeFileSync(
    config,
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${hostFile}`,
      `AuthorizedKeysFile ${keyFile}.pub`,
      `PidFile ${path.join(folder, 'pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PermitRootLogin yes',
      'PasswordAuthentication no',
      '',
    ].join('\n'),
  );
  // Its privilege separation insists on this folder.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const child: ChildProcess = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  for (const deadline = Date.now() + 20_000; !(await answers(port)); await sleep(20)) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`sshd did not start: ${said}`);
  }
  const [, hostKey = ''] = execFileSync('ssh-keygen', ['-lf', `${hostFile}.pub`], { encoding: 'utf8' }).split(' ');
  return {
    port,
    user: userInfo().username,
    privateKey: readFileSync(keyFile, 'utf8'),
    keyFile,
    hostKey,
    folder,
    async stop() {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('data', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });
}
