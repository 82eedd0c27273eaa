import { execFileSync, fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { getEventListeners, once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { appendFile, mkdir, open as openFile, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { SftpDestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { fingerprintOf } from '../../src/destinations/fingerprint.js';
import { openDestination } from '../../src/destinations/open.js';
import { compileSource } from '../support/compile.js';
import { mayMount, mountTmpfs } from '../support/mounts.js';
import { makeKey, type Sshd, startSshd } from '../support/sshd.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { conformance, drain, failure, type Subject, sha256 } from './conformance.js';
import { cutting } from './cuts.js';

const MiB = 1024 * 1024;

function configFor(server: Sshd, path: string, more: Partial<SftpDestinationConfig> = {}): SftpDestinationConfig {
  const { port, user, privateKey, hostKey } = server;
  return {
    type: 'sftp',
    host: '127.0.0.1',
    port,
    user,
    privateKey,
    hostKey,
    path,
    connections: 4,
    timeout: 20_000,
    ...more,
  };
}

async function temporaryFiles(path: string): Promise<string[]> {
  const all = await readdir(path, { recursive: true });
  return all.filter((name) => name.split('/').some((part) => part.startsWith('.tmp-')));
}

async function setUp(): Promise<Subject> {
  const server = await startSshd();
  const proxy = await startTcpProxy(server.port);
  const path = join(server.dir, 'backups');
  const open = (more?: Partial<SftpDestinationConfig>, folder = path): Promise<Destination> =>
    openDestination('vault', configFor(server, folder, more));
  return {
    open: () => open(),
    async seed(keys, bytes) {
      for (const folder of new Set(keys.map((key) => dirname(join(path, key)))))
        await mkdir(folder, { recursive: true });
      for (const key of keys) writeFileSync(join(path, key), bytes);
    },
    leftovers: async () => (await temporaryFiles(path)).length,
    away: () => server.kill(),
    back: () => server.restart(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const password = 'not-the-right-password';
      const destination = await open({ password, privateKey: undefined });
      return { destination, secrets: [password, server.privateKey], done: () => destination.close() };
    },
    async readOnly() {
      const sealed = join(server.dir, 'sealed');
      const mount = mayMount ? await mountTmpfs(sealed, '8m') : undefined;
      if (mount === undefined) await mkdir(sealed, { mode: 0o500 });
      else mount.remount('ro');
      const destination = await open({}, sealed);
      return {
        destination,
        codes: [mount === undefined ? 'AuthDenied' : 'DestinationReadOnly'],
        async done() {
          await destination.close();
          await mount?.remove();
        },
      };
    },
    async nearlyFull() {
      const small = join(server.dir, 'small');
      const mount = await mountTmpfs(small, '8m');
      const destination = await open({}, small);
      return {
        destination,
        codes: ['DestinationFull'],
        async done() {
          await destination.close();
          await mount.remove();
        },
      };
    },
    async readCutShort(key) {
      const destination = await open({ port: proxy.port });
      const stream = await destination.get(key);
      await once(stream, 'readable');
      proxy.cutAll();
      await destination.close();
      return stream;
    },
    async stop() {
      await proxy.stop();
      await server.stop();
    },
  };
}

conformance('a folder on an SSH server', setUp);

cutting('a folder on an SSH server', async () => {
  const server = await startSshd();
  const proxy = await startTcpProxy(server.port);
  const path = join(server.dir, 'backups');
  return {
    proxy,
    open: () => openDestination('vault', configFor(server, path, { port: proxy.port })),
    direct: await openDestination('vault', configFor(server, path)),
    async stop() {
      await proxy.stop();
      await server.stop();
    },
  };
});

/** Sends a file, and tells when 8 MiB of it are there. */
const sendScript = `
  import { openDestination } from './destinations/open.js';
  const [config, key, file, sha256] = process.argv.slice(2);
  const destination = await openDestination('vault', JSON.parse(config));
  let sent = 0;
  const onProgress = (bytes) => {
    sent += bytes;
    if (sent > 8 * 1024 * 1024) process.send('enough');
  };
  await destination.put(key, { file }, { sha256, onProgress });
`;

describe('an SSH destination', () => {
  let server: Sshd;
  let proxy: TcpProxy;
  let path: string;
  const opened: Destination[] = [];

  beforeAll(async () => {
    server = await startSshd(mayMount ? { password: 'correct horse' } : {});
    proxy = await startTcpProxy(server.port);
    path = join(server.dir, 'backups');
    await mkdir(path);
  });

  afterAll(async () => {
    await proxy.stop();
    await server.stop();
  });

  afterEach(async () => {
    proxy.cut = undefined;
    proxy.stalled = false;
    proxy.cutAll();
    for (const destination of opened.splice(0)) await destination.close();
  });

  async function open(more: Partial<SftpDestinationConfig> = {}): Promise<Destination> {
    const destination = await openDestination('vault', configFor(server, path, more));
    opened.push(destination);
    return destination;
  }

  async function works(more: Partial<SftpDestinationConfig>): Promise<void> {
    const destination = await open(more);
    await destination.put('login/object', { bytes: Buffer.from('x') });
    expect((await destination.read('login/object', { maxBytes: 1 })).toString()).toBe('x');
  }

  const refusal = async (more: Partial<SftpDestinationConfig>) => failure((await open(more)).stat('login/object'));

  it('logs in with a key under a passphrase, and says what is wrong with one', async () => {
    const file = makeKey(join(server.dir, 'locked'), 'rsa', 'open sesame');
    await appendFile(server.authorizedKeys, await readFile(`${file}.pub`));
    const privateKey = await readFile(file, 'utf8');
    await works({ privateKey, passphrase: 'open sesame' });
    for (const passphrase of [undefined, 'wrong']) {
      const error = await refusal({ privateKey, passphrase });
      expect(error).toMatchObject({ code: 'AuthDenied', retryable: false });
      expect(error.message).toContain('private key');
    }
    const path = await refusal({ privateKey: '~/.ssh/id_ed25519' });
    expect(path.code).toBe('AuthDenied');
    expect(path.hint).toContain('${file:');
    const other = await readFile(makeKey(join(server.dir, 'other')), 'utf8');
    expect((await refusal({ privateKey: other })).code).toBe('AuthDenied');
  });

  it.runIf(mayMount)('logs in with a password', async () => {
    await works({ privateKey: undefined, password: 'correct horse' });
    const error = await refusal({ privateKey: undefined, password: 'battery staple' });
    expect(error).toMatchObject({ code: 'AuthDenied', retryable: false });
    expect(JSON.stringify([error, error.message, error.cause])).not.toContain('battery staple');
  });

  it('logs in with an agent', async () => {
    const socket = join(server.dir, 'agent');
    const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
    try {
      while (!existsSync(socket)) await sleep(5);
      execFileSync('ssh-add', ['-q', '-'], {
        input: server.privateKey,
        env: { ...process.env, SSH_AUTH_SOCK: socket },
      });
      await works({ privateKey: undefined, agent: socket });
      vi.stubEnv('SSH_AUTH_SOCK', socket);
      await works({ privateKey: undefined });
      await works({ privateKey: undefined, agent: true });
      vi.stubEnv('SSH_AUTH_SOCK', undefined);
      expect((await refusal({ privateKey: undefined })).message).toContain('SSH_AUTH_SOCK');
      vi.unstubAllEnvs();
    } finally {
      agent.kill();
    }
  });

  it('refuses a host key that is not known, or not the one that is, and tells both', async () => {
    const knownHosts = join(server.dir, 'known_hosts');
    const name = `[127.0.0.1]:${server.port}`;
    const known = { hostKey: undefined, knownHosts };
    await writeFile(knownHosts, `${name} ${server.hostKeyLine}\n`);
    await works(known);

    const otherFile = makeKey(join(server.dir, 'not-the-host'));
    const otherLine = (await readFile(`${otherFile}.pub`, 'utf8')).split(' ').slice(0, 2).join(' ');
    const otherPrint = fingerprintOf(Buffer.from(otherLine.split(' ')[1] ?? '', 'base64'));
    await writeFile(knownHosts, `${name} ${otherLine}\n`);
    proxy.reset();
    const changed = await refusal(known);
    expect(changed).toMatchObject({ code: 'HostKeyMismatch', retryable: false });
    for (const part of [server.hostKey, otherPrint, `${knownHosts}:1`, 'vault'])
      expect(changed.message).toContain(part);

    await writeFile(knownHosts, `elsewhere ${server.hostKeyLine}\n`);
    const unknown = await refusal(known);
    expect(unknown.code).toBe('HostKeyMismatch');
    expect(unknown.message).toContain(server.hostKey);
    expect(unknown.hint).toContain(`hostKey: "${server.hostKey}"`);

    await writeFile(knownHosts, `@revoked ${name} ${server.hostKeyLine}\n${name} ${server.hostKeyLine}\n`);
    expect((await refusal(known)).message).toContain('revokes');

    expect((await refusal({ hostKey: undefined, knownHosts: join(server.dir, 'absent') })).code).toBe('ConfigInvalid');

    const pinned = await refusal({ hostKey: otherPrint });
    expect(pinned.code).toBe('HostKeyMismatch');
    for (const part of [otherPrint, server.hostKey]) expect(pinned.message).toContain(part);
  });

  it('asks for the type of host key that is known, not for the server’s favourite', async () => {
    const rsaLine = (await readFile(server.hostKeyFile('rsa'), 'utf8')).split(' ').slice(0, 2).join(' ');
    const knownHosts = join(server.dir, 'known_rsa');
    await writeFile(knownHosts, `[127.0.0.1]:${server.port} ${rsaLine}\n`);
    await works({ hostKey: undefined, knownHosts });
    await works({ hostKey: fingerprintOf(Buffer.from(rsaLine.split(' ')[1] ?? '', 'base64')) });
  });

  it('goes through a jump host, whose key is checked too', async () => {
    const { user, privateKey, hostKey, port } = server;
    const jump = { host: '127.0.0.1', port: proxy.port, user, privateKey, hostKey };
    proxy.reset();
    await works({ jump });
    expect(proxy.sent).toBeGreaterThan(1000);
    const wrong = await refusal({ jump: { ...jump, hostKey: `SHA256:${'A'.repeat(43)}` } });
    expect(wrong.code).toBe('HostKeyMismatch');
    expect(wrong.message).toContain('jump host');
    const closed = await refusal({ jump, port: port === 1 ? 2 : 1 });
    expect(closed).toMatchObject({ code: 'DestinationUnreachable', retryable: true });
  });

  it('goes on inside an object after the sender died, and compares what is there first', async () => {
    const bytes = randomBytes(24 * MiB);
    const digest = sha256(bytes);
    const file = join(server.dir, 'pack');
    await writeFile(file, bytes);
    const { dist, remove } = compileSource(['destinations', 'errors.ts']);
    const script = join(dist, 'send.js');
    await writeFile(script, sendScript);
    for (const damage of [false, true]) {
      const key = `resumed/${damage}`;
      const slow = configFor(server, path, { bandwidth: 20_000_000 });
      const sender = fork(script, [JSON.stringify(slow), key, file, digest]);
      await once(sender, 'message');
      sender.kill('SIGKILL');
      await once(sender, 'exit');
      const folder = join(path, 'resumed');
      let [left] = (await readdir(folder)).filter((name) => name.startsWith('.tmp-r-'));
      left = join(folder, left ?? 'nothing');
      await settled(left);
      const had = (await stat(left)).size;
      expect(had).toBeGreaterThan(MiB);
      expect(had).toBeLessThan(bytes.length);
      if (damage) {
        const handle = await openFile(left, 'r+');
        await handle.write(Buffer.from('damage'), 0, 6, 1000);
        await handle.close();
      }
      const destination = await open({ port: proxy.port });
      proxy.reset();
      let progress = 0;
      await destination.put(key, { file }, { sha256: digest, onProgress: (n) => (progress += n) });
      expect(progress).toBe(bytes.length);
      expect(sha256(await readFile(join(path, key)))).toBe(digest);
      if (damage) expect(proxy.sent).toBeGreaterThan(bytes.length);
      else expect(proxy.sent).toBeLessThan(bytes.length - had + 2 * MiB);
      expect(await temporaryFiles(path)).toEqual([]);
    }
    remove();
  });

  it('breaks a connection that went silent within its time-out, and works again after that', async () => {
    const destination = await open({ port: proxy.port, timeout: 1000 });
    const bytes = randomBytes(4 * MiB);
    await destination.put('silent/before', { bytes });
    proxy.stalled = true;
    const began = performance.now();
    const errors = await Promise.all([
      failure(destination.put('silent/object', { bytes })),
      failure(destination.stat('silent/before')),
      failure((async () => drain(await destination.get('silent/before')))()),
    ]);
    for (const error of errors) expect(error).toMatchObject({ code: 'DestinationUnreachable', retryable: true });
    expect(performance.now() - began).toBeLessThan(6000);
    proxy.cutAll();
    proxy.stalled = false;
    await destination.put('silent/object', { bytes });
    expect((await destination.read('silent/object', { maxBytes: bytes.length })).equals(bytes)).toBe(true);
  });

  it('lets go of a server that does not answer when it is cancelled', async () => {
    const destination = await open({ port: proxy.port, timeout: 60_000 });
    await destination.put('silent/before', { bytes: Buffer.from('x') });
    proxy.stalled = true;
    const stop = new AbortController();
    const put = destination.put('silent/cancelled', { bytes: randomBytes(4 * MiB) }, { signal: stop.signal });
    setTimeout(() => stop.abort(), 100);
    const began = performance.now();
    expect((await failure(put)).code).toBe('Cancelled');
    expect(performance.now() - began).toBeLessThan(8000);
  });

  it('sweeps temporary files by age and hides them', async () => {
    const destination = await open();
    await destination.put('swept/object', { bytes: Buffer.from('x') });
    await writeFile(join(path, 'swept', '.tmp-r-old'), 'half');
    await utimes(join(path, 'swept', '.tmp-r-old'), 1, 1);
    await writeFile(join(path, 'swept', '.tmp-new'), 'half');
    const keys: string[] = [];
    for await (const { key } of destination.list('swept/')) keys.push(key);
    expect(keys).toEqual(['swept/object']);
    expect(await destination.sweep('swept/', 3_600_000)).toBe(1);
    expect(await destination.sweep('swept/', -5000)).toBe(1);
    expect(await temporaryFiles(path)).toEqual([]);
  });

  it('creates its own folder, but not what is above it', async () => {
    const error = await failure((await open({ path: join(server.dir, 'not-there', 'backups') })).ensureRoot());
    expect(error.code).toBe('DestinationMissing');
    const here = await open({ path: join(server.dir, 'made') });
    for (const work of [
      () => here.put('a', { bytes: Buffer.from('x') }),
      () => here.stat('a'),
      () => here.read('a', { maxBytes: 1 }),
    ])
      expect((await failure(work())).code).toBe('DestinationMissing');
    await here.ensureRoot();
    await here.put('a/b', { bytes: Buffer.from('x') });
    expect((await stat(join(server.dir, 'made', 'a'))).mode & 0o777).toBe(0o700);
    expect((await stat(join(server.dir, 'made', 'a/b'))).mode & 0o777).toBe(0o600);
    await rm(join(server.dir, 'made', 'a'), { recursive: true });
    await here.put('a/c', { bytes: Buffer.from('y') });
    expect((await here.stat('a/c'))?.size).toBe(1);
  });

  it('keeps to a limit of connections', async () => {
    const destination = await open({ port: proxy.port, connections: 2 });
    const before = proxy.connections;
    await Promise.all(Array.from({ length: 8 }, (_, n) => destination.put(`many/${n}`, { bytes: randomBytes(MiB) })));
    expect(proxy.connections - before).toBe(2);
  });

  it('leaves nothing behind at the signal of whoever let it log in', async () => {
    const { signal } = new AbortController();
    const destination = await open();
    await destination.put('signal/object', { bytes: randomBytes(MiB) }, { signal });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});

/** Waits until the server has written what reached it before the sender died. */
async function settled(file: string): Promise<void> {
  for (let before = -1, now = (await stat(file)).size; before !== now; now = (await stat(file)).size) {
    before = now;
    await sleep(150);
  }
}
