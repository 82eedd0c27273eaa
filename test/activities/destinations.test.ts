import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import { type HttpProxy, startProxy } from '../support/http-proxy.js';
import { type S3Server, startS3 } from '../support/s3-server.js';
import { Backups } from './backups.js';

let backups: Backups;
let change: (config: ConfigInput) => void;
beforeEach(async () => {
  backups = await Backups.make();
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() });
});
afterEach(async () => {
  vi.useRealTimers();
  await backups.remove();
});
afterAll(() => Backups.end());
const later = (ms: number): void => void vi.setSystemTime(Date.now() + ms);
const failsWith = (type: string) => expect.objectContaining({ type });

/** A run up to its commits; its id, and what prune says at each destination. */
async function pruned(destination: string) {
  backups.write('changing', randomBytes(5000));
  later(10_000);
  const run = backups.newRun();
  const begun = await backups.begin(run);
  const totals = await backups.store(run);
  const ref = { input: backups.input(), run };
  for (const { name } of begun.destinations) await backups.call('commit', { ...ref, destination: name });
  const answer = await backups.call('prune', { ...ref, destination });
  const stored = begun.destinations.map(({ name }) => ({
    name,
    state: 'stored' as const,
    packs: 1,
    bytes: 1,
    misses: 0,
  }));
  await backups.finish(run, totals, stored, 'succeeded');
  return answer;
}

describe('credentials that may not delete', () => {
  let server: S3Server;
  let proxy: HttpProxy;
  let deletes: number;
  beforeEach(async () => {
    server = await startS3();
    await server.bucket('acme');
    proxy = await startProxy(server.port);
    deletes = 0;
    proxy.meddle = ({ method }) => {
      if (method !== 'DELETE') return undefined;
      deletes++;
      return { answer: { status: 403, body: '<Error><Code>AccessDenied</Code><Message>no</Message></Error>' } };
    };
    change = (config) => {
      const { accessKeyId, secretAccessKey, region } = server;
      config.destinations.vault = {
        type: 's3',
        bucket: 'acme',
        endpoint: proxy.endpoint,
        accessKeyId,
        secretAccessKey,
        region,
      };
      Object.assign(config.jobs.site ?? {}, { destinations: ['nas', 'vault'], retention: { keepLast: 1 } });
    };
    backups.configure(change);
  });
  afterEach(async () => {
    await proxy.stop();
    await server.stop();
  });
  const there = (kind: string): string[] => {
    const folder = path.join(server.dir, 'acme', 'web-1', 'site', kind);
    return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
  };

  test('keep everything, with a warning, and no record of what was not deleted', async () => {
    await pruned('vault');
    later(60_000);
    const answer = await pruned('vault');
    expect(answer).toMatchObject({ removed: 0, marked: 0 });
    expect(answer.warnings).toMatchObject([{ code: 'PruneDenied', message: expect.stringContaining('vault') }]);
    expect(there('snapshots')).toHaveLength(2);
    expect(there('deletions')).toEqual([]);
    // One question for each prune, and nothing after the refusal.
    expect(deletes).toBe(2);
    proxy.meddle = () => undefined;
    later(60_000);
    expect(await pruned('vault')).toMatchObject({ removed: 2 });
    expect(there('snapshots')).toHaveLength(1);
  });

  test('and are not asked to with `deletes: false`', async () => {
    backups.configure((config) => {
      change(config);
      Object.assign(config.destinations.vault ?? {}, { deletes: false });
    });
    for (let i = 0; i < 2; i++) {
      later(60_000);
      expect(await pruned('vault')).toMatchObject({ removed: 0, marked: 0, deleted: 0, freed: 0 });
    }
    expect(deletes).toBe(0);
    expect(there('snapshots')).toHaveLength(2);
  });
});

test('what is locked is not removed before its time, and the run says so', async () => {
  const server = await startS3({ versioning: true });
  try {
    const { endpoint, accessKeyId, secretAccessKey, region } = server;
    const client = new S3Client({
      endpoint,
      region,
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
    });
    await client.send(new CreateBucketCommand({ Bucket: 'locked', ObjectLockEnabledForBucket: true }));
    client.destroy();
    backups.configure((config) => {
      config.destinations.vault = {
        type: 's3',
        bucket: 'locked',
        endpoint,
        accessKeyId,
        secretAccessKey,
        region,
        objectLock: { mode: 'compliance', days: 1 },
      };
      Object.assign(config.jobs.site ?? {}, { destinations: ['vault'], retention: { keepLast: 1 } });
    });
    await pruned('vault');
    const answer = await pruned('vault');
    expect(answer).toMatchObject({ removed: 0, marked: 0, deleted: 0 });
    expect(answer.warnings).toMatchObject([
      { code: 'PruneLocked', message: expect.stringMatching(/1 objects .* until 20/) },
    ]);
    expect(readdirSync(path.join(server.dir, 'locked', 'web-1', 'site', 'snapshots'))).toHaveLength(2);
  } finally {
    await server.stop();
  }
});

