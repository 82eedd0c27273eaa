import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Server } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTunnel, type SshConfig } from '../../../src/sources/exec/ssh-tunnel.js';
import { type Sshd, startSshd } from './sshd.js';

let sshd: Sshd;
let echo: Server;
let config: SshConfig;
const { signal } = new AbortController();
const echoPort = () => (echo.address() as AddressInfo).port;

beforeAll(async () => {
  sshd = await startSshd();
  echo = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const { port, user, privateKey, hostKey } = sshd;
  config = { host: '127.0.0.1', port, user, privateKey, hostKey };
});
afterAll(async () => {
  echo.close();
  await sshd.stop();
});

/** What comes back when `text` is sent; empty when the connection is closed without an answer. */
async function said(where: NetConnectOpts, text: string): Promise<string> {
  const socket = connect(where);
  socket.setEncoding('utf8').end(text);
  let answer = '';
  socket.on('data', (part) => {
    answer += String(part);
  });
  await once(socket, 'close');
  return answer;
}

test('a port of this machine leads to a port behind the host', async () => {
  const tunnel = await openTunnel(config, { host: 'localhost', port: echoPort() }, 'port', signal);
  if (!('port' in tunnel.near)) throw new Error('expected a port');
  const big = 'x'.repeat(1_000_000);
  expect(await said(tunnel.near, 'hello')).toBe('hello');
  expect(await said(tunnel.near, big)).toBe(big);
  await tunnel.close();
  await expect(said(tunnel.near, 'hello')).rejects.toThrow('ECONNREFUSED');
});

test('a private socket leads to a socket behind the host', async () => {
  const far = path.join(sshd.folder, 'far.sock');
  const server = createServer((socket) => socket.pipe(socket)).listen(far);
  await once(server, 'listening');
  const tunnel = await openTunnel(config, { socket: far }, { socketName: '.s.PGSQL.5432' }, signal);
  if (!('socket' in tunnel.near)) throw new Error('expected a socket');
  expect(path.basename(tunnel.near.socket)).toBe('.s.PGSQL.5432');
  expect(statSync(tunnel.near.folder).mode & 0o777).toBe(0o700);
  expect(await said({ path: tunnel.near.socket }, 'hello')).toBe('hello');
  await tunnel.close();
  expect(existsSync(tunnel.near.folder)).toBe(false);
  server.close();
});

test('nothing behind the host: the connection is closed', async () => {
  const tunnel = await openTunnel(config, { socket: '/nowhere' }, 'port', signal);
  if (!('port' in tunnel.near)) throw new Error('expected a port');
  expect(await said(tunnel.near, 'hello').catch(() => '')).toBe('');
  await tunnel.close();
});

test('another host key than the expected one is refused and named', async () => {
  const hostKey = `SHA256:${'A'.repeat(43)}`;
  await expect(openTunnel({ ...config, hostKey }, { socket: '/x' }, 'port', signal)).rejects.toMatchObject({
    code: 'AuthDenied',
    message: expect.stringContaining(sshd.hostKey),
  });
});

test('a key that is not let in, no key at all, no host', async () => {
  const other = path.join(sshd.folder, 'other');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', 'words', '-f', other]);
  const privateKey = execFileSync('cat', [other], { encoding: 'utf8' });
  const open = (change: Partial<SshConfig>) => openTunnel({ ...config, ...change }, { socket: '/x' }, 'port', signal);
  await expect(open({ privateKey, passphrase: 'words' })).rejects.toMatchObject({
    code: 'AuthDenied',
    message: expect.stringContaining('refuses the user'),
  });
  await expect(open({ privateKey, passphrase: 'wrong' })).rejects.toMatchObject({ code: 'AuthDenied' });
  await expect(open({ privateKey: 'nonsense' })).rejects.toMatchObject({ code: 'AuthDenied' });
  await expect(open({ port: 1 })).rejects.toMatchObject({
    code: 'SourceFailed',
    message: expect.stringContaining('ECONNREFUSED'),
  });
});

test('cancelling ends the attempt', async () => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const controller = new AbortController();
  const { port } = silent.address() as AddressInfo;
  const opening = openTunnel({ ...config, port }, { socket: '/x' }, 'port', controller.signal);
  await once(silent, 'connection');
  controller.abort(new Error('no more'));
  await expect(opening).rejects.toThrow('no more');
  silent.close();
});
