import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateBucketCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  PutObjectRetentionCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { probeDestination } from '../../src/control/probe.js';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { type S3Server, startS3 } from '../support/s3-server.js';
import { failure } from './conformance.js';

const dayMs = 86_400_000;
const MiB = 1024 * 1024;

describe('object lock', () => {
  let server: S3Server;
  let client: S3Client;
  let destination: Destination;

  beforeAll(async () => {
    server = await startS3({ versioning: true });
    const { endpoint, region, accessKeyId, secretAccessKey } = server;
    client = new S3Client({ endpoint, region, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
    await client.send(new CreateBucketCommand({ Bucket: 'acme', ObjectLockEnabledForBucket: true }));
    destination = await openDestination('vault', {
      type: 's3',
      bucket: 'acme',
      endpoint,
      region,
      accessKeyId,
      secretAccessKey,
      objectLock: { mode: 'governance', days: 30 },
    });
  });
  afterAll(async () => {
    await destination.close();
    client.destroy();
    await server.stop();
  });

  it.each([
    ['small', 1000],
    ['in parts', 65 * MiB],
  ])('locks what is to be retained, %s, and nothing else', async (name, size) => {
    const bytes = randomBytes(size);
    await destination.put(`kept/${name}`, { bytes }, { retain: true });
    const head = await client.send(new HeadObjectCommand({ Bucket: 'acme', Key: `kept/${name}` }));
    expect(head.ObjectLockMode).toBe('GOVERNANCE');
    const until = await destination.lockedUntil?.(`kept/${name}`);
    expect(Math.abs((until?.getTime() ?? 0) - Date.now() - 30 * dayMs)).toBeLessThan(60_000);
    expect((await failure(destination.delete(`kept/${name}`))).code).toBe('AuthDenied');
    expect((await destination.stat(`kept/${name}`))?.size).toBe(size);
    await destination.put(`free/${name}`, { bytes: bytes.subarray(0, 10) });
    expect(await destination.lockedUntil?.(`free/${name}`)).toBeUndefined();
    expect(await destination.lockedUntil?.('free/none')).toBeUndefined();
  });

  it('is probed without deleting anything', async () => {
    const { endpoint, region, accessKeyId, secretAccessKey } = server;
    const keys = { endpoint, region, accessKeyId, secretAccessKey };
    const lock = { objectLock: { mode: 'governance', days: 30 } } as const;
    const config = { type: 's3', bucket: 'acme', prefix: '', ...keys, ...lock, giveUpAfter: 1000 } as const;
    const probe = await probeDestination('vault', config, '/nowhere');
    expect(probe).toMatchObject({ kept: expect.stringMatching(/^\.holdfast-probe-/) });
    expect(Math.abs(probe?.skewMs ?? Number.NaN)).toBeLessThan(60_000);
    const there = await client.send(new ListObjectVersionsCommand({ Bucket: 'acme', Prefix: '.holdfast-probe-' }));
    expect(there.Versions).toHaveLength(1);
    expect(there.DeleteMarkers ?? []).toEqual([]);
  });

  it('deletes for good once the lock has ended, every version', async () => {
    for (const text of ['one', 'two']) await destination.put('twice', { bytes: Buffer.from(text) }, { retain: true });
    const { Versions = [] } = await client.send(new ListObjectVersionsCommand({ Bucket: 'acme', Prefix: 'twice' }));
    expect(Versions).toHaveLength(2);
    for (const { VersionId } of Versions) {
      await client.send(
        new PutObjectRetentionCommand({
          Bucket: 'acme',
          Key: 'twice',
          VersionId,
          BypassGovernanceRetention: true,
          Retention: { Mode: 'GOVERNANCE', RetainUntilDate: new Date(Date.now() + 2000) },
        }),
      );
    }
    await sleep(2500);
    expect(await destination.lockedUntil?.('twice')).toBeUndefined();
    await destination.delete('twice');
    const left = await client.send(new ListObjectVersionsCommand({ Bucket: 'acme', Prefix: 'twice' }));
    expect([...(left.Versions ?? []), ...(left.DeleteMarkers ?? [])]).toEqual([]);
    await destination.delete('twice');
  });
});
