import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CreateMultipartUploadCommand, ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { S3DestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { type HttpProxy, startProxy } from '../support/http-proxy.js';
import { mayMount, mountTmpfs } from '../support/mounts.js';
import { type S3Server, startS3 } from '../support/s3-server.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { conformance, drain, failure, type Subject, sha256 } from './conformance.js';
import { cutting } from './cuts.js';

const MiB = 1024 * 1024;

function configFor(server: S3Server, more: Partial<S3DestinationConfig> = {}): S3DestinationConfig {
  const { endpoint, accessKeyId, secretAccessKey, region } = server;
  return { type: 's3', bucket: 'acme', prefix: '/backups/', endpoint, accessKeyId, secretAccessKey, region, ...more };
}

function clientFor({ endpoint, region, accessKeyId, secretAccessKey }: S3Server): S3Client {
  return new S3Client({ endpoint, region, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
}

cutting(
  'a bucket',
  async () => {
    const server = await startS3();
    const proxy = await startTcpProxy(server.port);
    await server.bucket('acme');
    return {
      proxy,
      open: () => openDestination('offsite', configFor(server, { endpoint: `http://127.0.0.1:${proxy.port}` })),
      direct: await openDestination('offsite', configFor(server)),
      async stop() {
        await proxy.stop();
        await server.stop();
      },
    };
  },
  { inParts: 65 * MiB },
);

async function setUp(): Promise<Subject> {
  const server = await startS3();
  const folder = join(await server.bucket('acme'), 'backups');
  const proxy = await startProxy(server.port);
  const client = clientFor(server);
  const open = (more?: Partial<S3DestinationConfig>): Promise<Destination> =>
    openDestination('offsite', configFor(server, more));
  return {
    open,
    async seed(keys, bytes) {
      for (const path of new Set(keys.map((key) => dirname(join(folder, key))))) await mkdir(path, { recursive: true });
      await Promise.all(keys.map((key) => writeFile(join(folder, key), bytes)));
    },
    async leftovers() {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: 'acme' }));
      return Uploads.length;
    },
    away: () => server.kill(),
    back: () => server.restart(),
    awayCode: 'DestinationUnreachable',
    async denied() {
      const secretAccessKey = 'not-the-right-secret-at-all';
      const destination = await open({ secretAccessKey });
      return { destination, secrets: [secretAccessKey, server.accessKeyId], done: () => destination.close() };
    },
    async readOnly() {
      const sealed = await startS3({ dir: server.dir, readOnly: true });
      const destination = await open({ endpoint: sealed.endpoint });
      return {
        destination,
        codes: ['AuthDenied', 'DestinationReadOnly'],
        async done() {
          await destination.close();
          await sealed.stop();
        },
      };
    },
    async nearlyFull() {
      if (mayMount) {
        const mount = await mountTmpfs(`${server.dir}-small`, '8m');
        const small = await startS3({ dir: mount.path });
        await small.bucket('acme');
        const destination = await open({ endpoint: small.endpoint });
        return {
          destination,
          codes: ['DestinationFull'],
          async done() {
            await destination.close();
            await small.stop();
            await mount.remove();
          },
        };
      }
      proxy.meddle = ({ method, headers }) => {
        const large = method === 'PUT' && Number(headers['content-length']) > 8 * MiB;
        const body =
          '<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive threshold.</Message></Error>';
        return large ? { answer: { status: 507, body } } : undefined;
      };
      const destination = await open({ endpoint: proxy.endpoint, prefix: 'small' });
      return {
        destination,
        codes: ['DestinationFull'],
        async done() {
          proxy.meddle = () => undefined;
          await destination.close();
        },
      };
    },
    async readCutShort(key) {
      proxy.meddle = ({ method }) => (method === 'GET' ? { cutAfter: 5 * MiB } : undefined);
      const destination = await open({ endpoint: proxy.endpoint });
      const stream = await destination.get(key);
      await once(stream, 'readable');
      proxy.meddle = () => undefined;
      return stream;
    },
    async stop() {
      client.destroy();
      await proxy.stop();
      await server.stop();
    },
  };
}

