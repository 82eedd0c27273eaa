import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { HoldfastError } from '../../src/errors.js';
import { drain, sha256 } from '../destinations/conformance.js';
import { startS3 } from '../support/s3-server.js';
import { startSshd } from '../support/sshd.js';
import { startToxiproxy, type Toxic, type Toxiproxy } from '../support/toxiproxy.js';
import { serverName, startVsftpd } from '../support/vsftpd.js';

const MiB = 1024 * 1024;
/** Enough for a login at 500 ms a round trip. */
const patient = 20_000;
const strict = 3000;

interface Subject {
  toxiproxy: Toxiproxy;
  /** Through the proxy, with connections of its own. */
  open(timeout?: number): Promise<Destination>;
  direct: Destination;
  stop(): Promise<void>;
}

async function sftp(): Promise<Subject> {
  const [server, toxiproxy] = await Promise.all([startSshd(), startToxiproxy()]);
  const { user, privateKey, hostKey, dir } = server;
  const common = {
    type: 'sftp',
    host: '127.0.0.1',
    user,
    privateKey,
    hostKey,
    path: join(dir, 'b'),
    connections: 4,
    timeout: patient,
  } as const;
  const port = await toxiproxy.forward(server.port);
  return {
    toxiproxy,
    open: (timeout = patient) => openDestination('vault', { ...common, port, timeout }),
    direct: await openDestination('vault', { ...common, port: server.port }),
    stop: async () => void (await Promise.all([toxiproxy.stop(), server.stop()])),
  };
}

async function ftp(tls: 'off' | 'explicit'): Promise<Subject> {
  const [server, toxiproxy] = await Promise.all([startVsftpd(tls === 'off' ? {} : { tls }), startToxiproxy()]);
  await server.folder('backups');
  const { user, password, certificate } = server;
  const trust = tls === 'off' ? {} : { caFile: certificate.caFile, serverName };
  const common = {
    type: 'ftp',
    user,
    password,
    path: '/backups',
    tls,
    ...trust,
    verify: 'auto',
    connections: 4,
    timeout: patient,
  } as const;
  const host = '127.0.0.2';
  const port = await toxiproxy.forward(server.port, { host, port: server.port });
  for (let passive = server.passive[0]; passive <= server.passive[1]; passive++) {
    await toxiproxy.forward(passive, { host, port: passive });
  }
  return {
    toxiproxy,
    open: (timeout = patient) => openDestination('old', { ...common, host, port, timeout }),
    direct: await openDestination('old', { ...common, host: '127.0.0.1', port: server.port }),
    stop: async () => void (await Promise.all([toxiproxy.stop(), server.stop()])),
  };
}

async function s3(): Promise<Subject> {
  const [server, toxiproxy] = await Promise.all([startS3(), startToxiproxy()]);
  await server.bucket('acme');
  const { region, accessKeyId, secretAccessKey } = server;
  const common = { type: 's3', bucket: 'acme', region, accessKeyId, secretAccessKey } as const;
  const port = await toxiproxy.forward(server.port);
  return {
    toxiproxy,
    open: () => openDestination('offsite', { ...common, endpoint: `http://127.0.0.1:${port}` }),
    direct: await openDestination('offsite', { ...common, endpoint: server.endpoint }),
    stop: async () => void (await Promise.all([toxiproxy.stop(), server.stop()])),
  };
}

