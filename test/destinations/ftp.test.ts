import { execFileSync } from 'node:child_process';
import { randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { chown, mkdir, open as openFile, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { FtpDestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { fingerprintOf } from '../../src/destinations/fingerprint.js';
import { modifiedOf, strictList } from '../../src/destinations/ftp-list.js';
import { openDestination } from '../../src/destinations/open.js';
import { mayMount, mountTmpfs } from '../support/mounts.js';
import { startProftpd } from '../support/proftpd.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { ftpUser, serverName, startVsftpd, type Vsftpd, type VsftpdOptions } from '../support/vsftpd.js';
import { conformance, drain, failure, type Subject, sha256 } from './conformance.js';
import { cutting } from './cuts.js';

const MiB = 1024 * 1024;

function configFor(
  server: Vsftpd,
  tls: FtpDestinationConfig['tls'],
  more: Partial<FtpDestinationConfig> = {},
): FtpDestinationConfig {
  const { port, user, password, certificate } = server;
  return {
    type: 'ftp',
    host: '127.0.0.1',
    port,
    user,
    password,
    path: '/backups',
    tls,
    ...(tls !== 'off' && { caFile: certificate.caFile, serverName }),
    verify: 'auto',
    connections: 4,
    timeout: 20_000,
    ...more,
  };
}

async function temporaryFiles(path: string): Promise<string[]> {
  const all = await readdir(path, { recursive: true });
  return all.filter((name) => name.split('/').some((part) => part.startsWith('.tmp-')));
}

/** Cuts an upload off at `bytes`, once the server has written most of them, and returns its error. */
async function cutOff(proxy: TcpProxy, folder: string, bytes: number, put: () => Promise<unknown>) {
  proxy.reset();
  proxy.stallAt = { sent: bytes };
  const cut = failure(put());
  await vi.waitUntil(async () => (await temporarySize(folder)) > bytes * 0.75, { timeout: 15_000, interval: 20 });
  proxy.cutAll();
  // New connections, such as the one that asks for the reason, work.
  proxy.stallAt = undefined;
  proxy.stalled = false;
  return cut;
}

async function temporarySize(path: string): Promise<number> {
  const sizes = (await temporaryFiles(path)).map(async (name) => (await stat(join(path, name))).size);
  return Math.max(0, ...(await Promise.all(sizes)));
}

async function setUp(tls: FtpDestinationConfig['tls']): Promise<Subject> {
  const options: VsftpdOptions = tls === 'off' ? {} : { tls };
  const server = await startVsftpd(options);
  const proxy = await startTcpProxy(server.port);
  const path = await server.folder('backups');
  const open = (more?: Partial<FtpDestinationConfig>): Promise<Destination> =>
    openDestination('old', configFor(server, tls, more));
  return {
    open: () => open(),
    async seed(keys, bytes) {
      for (const folder of new Set(keys.map((key) => dirname(join(path, key)))))
        await mkdir(folder, { recursive: true });
      for (const key of keys) writeFileSync(join(path, key), bytes);
      execFileSync('chown', ['-R', String(ftpUser.uid), path]);
    },
    leftovers: async () => (await temporaryFiles(path)).length,
    away: () => server.kill(),
    back: () => server.restart(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const password = 'not-the-right-password';
      const destination = await open({ password });
      return { destination, secrets: [password], done: () => destination.close() };
    },
    async readOnly() {
      const sealed = await server.folder('sealed');
      const mount = mayMount ? await mountTmpfs(sealed, '8m') : undefined;
      await chown(sealed, ftpUser.uid, ftpUser.uid);
      mount?.remount('ro');
      const destination = await open({ path: '/sealed' });
      return {
        destination,
        codes: ['AuthDenied', 'DestinationReadOnly'],
        async done() {
          await destination.close();
          await mount?.remove();
        },
      };
    },
    async nearlyFull() {
      const small = await server.folder('small');
      const mount = await mountTmpfs(small, '8m');
      await chown(small, ftpUser.uid, ftpUser.uid);
      const destination = await open({ path: '/small' });
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
      return stream;
    },
    async stop() {
      await proxy.stop();
      await server.stop();
    },
  };
}

conformance('a folder on an FTP server', () => setUp('off'));
conformance('a folder on an FTP server with TLS', () => setUp('explicit'));

for (const tls of ['off', 'explicit'] as const) {
  cutting(`a folder on an FTP server, tls ${tls}`, async () => {
    const server = await startVsftpd(tls === 'off' ? {} : { tls });
    // The data connections go where the control connection went, so that the proxy has to stand at another address.
    const proxy = await startTcpProxy(server.port, { host: '127.0.0.2', samePorts: server.passive });
    await server.folder('backups');
    return {
      proxy,
      open: () => openDestination('old', configFor(server, tls, { host: '127.0.0.2', port: proxy.port })),
      direct: await openDestination('old', configFor(server, tls)),
      async stop() {
        await proxy.stop();
        await server.stop();
      },
    };
  });
}

describe('a server that lists by MLSD and tells checksums', () => {
  it.each([
    ['XSHA256', []],
    ['HASH', ['<Limit XSHA256>', 'DenyAll', '</Limit>']],
    ['neither', ['<Limit XSHA256 HASH>', 'DenyAll', '</Limit>']],
  ])('%s: stores, checks, goes on, lists, replaces and deletes', async (command, limits) => {
    const server = await startProftpd(...limits);
    const proxy = await startTcpProxy(server.port, { host: '127.0.0.2', samePorts: server.passive });
    const { user, password } = server;
    const common = { type: 'ftp', user, password, path: '/backups', tls: 'off', verify: 'auto' } as const;
    const config = { ...common, host: '127.0.0.2', port: proxy.port, connections: 2, timeout: 20_000 };
    const destination = await openDestination('old', config);
    try {
      await destination.ensureRoot();
      const bytes = randomBytes(3 * MiB);
      const digest = sha256(bytes);
      proxy.reset();
      await destination.put('packs/ab/one', { bytes }, { sha256: digest });
      // Where the server tells a checksum nothing is read back.
      if (command === 'neither') expect(proxy.received).toBeGreaterThan(3 * MiB);
      else expect(proxy.received).toBeLessThan(MiB);
      proxy.reset();
      await cutOff(proxy, join(server.dir, 'backups'), 2 * MiB, () =>
        destination.put('packs/cd/two', { bytes }, { sha256: digest }),
      );
      proxy.reset();
      await destination.put('packs/cd/two', { bytes }, { sha256: digest });
      expect(proxy.sent).toBeLessThan(2 * MiB);
      expect(sha256(await drain(await destination.get('packs/cd/two')))).toBe(digest);
      await destination.put('odd/a name; type=dir; -a [x] *é', { bytes: bytes.subarray(0, 7) });
      await destination.put('new', { bytes: bytes.subarray(0, 9) }, { exclusive: true });
      expect((await failure(destination.put('new', { bytes }, { exclusive: true }))).code).toBe('ObjectExists');
      await destination.put('packs/ab/one', { bytes: bytes.subarray(0, 11) });
      const found = new Map<string, { size: number; modified: Date }>();
      for await (const info of destination.list('')) found.set(info.key, info);
      expect([...found].map(([key, { size }]) => [key, size]).sort()).toEqual([
        ['new', 9],
        ['odd/a name; type=dir; -a [x] *é', 7],
        ['packs/ab/one', 11],
        ['packs/cd/two', 3 * MiB],
      ]);
      for (const { modified } of found.values()) {
        expect(Math.abs(modified.getTime() - (await destination.now()).getTime())).toBeLessThan(600_000);
      }
      for (const key of found.keys()) await destination.delete(key);
      for await (const { key } of destination.list('')) expect(key).toBe('nothing');
      expect(await temporaryFiles(join(server.dir, 'backups'))).toEqual([]);
    } finally {
      await destination.close();
      await proxy.stop();
      await server.stop();
    }
  });
});

describe('an FTP destination', () => {
  let plain: Vsftpd;
  let secure: Vsftpd;
  let proxy: TcpProxy;
  const opened: Destination[] = [];

  beforeAll(async () => {
    [plain, secure] = await Promise.all([startVsftpd(), startVsftpd({ tls: 'explicit' })]);
    await plain.folder('backups');
    await secure.folder('backups');
    proxy = await startTcpProxy(plain.port, { host: '127.0.0.2', samePorts: plain.passive });
  });

  afterAll(async () => {
    await proxy.stop();
    await Promise.all([plain.stop(), secure.stop()]);
  });

  afterEach(async () => {
    proxy.stalled = false;
    proxy.cutAll();
    for (const destination of opened.splice(0)) await destination.close();
  });

  async function open(config: FtpDestinationConfig): Promise<Destination> {
    const destination = await openDestination('old', config);
    opened.push(destination);
    return destination;
  }

  async function works(config: FtpDestinationConfig): Promise<void> {
    const destination = await open(config);
    await destination.put('login/object', { bytes: Buffer.from('x') });
    expect((await destination.read('login/object', { maxBytes: 1 })).toString()).toBe('x');
  }

  const refusal = async (config: FtpDestinationConfig) => failure((await open(config)).stat('login/object'));

  it('checks the certificate: its authority, its name, or its fingerprint', async () => {
    const config = (more: Partial<FtpDestinationConfig>) =>
      configFor(secure, 'explicit', { caFile: undefined, serverName: undefined, ...more });
    const { caFile, fingerprint } = secure.certificate;
    await works(config({ caFile, serverName }));
    await works(config({ fingerprint }));
    for (const more of [{}, { serverName }, { caFile }, { caFile, serverName: 'other.test' }]) {
      const error = await refusal(config(more));
      expect(error).toMatchObject({ code: 'HostKeyMismatch', retryable: false });
      expect(error.hint).toContain('fingerprint');
    }
    const pinned = await refusal(config({ fingerprint: `SHA256:${'A'.repeat(43)}` }));
    expect(pinned.code).toBe('HostKeyMismatch');
    for (const part of ['AAAA', fingerprintOf(new X509Certificate(await readFile(secure.certificate.certFile)).raw)])
      expect(pinned.message).toContain(part);
    expect((await refusal(config({ caFile: '/nowhere' }))).code).toBe('ConfigInvalid');
  });

  it('never goes on without the TLS it was told to use', async () => {
    proxy.reset();
    const error = await refusal(configFor(plain, 'explicit', { host: '127.0.0.2', port: proxy.port }));
    expect(error).toMatchObject({ code: 'DestinationFailed', retryable: false });
    expect(error.hint).toContain('tls: off');
    // Neither the user nor the password were sent.
    expect(proxy.sent).toBeLessThan(20);
  });

  it('speaks implicit TLS', async () => {
    const implicit = await startVsftpd({ tls: 'implicit' });
    try {
      await implicit.folder('backups');
      await works(configFor(implicit, 'implicit'));
    } finally {
      await implicit.stop();
    }
  });

  it('goes on inside an object whose upload broke off, and only after comparing what is there', async () => {
    const bytes = randomBytes(12 * MiB);
    const digest = sha256(bytes);
    const folder = join(plain.dir, 'backups', 'resumed');
    for (const damage of [false, true]) {
      const key = `resumed/${damage}`;
      const destination = await open(configFor(plain, 'off', { host: '127.0.0.2', port: proxy.port, verify: 'size' }));
      await destination.stat(key);
      const error = await cutOff(proxy, join(plain.dir, 'backups'), 6 * MiB, () =>
        destination.put(key, { bytes }, { sha256: digest }),
      );
      expect(error).toMatchObject({ code: 'DestinationUnreachable', retryable: true });
      const [left = ''] = (await readdir(folder)).filter((name) => name.startsWith('.tmp-r-'));
      expect((await stat(join(folder, left))).size).toBeGreaterThan(3 * MiB);
      if (damage) {
        const handle = await openFile(join(folder, left), 'r+');
        await handle.write(Buffer.from('damage'), 0, 6, 1000);
        await handle.close();
      }
      proxy.reset();
      let progress = 0;
      await destination.put(key, { bytes }, { sha256: digest, onProgress: (n) => (progress += n) });
      expect(progress).toBe(bytes.length);
      expect(sha256(await readFile(join(folder, String(damage))))).toBe(digest);
      if (damage) expect(proxy.sent).toBeGreaterThan(bytes.length);
      else expect(proxy.sent).toBeLessThan(9 * MiB);
      expect(await temporaryFiles(folder)).toEqual([]);
    }
  });

  it('reads back what it stored where nothing else protects it', async () => {
    const bytes = randomBytes(2 * MiB);
    for (const [verify, least] of [
      ['auto', bytes.length],
      ['readback', bytes.length],
      ['size', 0],
    ] as const) {
      const destination = await open(configFor(plain, 'off', { host: '127.0.0.2', port: proxy.port, verify }));
      proxy.reset();
      await destination.put(`verified/${verify}`, { bytes });
      expect(proxy.received).toBeGreaterThan(least);
      if (least === 0) expect(proxy.received).toBeLessThan(10_000);
    }
  });

  it('breaks a connection that went silent within its time-out, and works again after that', async () => {
    const destination = await open(configFor(plain, 'off', { host: '127.0.0.2', port: proxy.port, timeout: 1000 }));
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
    expect(performance.now() - began).toBeLessThan(8000);
    proxy.cutAll();
    proxy.stalled = false;
    await destination.put('silent/object', { bytes });
    expect((await destination.read('silent/object', { maxBytes: bytes.length })).equals(bytes)).toBe(true);
  });

  it('connects anew after the server ended an idle connection, and makes do with as many as it allows', async () => {
    const strict = await startVsftpd({ config: ['idle_session_timeout=1', 'max_per_ip=2'] });
    try {
      await strict.folder('backups');
      const destination = await open(configFor(strict, 'off'));
      await Promise.all(Array.from({ length: 6 }, (_, n) => destination.put(`few/${n}`, { bytes: Buffer.from('x') })));
      await sleep(2500);
      expect((await destination.stat('few/5'))?.size).toBe(1);
    } finally {
      await strict.stop();
    }
  });

  it('sweeps temporary files by age and hides them', async () => {
    const destination = await open(configFor(plain, 'off'));
    await destination.put('swept/object', { bytes: Buffer.from('x') });
    const folder = join(plain.dir, 'backups', 'swept');
    for (const name of ['.tmp-r-old', '.tmp-new']) await writeFile(join(folder, name), 'half');
    await utimes(join(folder, '.tmp-r-old'), 1, 1);
    const keys: string[] = [];
    for await (const { key } of destination.list('swept/')) keys.push(key);
    expect(keys).toEqual(['swept/object']);
    expect(await destination.sweep('swept/', 3_600_000)).toBe(1);
    expect(await destination.sweep('swept/', -5000)).toBe(1);
    expect(await temporaryFiles(folder)).toEqual([]);
  });

  it('creates its own folder, but not what is above it', async () => {
    expect((await failure((await open(configFor(plain, 'off', { path: '/no/where' }))).ensureRoot())).code).toBe(
      'DestinationMissing',
    );
    await plain.folder('home');
    const here = await open(configFor(plain, 'off', { path: 'home/made' }));
    for (const work of [
      () => here.put('a', { bytes: Buffer.from('x') }),
      () => here.stat('a'),
      () => here.delete('a'),
      () => here.now(),
    ])
      expect((await failure(work())).code).toBe('DestinationMissing');
    await here.ensureRoot();
    await here.put('a/b', { bytes: Buffer.from('x') });
    await rm(join(plain.dir, 'home/made/a'), { recursive: true });
    await here.put('a/c', { bytes: Buffer.from('y') });
    expect((await here.stat('a/c'))?.size).toBe(1);
  });
});

describe('a listing', () => {
  const unix = '-rw-r--r--    1 1000     1000            6 Nov 23 04:10 an object';

  it('that cannot be understood is an error, never a shorter one', () => {
    const lines = `total 8\r\ndrwxr-xr-x    2 0 0 4096 Nov 23 04:10 .\r\ndrwxr-xr-x    2 0 0 4096 Nov 23 04:10 ..\r\n`;
    expect(strictList(`${lines}${unix}\r\n`).map(({ name }) => name)).toEqual(['an object']);
    expect(() => strictList(`${lines}something else\r\n${unix}\r\n`)).toThrow('listing');
    const facts = 'type=file;size=6;modify=20251123041000; an object\r\n';
    expect(strictList(`type=cdir;size=1; /x\r\ntype=pdir;size=1; ..\r\n${facts}`).map(({ name }) => name)).toEqual([
      'an object',
    ]);
    expect(strictList('')).toEqual([]);
  });

  it('tells times as well as it can', () => {
    const at = (raw: string): string => {
      const [info] = strictList(unix.replace('Nov 23 04:10', raw));
      return info === undefined ? '' : modifiedOf(info, new Date('2026-03-01T12:00:00Z')).toISOString();
    };
    expect(at('Feb 27 04:10')).toBe('2026-02-27T04:10:00.000Z');
    expect(at('Nov 23 04:10')).toBe('2025-11-23T04:10:00.000Z');
    expect(at('Mar  1 23:59')).toBe('2026-03-01T23:59:00.000Z');
    expect(at('Nov 23  2019')).toBe('2019-11-23T00:00:00.000Z');
  });
});