conformance('a bucket', setUp);

describe('an S3 destination', () => {
  let server: S3Server;
  let proxy: HttpProxy;
  let direct: Destination;
  let proxied: Destination;

  beforeAll(async () => {
    server = await startS3();
    await server.bucket('acme');
    proxy = await startProxy(server.port);
    direct = await openDestination('offsite', configFor(server));
    proxied = await openDestination('offsite', configFor(server, { endpoint: proxy.endpoint }));
  });

  afterAll(async () => {
    await direct.close();
    await proxied.close();
    await proxy.stop();
    await server.stop();
  });

  /** Answers the first `times` requests with this method; returns how many it saw. */
  function refuse(
    method: string,
    status: number,
    code: string,
    times = Number.POSITIVE_INFINITY,
    headers = {},
  ): () => number {
    let seen = 0;
    proxy.meddle = (incoming) => {
      if (incoming.method !== method) return undefined;
      seen += 1;
      if (seen > times) return undefined;
      return { answer: { status, headers, body: `<Error><Code>${code}</Code><Message>told so</Message></Error>` } };
    };
    return () => seen;
  }

  it('says when the bucket does not exist, whatever is asked', async () => {
    const nowhere = await openDestination('offsite', configFor(server, { bucket: 'nowhere' }));
    for (const work of [
      () => nowhere.ensureRoot(),
      () => nowhere.stat('a'),
      () => nowhere.get('a'),
      () => nowhere.put('a', { bytes: Buffer.from('x') }),
      () => nowhere.delete('a'),
      () => drainList(nowhere),
    ]) {
      const error = await failure(work());
      expect(error.code).toBe('DestinationMissing');
      expect(error.message).toContain('nowhere');
      expect(error.retryable).toBe(true);
    }
    await nowhere.close();
  });

  it('keeps to its prefix', async () => {
    await direct.put('a/object', { bytes: Buffer.from('x') });
    const other = await openDestination('other', configFor(server, { prefix: 'else/where' }));
    expect(await drainList(other)).toEqual([]);
    await other.put('a/object', { bytes: Buffer.from('yy') });
    const whole = await openDestination('whole', configFor(server, { prefix: undefined }));
    const keys = await drainList(whole);
    expect(keys).toContain('backups/a/object');
    expect(keys).toContain('else/where/a/object');
    expect((await direct.stat('a/object'))?.size).toBe(1);
    await Promise.all([other.close(), whole.close()]);
  });

  it('repeats a put after a passing error, and counts progress once', async () => {
    const seen = refuse('PUT', 500, 'InternalError', 2);
    const bytes = randomBytes(2 * MiB);
    let progress = 0;
    await proxied.put('again/object', { bytes }, { onProgress: (n) => (progress += n) });
    expect(seen()).toBe(3);
    expect(progress).toBe(bytes.length);
    expect((await drain(await direct.get('again/object'))).equals(bytes)).toBe(true);
  });

  it('sends the checksum with every request that carries bytes', async () => {
    const seen: Record<string, unknown>[] = [];
    proxy.meddle = ({ method, headers }) => {
      if (method === 'PUT') seen.push(headers);
      return undefined;
    };
    const bytes = Buffer.alloc(65 * MiB, 'z');
    const small = bytes.subarray(0, 1000);
    await proxied.put('sums/file', { bytes: small });
    expect(seen).toHaveLength(1);
    expect(seen[0]?.['x-amz-content-sha256']).toBe(sha256(small));
    expect(seen[0]?.['x-amz-checksum-sha256']).toBe(Buffer.from(sha256(small), 'hex').toString('base64'));
    await proxied.put('sums/large', { bytes });
    expect(seen).toHaveLength(1 + 5);
    const part = sha256(bytes.subarray(0, 16 * MiB));
    expect(seen.filter((headers) => headers['x-amz-content-sha256'] === part)).toHaveLength(4);
  });

  it('lets one of two exclusive multipart uploads win', async () => {
    const bodies = ['a', 'b'].map((letter) => Buffer.alloc(65 * MiB, letter));
    const results = await Promise.allSettled(
      bodies.map((bytes) => direct.put('both/object', { bytes }, { exclusive: true })),
    );
    const winner = results.findIndex(({ status }) => status === 'fulfilled');
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(results[1 - winner]).toMatchObject({ reason: { code: 'ObjectExists' } });
    expect((await drain(await direct.get('both/object'))).equals(bodies[winner] ?? Buffer.alloc(0))).toBe(true);
  });

  it('does not repeat what cannot help', async () => {
    const seen = refuse('PUT', 403, 'SignatureDoesNotMatch');
    const error = await failure(proxied.put('denied/object', { bytes: Buffer.from('x') }));
    expect(error.code).toBe('AuthDenied');
    expect(seen()).toBe(1);
  });

  it.each([
    [503, 'SlowDown', 'Throttled', true],
    [429, 'TooManyRequests', 'Throttled', true],
    [400, 'ExpiredToken', 'AuthExpired', true],
    [403, 'RequestTimeTooSkewed', 'AuthDenied', false],
    [507, 'InsufficientStorage', 'DestinationFull', true],
    [400, 'EntityTooLarge', 'DestinationFull', true],
    [500, 'InternalError', 'DestinationFailed', true],
    [400, 'InvalidArgument', 'DestinationFailed', false],
    [400, 'BadDigest', 'IntegrityMismatch', true],
    [404, 'NoSuchBucket', 'DestinationMissing', true],
  ] as const)('understands %i %s as %s', async (status, name, code, retryable) => {
    refuse('PUT', status, name, undefined, { 'retry-after': '17' });
    const error = await failure(proxied.put('any/object', { bytes: Buffer.from('x') }));
    expect(error.code).toBe(code);
    expect(error.retryable).toBe(retryable);
    expect(error.message).toContain('offsite');
    expect(error.message).toContain('acme');
    expect(error.message).toContain('any/object');
    expect(error.retryAfterMs).toBe(code === 'Throttled' ? 17_000 : undefined);
  });

  it('finds out why a request without a body in its answer is refused', async () => {
    proxy.meddle = ({ method }) => {
      const body = '<Error><Code>ExpiredToken</Code><Message>told so</Message></Error>';
      return { answer: { status: 400, ...(method === 'HEAD' ? {} : { body }) } };
    };
    expect((await failure(proxied.stat('any/object'))).code).toBe('AuthExpired');
    expect((await failure(proxied.read('any/object', { maxBytes: 10 }))).code).toBe('AuthExpired');
    expect((await failure(proxied.ensureRoot())).code).toBe('AuthExpired');
  });

  it('knows its own object when the answer to an exclusive put got lost', async () => {
    let lost = 0;
    proxy.meddle = ({ method }) => (method === 'PUT' && lost++ === 0 ? { cutAfter: 0 } : undefined);
    const bytes = Buffer.from('mine');
    await proxied.put('lost-answer/object', { bytes }, { exclusive: true });
    expect(lost).toBeGreaterThan(0);
    expect((await direct.read('lost-answer/object', { maxBytes: 10 })).equals(bytes)).toBe(true);
  });

  it('is exclusive also where the service knows no conditions', async () => {
    let refused = 0;
    proxy.meddle = ({ headers }) => {
      if (headers['if-none-match'] === undefined) return undefined;
      refused += 1;
      return {
        answer: {
          status: 501,
          body: '<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>',
        },
      };
    };
    const plain = await openDestination('plain', configFor(server, { endpoint: proxy.endpoint }));
    await plain.put('plain/object', { bytes: Buffer.from('first') }, { exclusive: true });
    expect((await failure(plain.put('plain/object', { bytes: Buffer.from('second') }, { exclusive: true }))).code).toBe(
      'ObjectExists',
    );
    await plain.put('plain/large', { bytes: Buffer.alloc(65 * MiB, 'x') }, { exclusive: true });
    expect(refused).toBe(1);
    expect((await direct.read('plain/object', { maxBytes: 10 })).toString()).toBe('first');
    await plain.close();
  });

  it('does without checksum headers where the service refuses them', async () => {
    let refused = 0;
    proxy.meddle = ({ headers }) => {
      const header = Object.keys(headers).find((name) => /^x-amz-(sdk-)?checksum-/.test(name));
      if (header === undefined) return undefined;
      refused += 1;
      const body = `<Error><Code>InvalidArgument</Code><Message>Unsupported header '${header}' received for this API call.</Message></Error>`;
      return { answer: { status: 400, body } };
    };
    const bare = await openDestination('bare', configFor(server, { endpoint: proxy.endpoint }));
    const large = randomBytes(70 * MiB);
    await bare.put('bare/large', { bytes: large });
    await bare.put('bare/small', { bytes: Buffer.from('small') }, { exclusive: true });
    expect(refused).toBe(1);
    expect((await drain(await direct.get('bare/large'))).equals(large)).toBe(true);
    // Without checksums the parts that a cut left are known by their MD5.
    let sent = 0;
    let cut = true;
    proxy.meddle = ({ method, url, headers }) => {
      if (method !== 'PUT') return undefined;
      if (cut && url?.includes('partNumber=5')) return { cutAfter: 0 };
      sent += Number(headers['content-length']);
      return undefined;
    };
    await failure(bare.put('bare/again', { bytes: large }));
    cut = false;
    sent = 0;
    await bare.put('bare/again', { bytes: large });
    expect(sent).toBeLessThan(large.length);
    expect((await drain(await direct.get('bare/again'))).equals(large)).toBe(true);
    await bare.close();
  });

  it('notices an object that the service cut after storing it', async () => {
    const bytes = randomBytes(1000);
    await direct.put('corrupt/object', { bytes }, { sha256: sha256(bytes) });
    await truncate(join(server.dir, 'acme', 'backups', 'corrupt', 'object'), 500);
    expect((await direct.stat('corrupt/object'))?.size).toBe(500);
    const read = async (): Promise<Buffer> => drain(await direct.get('corrupt/object', { start: 0, end: 1000 }));
    expect((await failure(read())).code).toBe('IntegrityMismatch');
  });

  it('sweeps unfinished multipart uploads below its prefix', async () => {
    const client = clientFor(server);
    for (const Key of ['backups/a/unfinished', 'backups/b/unfinished', 'elsewhere/unfinished']) {
      await client.send(new CreateMultipartUploadCommand({ Bucket: 'acme', Key }));
    }
    expect(await direct.sweep('', 3_600_000)).toBe(0);
    expect(await direct.sweep('a/', -60_000)).toBe(1);
    expect(await direct.sweep('', -60_000)).toBe(1);
    const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: 'acme' }));
    expect(Uploads?.map(({ Key }) => Key)).toEqual(['elsewhere/unfinished']);
    client.destroy();
  });

  it('takes the time from the service', async () => {
    const answer = '<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>';
    proxy.meddle = () => ({
      answer: { status: 200, body: answer, headers: { date: 'Tue, 01 Jan 2030 00:00:00 GMT' } },
    });
    expect((await proxied.now()).toISOString()).toBe('2030-01-01T00:00:00.000Z');
  });

  it.each([
    [{ endpoint: 'nonsense' }, 'endpoint'],
    [{ endpoint: 'ftp://host' }, 'endpoint'],
    [{ endpoint: 'https://user:pass@host' }, 'credentials'],
    [{ secretAccessKey: undefined }, 'belong together'],
  ])('refuses the config %j', async (more, words) => {
    const error = await failure(openDestination('offsite', configFor(server, more)));
    expect(error.code).toBe('ConfigInvalid');
    expect(error.message).toContain(words);
    expect(error.message).not.toContain('pass@');
  });

  it('stores without leaving anything else in the bucket', async () => {
    const bytes = Buffer.alloc(66 * MiB, 'y');
    await direct.put('tidy/object', { bytes });
    expect(await readdir(join(server.dir, 'acme', 'backups', 'tidy'))).toEqual(['object']);
  });
});

async function drainList(destination: Destination): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of destination.list('')) keys.push(key);
  return keys;
}