describe.each([
  ['SFTP', sftp, true],
  ['FTP', () => ftp('off'), true],
  ['FTP with TLS', () => ftp('explicit'), true],
  ['S3', s3, false],
] as const)('%s over a bad network', (_, setUp, bounded) => {
  let subject: Subject;

  beforeAll(async () => {
    subject = await setUp();
    await subject.direct.ensureRoot();
  });

  afterAll(async () => {
    await subject.direct.close();
    await subject.stop();
  });

  /** Puts and gets as an activity would, again after every error that says it can help; returns how often that was. */
  async function stubbornly(name: string, size: number, count: number, tries: number): Promise<number> {
    const destination = await subject.open();
    let failures = 0;
    const again = async <T>(work: () => Promise<T>): Promise<T> => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await work();
        } catch (error) {
          if (!(error instanceof HoldfastError) || !error.retryable || attempt >= tries) throw error;
          failures += 1;
          await sleep(50);
        }
      }
    };
    try {
      const one = async (number: number): Promise<void> => {
        const bytes = randomBytes(size);
        const digest = sha256(bytes);
        const key = `${name}/${number}`;
        await again(() => destination.put(key, { bytes }, { sha256: digest }));
        expect(sha256(await drain(await subject.direct.get(key)))).toBe(digest);
        expect(sha256(await again(async () => drain(await destination.get(key))))).toBe(digest);
      };
      await Promise.all(Array.from({ length: count }, (_, number) => one(number)));
      const found = await again(async () => {
        const keys: string[] = [];
        for await (const { key } of destination.list(`${name}/`)) keys.push(key);
        return keys;
      });
      expect(found).toHaveLength(count);
      return failures;
    } finally {
      await subject.toxiproxy.apply();
      await destination.close();
    }
  }

  const slow = (rate: number): Toxic => ({ type: 'bandwidth', attributes: { rate } });

  it.each([50, 500])('a latency of %d ms', async (latency) => {
    await subject.toxiproxy.apply({ type: 'latency', attributes: { latency: latency / 2, jitter: latency / 10 } });
    expect(await stubbornly(`latency-${latency}`, 4 * MiB, 4, 3)).toBe(0);
  });

  it('1 Mbit/s', async () => {
    await subject.toxiproxy.apply(slow(125));
    // More than the time-out each way, so that only progress counts.
    expect(await stubbornly('slow', MiB, 1, 3)).toBe(0);
  });

  it('resets, and then none', async () => {
    await subject.toxiproxy.apply({ type: 'reset_peer', attributes: { timeout: 100 } });
    const destination = await subject.open();
    await expect(destination.put('reset/object', { bytes: randomBytes(MiB) })).rejects.toMatchObject({
      retryable: true,
    });
    await subject.toxiproxy.apply();
    expect(await subject.direct.stat('reset/object')).toBeUndefined();
    await destination.close();
    expect(await stubbornly('after-resets', MiB, 1, 3)).toBe(0);
  });

  it.runIf(bounded)('connections that end after 3 MB, so that only going on gets an object over', async () => {
    await subject.toxiproxy.apply({ type: 'limit_data', stream: 'upstream', attributes: { bytes: 3_000_000 } });
    expect(await stubbornly('limited', 8 * MiB, 2, 20)).toBeGreaterThanOrEqual(2);
  });

  it('connections that are swallowed and then closed', async () => {
    const destination = await subject.open();
    await destination.stat('nothing');
    await subject.toxiproxy.apply({ type: 'timeout', attributes: { timeout: 500 } });
    await expect(destination.put('swallowed/object', { bytes: randomBytes(MiB) })).rejects.toMatchObject({
      retryable: true,
    });
    await subject.toxiproxy.apply();
    expect(await subject.direct.stat('swallowed/object')).toBeUndefined();
    await destination.close();
    expect(await stubbornly('after-swallowed', MiB, 1, 3)).toBe(0);
  });

  it.runIf(bounded)('half-open connections: an error within a bounded time, then as before', async () => {
    const destination = await subject.open(strict);
    await destination.put('half-open/before', { bytes: randomBytes(MiB) });
    await subject.toxiproxy.apply({ type: 'timeout', attributes: { timeout: 0 } });
    const began = performance.now();
    for (const work of [
      () => destination.put('half-open/object', { bytes: randomBytes(4 * MiB) }),
      () => destination.stat('half-open/before'),
      async () => drain(await destination.get('half-open/before')),
    ])
      await expect(work()).rejects.toMatchObject({ code: 'DestinationUnreachable', retryable: true });
    expect(performance.now() - began).toBeLessThan(12 * strict);
    await subject.toxiproxy.apply();
    expect(await subject.direct.stat('half-open/object')).toBeUndefined();
    expect((await destination.stat('half-open/before'))?.size).toBe(MiB);
    await destination.close();
  });

  it('slow closes', async () => {
    await subject.toxiproxy.apply({ type: 'slow_close', attributes: { delay: 1000 } });
    expect(await stubbornly('slow-close', 2 * MiB, 2, 3)).toBe(0);
  });
});
