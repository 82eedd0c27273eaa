import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Destination } from '../../src/destinations/destination.js';
import { openDestination } from '../../src/destinations/open.js';
import { TimetableBucket, TokenBucket, withBandwidth } from '../../src/destinations/throttle.js';
import { drain, failure } from './conformance.js';

const KiB = 1024;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

describe('bandwidth', () => {
  let base: string;
  let inner: Destination;

  beforeAll(async () => {
    base = await mkdtemp(join(tmpdir(), 'holdfast-throttle-'));
    inner = await openDestination('nas', { type: 'local', path: join(base, 'nas') });
    await inner.ensureRoot();
  });

  afterAll(() => rm(base, { recursive: true, force: true }));

  it('holds everything that shares a line below its rate', async () => {
    const bucket = new TokenBucket(1000 * KiB);
    const pieces = Array.from({ length: 60 }, () => bucket.take(10 * KiB));
    // 600 KiB at 1000 KiB/s, of which 100 ms' worth may come at once.
    expect(await timed(() => Promise.all(pieces))).toBeGreaterThan(480);
  });

  it('does not save up for a burst while nothing is sent', async () => {
    const bucket = new TokenBucket(1000 * KiB);
    await bucket.take(1);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await timed(() => bucket.take(400 * KiB))).toBeGreaterThan(280);
  });

  it('limits putting, getting and reading', async () => {
    const slow = withBandwidth(inner, 1000 * KiB);
    const bytes = randomBytes(500 * KiB);
    expect(await timed(() => slow.put('object', { bytes }))).toBeGreaterThan(380);
    let seen: Buffer = Buffer.alloc(0);
    const got = await timed(async () => {
      seen = await drain(await slow.get('object'));
    });
    expect(got).toBeGreaterThan(380);
    expect(seen.equals(bytes)).toBe(true);
    expect(await timed(() => slow.read('object', { maxBytes: bytes.length }))).toBeGreaterThan(380);
    expect((await slow.stat('object'))?.size).toBe(bytes.length);
  });

  it('follows a table by the time of day, in its time zone, also in the middle of an object', async () => {
    const table = [
      { from: '08:00', to: '18:00', rate: 100 * KiB },
      { from: '22:00', to: '06:00' },
      { rate: 1000 * KiB },
    ];
    let now = Date.parse('2026-06-01T10:00:00Z');
    const line = new TimetableBucket(table, 'Europe/Berlin', () => now);
    const took = async (utc: string): Promise<number> => {
      now = Date.parse(`2026-06-01T${utc}:00Z`);
      await line.take(1);
      return timed(() => line.take(50 * KiB));
    };
    // 12:00 in Berlin, then 17:59 and 18:00; 22:00 and 05:59 are of the night that has no limit.
    expect(await took('10:00')).toBeGreaterThan(380);
    expect(await took('15:59')).toBeGreaterThan(380);
    const evening = await took('16:00');
    expect(evening).toBeLessThan(200);
    expect(await took('20:00')).toBeLessThan(20);
    expect(await took('03:59')).toBeLessThan(20);
    expect(line.piece).toBeLessThanOrEqual(10 * KiB);
    const slow = withBandwidth(inner, [{ rate: 500 * KiB }], 'UTC');
    expect(await timed(() => slow.put('table', { bytes: randomBytes(250 * KiB) }))).toBeGreaterThan(380);
  });

  it('can be stopped while it waits', async () => {
    const slow = withBandwidth(inner, 10 * KiB);
    const signal = AbortSignal.timeout(100);
    const took = await timed(async () => {
      const error = await failure(slow.put('stopped', { bytes: randomBytes(500 * KiB) }, { signal }));
      expect(error.code).toBe('Cancelled');
    });
    expect(took).toBeLessThan(20_000);
    expect(await slow.stat('stopped')).toBeUndefined();
  });

  it('is part of the config', async () => {
    const limited = await openDestination('nas', { type: 'local', path: join(base, 'nas'), bandwidth: 500 * KiB });
    expect(await timed(() => limited.put('configured', { bytes: randomBytes(250 * KiB) }))).toBeGreaterThan(380);
    expect(limited.name).toBe('nas');
    expect(limited.type).toBe('local');
  });
});
