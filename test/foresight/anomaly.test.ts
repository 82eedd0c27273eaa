import { describe, expect, test } from 'vitest';
import { anomalies } from '../../src/foresight/anomaly.js';
import { night, nights, sources } from './runs.js';

const earlier = nights(14);
const metrics = (run: Parameters<typeof anomalies>[0], before = earlier): string[] =>
  anomalies(run, before).map(({ metric }) => metric);

describe('anomalies', () => {
  test('an ordinary night is none, whatever was changed or added', () => {
    expect(metrics(night(14))).toEqual([]);
    expect(metrics(night(14, { sources: sources('www', { files: 1800, bytes: 300_000_000 }) }))).toEqual([]);
    expect(metrics(night(14, { sources: sources('www', { files: 700, bytes: 70_000_000 }) }))).toEqual([]);
  });

  test('names the source whose files fell by half, with value and expected range', () => {
    const [found] = anomalies(night(14, { sources: sources('www', { files: 480, bytes: 48_000_000 }) }), earlier);
    expect(found).toMatchObject({ job: 'site', metric: 'files', source: 'www', value: 480, grave: true });
    expect(found?.low).toBeGreaterThan(480);
    expect(found?.message).toMatch(/^source www has 480 files, expected \d+ to 1,\d+$/);
  });

  test('tells of a source that is suddenly empty, from the second run on', () => {
    const run = night(1, { sources: sources('www', { files: 0, bytes: 0 }) });
    expect(anomalies(run, nights(1))[0]).toMatchObject({ metric: 'emptySource', source: 'www', value: 0 });
  });

  test('tells of a dump that shrank', () => {
    const run = night(14, { sources: sources('shop', { bytes: 9_000_000 }) });
    expect(anomalies(run, earlier)[0]).toMatchObject({ metric: 'dumpSize', source: 'shop' });
  });

  test('takes most files changing into what does not compress for encryption', () => {
    const encrypted = { changedFiles: 900, newBytes: 95_000_000, storedBytes: 94_800_000 };
    const [found] = anomalies(night(14, encrypted), earlier);
    expect(found).toMatchObject({ metric: 'massChange', grave: true });
    expect(found?.message).toContain('91 % of the files changed at once');
    // Many changes that compress as ever are a deployment; a new, incompressible file is an upload.
    expect(metrics(night(14, { changedFiles: 900, newBytes: 95_000_000, storedBytes: 38_000_000 }))).toEqual([]);
    expect(metrics(night(14, { newFiles: 3, newBytes: 95_000_000, storedBytes: 94_800_000 }))).toEqual([]);
  });

  test('a slow run is told of and is not grave', () => {
    expect(anomalies(night(14, { durationMs: 400_000 }), earlier)).toMatchObject([
      { metric: 'duration', grave: false, value: 400_000 },
    ]);
    expect(metrics(night(14, { durationMs: 80_000 }))).toEqual([]);
  });

  test('what fell before is not told again, nor what another config or a failed run held', () => {
    const fallen = { sources: sources('www', { files: 480, bytes: 48_000_000 }) };
    expect(metrics(night(15, fallen), [...earlier, night(14, fallen)])).toEqual([]);
    expect(metrics(night(14, { ...fallen, config: 'other' }))).toEqual([]);
    expect(
      metrics(
        night(14, fallen),
        nights(14, () => ({ status: 'failed' })),
      ),
    ).toEqual([]);
  });

  test('one wild night among the earlier ones does not hide the next', () => {
    const wild = nights(14, (at) => (at === 7 ? { sources: sources('www', { files: 90_000 }) } : {}));
    expect(metrics(night(14, { sources: sources('www', { files: 300, bytes: 30_000_000 }) }), wild)).toEqual(['files']);
  });
});
