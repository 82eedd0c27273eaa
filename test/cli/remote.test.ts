import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import { TestHost } from '../support/cli.js';
import { type Sshd, startSshd } from '../support/sshd.js';
import { serverName, startVsftpd, type Vsftpd } from '../support/vsftpd.js';

let host: TestHost;
let ssh: Sshd;
let ftp: Vsftpd;

beforeAll(async () => {
  [host, ssh, ftp] = await Promise.all([TestHost.make(), startSshd(), startVsftpd({ tls: 'explicit' })]);
  await ftp.folder('backups');
  await mkdir(join(host.source, 'folder'));
  await writeFile(join(host.source, 'folder', 'large'), randomBytes(6_000_000));
  for (let n = 0; n < 50; n++) await writeFile(join(host.source, `file-${n}`), randomBytes(3000));
  await writeFile(host.path('ftp-password'), `${ftp.password}\n`);
  await writeFile(host.path('key'), ssh.privateKey, { mode: 0o600 });
  await host.configure({
    destinations: {
      disk: { type: 'local', path: host.path('disk') },
      vault: {
        type: 'sftp',
        host: '127.0.0.1',
        port: ssh.port,
        user: ssh.user,
        privateKey: `\${file:${host.path('key')}}`,
        hostKey: ssh.hostKey,
        path: join(ssh.dir, 'vault'),
      },
      old: {
        type: 'ftp',
        host: '127.0.0.1',
        port: ftp.port,
        user: ftp.user,
        password: `\${file:${host.path('ftp-password')}}`,
        path: '/backups',
        caFile: ftp.certificate.caFile,
        serverName,
      },
    },
    jobs: { site: { sources: [{ type: 'files', paths: [host.source] }], destinations: ['disk', 'vault', 'old'] } },
  });
});

afterAll(async () => {
  await host.remove();
  await Promise.all([ssh.stop(), ftp.stop()]);
});

it('backs up to a disk, an SSH server and an FTP server, and restores from each alone', async () => {
  const run = await host.json<RunDocument>(['backup', 'site']);
  expect(run.status).toBe('succeeded');
  expect(run.destinations.map(({ name, status }) => `${name} ${status}`)).toEqual([
    'disk stored',
    'vault stored',
    'old stored',
  ]);
  const places = { disk: host.path('disk'), vault: join(ssh.dir, 'vault'), old: join(ftp.dir, 'backups') };
  for (const name of ['disk', 'vault', 'old'] as const) {
    for (const [other, place] of Object.entries(places))
      if (other !== name) execFileSync('mv', [place, `${place}-away`]);
    const out = host.path(`restored-${name}`);
    await host.json(['restore', 'site', '--to', out]);
    execFileSync('diff', ['-r', host.source, join(out, host.source)]);
    for (const [other, place] of Object.entries(places))
      if (other !== name) execFileSync('mv', [`${place}-away`, place]);
    await rm(out, { recursive: true });
  }
});

it('tests such destinations, and says what is wrong with one', async () => {
  const { checks } = await host.json<{ checks: { name: string; status: string; message: string }[] }>([
    'destinations',
    'test',
  ]);
  expect(checks.filter(({ status }) => status !== 'ok')).toEqual([]);
  expect(checks.map(({ message }) => message).join()).toContain('free');
  await writeFile(host.path('ftp-password'), 'another-password\n');
  await ssh.kill();
  const { code, stdout } = await host.run(['doctor', '--json']);
  expect(code).toBe(1);
  expect(stdout).toContain('refuses the login');
  expect(stdout).toContain('unreachable');
  expect(stdout).not.toContain('another-password');
});