test('a pack that goes bad in the spool is taken from who has it, and else means that the spool is lost', async () => {
  backups.write('big', randomBytes(700_000));
  later(60_000);
  const run = backups.newRun();
  await backups.begin(run);
  const ref = { input: backups.input(), run };
  await backups.call('snapshot', ref);
  await backups.call('compress', { ...ref, batch: 0 });
  await backups.call('encrypt', { ...ref, group: '0' });
  const folder = path.join(backups.spool(run), 'packs');
  const [pack = ''] = readdirSync(folder).filter((name) => /^[0-9a-f]{64}$/.test(name));
  const whole = readFileSync(path.join(folder, pack));
  const spoil = (second: string): void => {
    const bytes = Buffer.from(whole);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    const file = path.join(folder, pack);
    rmSync(file);
    writeFileSync(file, bytes);
    // A file with a second name is copied, not linked, and so checked on the way.
    linkSync(file, path.join(backups.folder, second));
  };
  const upload = (destination: string) => backups.call('upload', { ...ref, group: '0', destination });
  spoil('first');
  await expect(upload('nas')).rejects.toEqual(failsWith('SpoolLost'));
  writeFileSync(path.join(folder, pack), whole);
  await upload('nas');
  spoil('second');
  // nas has it: nothing is lost, offsite gets it from there at commit.
  expect(await upload('offsite')).toMatchObject({ packs: 0 });
  await backups.call('manifest', ref);
  await backups.call('encrypt', { ...ref, group: 'manifest' });
  for (const destination of ['nas', 'offsite'])
    await backups.call('upload', { ...ref, group: 'manifest', destination });
  await backups.call('commit', { ...ref, destination: 'nas' });
  expect(await backups.call('commit', { ...ref, destination: 'offsite' })).toMatchObject({ healed: 1 });
});

describe('a drive that comes and goes', () => {
  test('is waited for by the delivery, which goes on as soon as it is plugged in', async () => {
    vi.useRealTimers();
    backups.configure((config) => {
      Object.assign(config.destinations.offsite ?? {}, { presence: 'optional' });
    });
    backups.write('file', 'content');
    await backups.run();
    const drive = path.join(backups.folder, 'offsite');
    renameSync(drive, `${drive}-unplugged`);
    backups.write('file', 'other content');
    const run = backups.newRun();
    await backups.begin(run);
    const totals = await backups.store(run);
    const ref = { input: backups.input(), run };
    await backups.call('commit', { ...ref, destination: 'nas' });
    await expect(backups.call('commit', { ...ref, destination: 'offsite' })).rejects.toMatchObject({
      type: 'DestinationMissing',
      details: [expect.objectContaining({ away: true })],
    });
    const progress = (['stored', 'missed'] as const).map((state, at) => ({
      name: ['nas', 'offsite'][at] ?? '',
      state,
      packs: 0,
      bytes: 0,
      misses: 0,
    }));
    await backups.finish(run, totals, progress, 'partial');
    const input = await backups.call('deliverInput', { ...ref, destination: 'offsite' });
    let over = false;
    const delivering = backups.call('deliver', input).finally(() => {
      over = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(over).toBe(false);
    renameSync(`${drive}-unplugged`, drive);
    expect(await delivering).toEqual({ delivered: [run], left: 0 });
    expect(backups.snapshotNames('offsite')).toHaveLength(2);
  });
});

test('tells when a destination has less space left than one of the last runs needed', async () => {
  backups.write('file', 'content');
  later(60_000);
  await backups.run();
  const [document] = backups.host.history.list({ job: 'site' });
  if (!document) throw new Error('no run');
  const destinations = document.destinations.map((one) => ({ ...one, bytes: one.name === 'nas' ? 1e17 : 10 }));
  backups.host.history.put('web-1', { ...document, destinations });
  const run = backups.newRun();
  await backups.begin(run);
  await backups.store(run);
  const ref = { input: backups.input(), run };
  expect((await backups.call('commit', { ...ref, destination: 'nas' })).warnings).toMatchObject([
    { code: 'SpaceLow', message: expect.stringMatching(/^nas: .* GB are free/) },
  ]);
  expect((await backups.call('commit', { ...ref, destination: 'offsite' })).warnings).toBeUndefined();
});
