import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ListMultipartUploadsCommand, ListPartsCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { S3DestinationConfig } from '../../src/destinations/config.js';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { ensureBuilt } from '../support/build.js';
import { type HttpProxy, startProxy } from '../support/http-proxy.js';
import { type S3Server, startS3 } from '../support/s3-server.js';
import { Random } from '../support/tree.js';
import { drain, failure, sha256 } from './conformance.js';

const MiB = 1024 * 1024;
const part = 16 * MiB;

let server: S3Server;
let proxy: HttpProxy;
let client: S3Client;
let config: S3DestinationConfig;
let destination: Destination;
let folder: string;
const bytes = new Random(5).bytes(6 * part + 5);
let file: string;
/** Bytes of the bodies that were sent through the proxy. */
let sent: number;

beforeAll(async () => {
  await ensureBuilt();
  server = await startS3();
  await server.bucket('acme');
  proxy = await startProxy(server.port);
  const { region, accessKeyId, secretAccessKey, endpoint } = server;
  client = new S3Client({ endpoint, region, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
  config = { type: 's3', bucket: 'acme', endpoint: proxy.endpoint, region, accessKeyId, secretAccessKey };
  destination = await openDestination('offsite', config);
  folder = await mkdtemp(join(tmpdir(), 'holdfast-resume-'));
  file = join(folder, 'large');
  await writeFile(file, bytes);
});
afterAll(async () => {
  await destination?.close();
  client?.destroy();
  await proxy?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => {
  sent = 0;
  proxy.meddle = ({ method, headers }) => {
    if (method === 'PUT') sent += Number(headers['content-length']);
    return undefined;
  };
});

const uploads = async () => (await client.send(new ListMultipartUploadsCommand({ Bucket: 'acme' }))).Uploads ?? [];
/** The sizes of the parts that the server has, in bytes. */
async function partsThere(): Promise<number[]> {
  const [upload] = await uploads();
  if (upload === undefined) return [];
  const { Key, UploadId } = upload;
  const { Parts = [] } = await client.send(new ListPartsCommand({ Bucket: 'acme', Key, UploadId }));
  return Parts.map(({ Size = 0 }) => Size);
}

/** Another process that stores the file, slowly enough to be hit. */
function storing(key: string): ChildProcess {
  const open = resolve(import.meta.dirname, '../../dist/destinations/open.js');
  const script = `import { openDestination } from ${JSON.stringify(open)};
    const destination = await openDestination('offsite', JSON.parse(process.env.DESTINATION));
    await destination.put(process.env.KEY, { file: process.env.FILE });`;
  return spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, DESTINATION: JSON.stringify({ ...config, bandwidth: 40 * MiB }), KEY: key, FILE: file },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

it('goes on within a large object after kill -9', async () => {
  const child = storing('killed/large');
  const ended = once(child, 'exit');
  for (const deadline = Date.now() + 60_000; (await partsThere()).length < 2; await sleep(20)) {
    if (Date.now() > deadline || child.exitCode !== null) throw new Error('no parts came');
  }
  child.kill('SIGKILL');
  await ended;
  expect(await destination.stat('killed/large')).toBeUndefined();
  const before = await partsThere();
  expect(before.length).toBeGreaterThanOrEqual(2);
  sent = 0;
  let progress = 0;
  await destination.put('killed/large', { file }, { sha256: sha256(bytes), onProgress: (n) => (progress += n) });
  expect(sent).toBe(before.reduce((rest, size) => rest - size, bytes.length));
  expect(progress).toBe(bytes.length);
  expect((await drain(await destination.get('killed/large'))).equals(bytes)).toBe(true);
  expect(await uploads()).toEqual([]);
});

it('goes on after the line was cut, and begins anew with other content', async () => {
  let seen = 0;
  proxy.meddle = ({ method, url }) =>
    method === 'PUT' && /partNumber=[4-7]/.test(url ?? '') && ++seen > 0 ? { cutAfter: 0 } : undefined;
  expect((await failure(destination.put('cut/large', { bytes }))).retryable).toBe(true);
  const [left] = await uploads();
  expect(left?.Key).toBe('cut/large');
  proxy.meddle = ({ method, headers }) => {
    if (method === 'PUT') sent += Number(headers['content-length']);
    return undefined;
  };
  const other = Buffer.from(bytes);
  other[5] = (other[5] ?? 0) ^ 1;
  await destination.put('cut/large', { bytes: other });
  expect(sent).toBe(other.length);
  expect((await drain(await destination.get('cut/large'))).equals(other)).toBe(true);
  // The unfinished upload of the first content is still there, for its own next attempt.
  expect((await uploads()).map(({ UploadId }) => UploadId)).toEqual([left?.UploadId]);
  sent = 0;
  await destination.put('cut/large', { bytes });
  expect(sent).toBeLessThan(bytes.length);
  expect((await drain(await destination.get('cut/large'))).equals(bytes)).toBe(true);
  expect(await uploads()).toEqual([]);
});

it('begins anew when the service has forgotten the parts', async () => {
  proxy.meddle = ({ method, url }) =>
    method === 'PUT' && /partNumber=7/.test(url ?? '') ? { answer: { status: 500, body: '' } } : undefined;
  await failure(destination.put('forgotten/large', { bytes }));
  expect(await uploads()).toHaveLength(1);
  let refused = 0;
  proxy.meddle = ({ method, url }) => {
    if (method !== 'PUT' || refused > 0 || !url?.includes('partNumber')) return undefined;
    refused++;
    const body = '<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>';
    return { answer: { status: 404, body } };
  };
  await destination.put('forgotten/large', { bytes });
  expect(refused).toBe(1);
  expect((await drain(await destination.get('forgotten/large'))).equals(bytes)).toBe(true);
  expect(await uploads()).toEqual([]);
});
