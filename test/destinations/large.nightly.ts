import { createHash } from 'node:crypto';
import { chown, link, mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/destinations/destination.js';
import { temporaryPrefix } from '../../src/destinations/keys.js';
import { openDestination } from '../../src/destinations/open.js';
import { startS3 } from '../support/s3-server.js';
import { startSshd } from '../support/sshd.js';
import { Random } from '../support/tree.js';
import { ftpUser, startVsftpd } from '../support/vsftpd.js';

const MiB = 1024 * 1024;
/** 5 GB; smaller to try the test itself. */
const size = Number(process.env.HOLDFAST_NIGHTLY_BYTES ?? 5e9);
const objects = 12_000;

let base: string;
let large: string;
let sha256: string;

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'holdfast-nightly-'));
  large = join(base, 'large');
  const random = new Random(5);
  const hash = createHash('sha256');
  const file = await open(large, 'wx');
  for (let left = size; left > 0; ) {
    const piece = random.bytes(Math.min(left, 64 * MiB));
    hash.update(piece);
    await file.write(piece);
    left -= piece.length;
  }
  await file.close();
  sha256 = hash.digest('hex');
  // A file with a second name is copied to a folder, not linked.
  await link(large, join(base, 'second name'));
});
afterAll(() => rm(base, { recursive: true, force: true }));

interface Place {
  destination: Destination;
  /** Its folder: objects are files. */
  folder: string;
  stop(): Promise<void>;
}

async function local(): Promise<Place> {
  const folder = join(base, 'nas');
  const destination = await openDestination('nas', { type: 'local', path: folder });
  await destination.ensureRoot();
  return { destination, folder, stop: () => destination.close() };
}

async function s3(): Promise<Place> {
  const server = await startS3({ dir: await mkdtemp(join(base, 's3-')) });
  const folder = await server.bucket('acme');
  const { endpoint, accessKeyId, secretAccessKey, region } = server;
  const config = { type: 's3', bucket: 'acme', endpoint, accessKeyId, secretAccessKey, region } as const;
  const destination = await openDestination('offsite', config);
  return {
    destination,
    folder,
    async stop() {
      await destination.close();
      await server.stop();
    },
  };
}

describe.each([
  ['a local folder', local],
  ['a bucket', s3],
])('%s', (_, make) => {
  let place: Place;
  beforeAll(async () => {
    place = await make();
  });
  afterAll(async () => {
    await place?.stop();
    if (place) await rm(place.folder, { recursive: true, force: true });
  });

  it('keeps an object of 5 GB', async () => {
    const { destination } = place;
    let progress = 0;
    const options = { sha256, onProgress: (bytes: number) => (progress += bytes) };
    await destination.put('large/object', { file: large }, options);
    expect(progress).toBe(size);
    expect((await destination.stat('large/object'))?.size).toBe(size);
    const hash = createHash('sha256');
    for await (const chunk of await destination.get('large/object')) hash.update(chunk);
    expect(hash.digest('hex')).toBe(sha256);
    const chunks: Buffer[] = [];
    for await (const chunk of await destination.get('large/object', { start: size - 10, end: size }))
      chunks.push(chunk);
    expect(Buffer.concat(chunks)).toHaveLength(10);
    await destination.delete('large/object');
  });

  it('lists more than ten thousand objects', async () => {
    const { destination, folder } = place;
    for (let n = 0; n < 256; n++)
      await mkdir(join(folder, 'many', n.toString(16).padStart(2, '0')), { recursive: true });
    const keys = Array.from({ length: objects }, (_each, n) => `many/${(n % 256).toString(16).padStart(2, '0')}/${n}`);
    for (let at = 0; at < keys.length; at += 200)
      await Promise.all(keys.slice(at, at + 200).map((key) => writeFile(join(folder, key), 'x')));
    const found: string[] = [];
    for await (const { key } of destination.list('many/')) found.push(key);
    expect(found.sort()).toEqual(keys.sort());
  });
});

async function sftp(): Promise<Place> {
  const server = await startSshd();
  const { port, user, privateKey, hostKey, dir } = server;
  const folder = join(dir, 'backups');
  const config = { host: '127.0.0.1', port, user, privateKey, hostKey, path: folder, connections: 1, timeout: 60_000 };
  const destination = await openDestination('vault', { type: 'sftp', ...config });
  await destination.ensureRoot();
  return {
    destination,
    folder,
    async stop() {
      await destination.close();
      await server.stop();
    },
  };
}

async function ftp(): Promise<Place> {
  const server = await startVsftpd();
  const folder = await server.folder('backups');
  const { port, user, password } = server;
  const config = { host: '127.0.0.1', port, user, password, path: '/backups', connections: 1, timeout: 60_000 };
  const destination = await openDestination('old', { type: 'ftp', tls: 'off', verify: 'size', ...config });
  return {
    destination,
    folder,
    async stop() {
      await destination.close();
      await server.stop();
    },
  };
}

describe.each([
  ['an SSH server', sftp],
  ['an FTP server', ftp],
])('%s', (_, make) => {
  it('goes on inside an object beyond 4 GiB', async () => {
    const place = await make();
    const key = 'large/resumed';
    const tail = new Random(7).bytes(8 * MiB);
    const start = 4096 * MiB - 3 * MiB;
    const body = join(base, 'mostly zeros');
    const file = await open(body, 'w');
    await file.write(tail, 0, tail.length, start);
    await file.close();
    const hash = createHash('sha256');
    const zeros = Buffer.alloc(MiB);
    for (let at = 0; at < start; at += MiB) hash.update(zeros);
    const whole = hash.update(tail).digest('hex');
    try {
      // What an upload left that was cut off a megabyte beyond 4 GiB.
      const name = `${temporaryPrefix}r-${createHash('sha256').update(`${key}\0${whole}`).digest('hex').slice(0, 32)}`;
      const folder = join(place.folder, 'large');
      await mkdir(folder);
      const there = await open(join(folder, name), 'w');
      await there.write(tail, 0, 4 * MiB, start);
      await there.close();
      for (const path of [folder, join(folder, name)]) await chown(path, ftpUser.uid, ftpUser.uid);
      const steps: number[] = [];
      await place.destination.put(key, { file: body }, { sha256: whole, onProgress: (bytes) => steps.push(bytes) });
      // First, in one, what was there; then only the rest is sent.
      expect(steps[0]).toBe(4097 * MiB);
      expect(steps.reduce((sum, bytes) => sum + bytes, 0)).toBe(start + tail.length);
      expect((await place.destination.stat(key))?.size).toBe(start + tail.length);
      const end = start + tail.length;
      const read: Buffer[] = [];
      for await (const chunk of await place.destination.get(key, { start, end })) read.push(chunk);
      expect(Buffer.concat(read).equals(tail)).toBe(true);
    } finally {
      await rm(body);
      await rm(join(place.folder, 'large'), { recursive: true, force: true });
      await place.stop();
    }
  });
});
