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
    expect(metrics(night(14, { sources: sources('www', { files: 501, bytes: 50_100_000 }) }))).toEqual(['files']);
    expect(found?.message).toMatch(/^source www has 480 files, expected \d+ to 2,\d+$/);
  });

  test('tells of a source that is suddenly empty, from the second run on', () => {
    const run = night(1, { sources: sources('www', { files: 0, bytes: 0 }) });
    expect(anomalies(run, nights(1))[0]).toMatchObject({ metric: 'emptySource', source: 'www', value: 0 });
  });

  test('tells of a dump that shrank', () => {
    const run = night(14, { sources: sources('shop', { bytes: 9_000_000 }) });
    expect(anomalies(run, earlier)[0]).toMatchObject({ metric: 'dumpSize', source: 'shop' });
    expect(metrics(night(14, { sources: sources('shop', { bytes: 30_000_000 }) }))).toEqual(['dumpSize']);
    expect(metrics(night(14, { sources: sources('shop', { bytes: 40_000_000 }) }))).toEqual([]);
    const small = nights(14, () => ({ sources: sources('shop', { bytes: 500_000 }) }));
    expect(metrics(night(14, { sources: sources('shop', { bytes: 1_000 }) }), small)).toEqual(['dumpSize']);
  });

  test('takes most files changing into what does not compress for encryption', () => {
    const encrypted = { changedFiles: 900, newBytes: 95_000_000, storedBytes: 94_800_000 };
    const [found] = anomalies(night(14, encrypted), earlier);
    expect(found).toMatchObject({ metric: 'massChange', grave: true });
    expect(found?.message).toContain('90 % of the files changed at once');
    // Many changes that compress as ever are a deployment; a new, incompressible file is an upload.
    expect(metrics(night(14, { changedFiles: 900, newBytes: 95_000_000, storedBytes: 38_000_000 }))).toEqual([]);
    expect(metrics(night(14, { newFiles: 3, newBytes: 95_000_000, storedBytes: 94_800_000 }))).toEqual([]);
  });

  test('dumps, which are written anew each night, are no mass change', () => {
    const dumps = {
      files: 40,
      newFiles: 0,
      changedFiles: 40,
      newBytes: 5_000_000,
      storedBytes: 4_900_000,
      sources: [{ name: 'shop', type: 'mysql', files: 40, bytes: 200_000_000 }],
    };
    const first = { ...dumps, newFiles: 40, changedFiles: 0, newBytes: 200_000_000, storedBytes: 50_000_000 };
    expect(metrics(night(1, dumps), [night(0, { ...first, mode: 'full' })])).toEqual([]);
    // Beside files that were encrypted they make no difference.
    const both = nights(14, () => ({
      files: 1040,
      changedFiles: 50,
      sources: [...night(0).sources, ...dumps.sources],
    }));
    const run = night(14, { ...both[0], changedFiles: 940, newBytes: 95_000_000, storedBytes: 94_800_000 });
    expect(metrics({ ...run, run: 'attack', at: night(14).at }, both)).toEqual(['massChange']);
  });

  test('files put in place of others are replaced, those only added are an import', () => {
    const all = { newFiles: 990, changedFiles: 0, newBytes: 95_000_000, storedBytes: 94_800_000 };
    // Ransomware that renames what it encrypts; and a thousand pictures more.
    expect(metrics(night(14, all))).toEqual(['massChange']);
    expect(metrics(night(14, { ...all, files: 1990 }))).toEqual([]);
    // A quarter of the files is many, too.
    const some = { changedFiles: 250, newBytes: 25_000_000, storedBytes: 24_900_000 };
    expect(metrics(night(14, some))).toEqual(['massChange']);
  });

  test('what comes every week is told twice at most, an attack of several nights each night', () => {
    const pictures = { changedFiles: 600, newBytes: 95_000_000, storedBytes: 94_000_000 };
    const weekly = nights(60, (at) => (at % 7 === 6 ? pictures : {}));
    const told = weekly.filter((run, at) => anomalies(run, weekly.slice(0, at)).length > 0);
    expect(told.length).toBe(2);
    const attack = nights(3, () => pictures).map((run, at) => ({ ...run, ...night(14 + at, pictures) }));
    expect(metrics(attack[2]!, [...earlier, ...attack.slice(0, 2)])).toEqual(['massChange']);
  });

  test('a tenth of the files a night into what does not compress is told on the second', () => {
    const tenth = { changedFiles: 150, newBytes: 12_000_000, storedBytes: 11_800_000 };
    const attack = [14, 15, 16].map((at) => night(at, tenth));
    const told = attack.map((run, at) => metrics(run, [...earlier, ...attack.slice(0, at)]));
    expect(told).toEqual([[], ['massChange'], ['massChange']]);
    const [found] = anomalies(attack[1]!, [...earlier, attack[0]!]);
    expect(found?.message).toMatch(/^24 % of the files changed in 2 runs, .* bit by bit$/);
    // What compresses as ever is work; so is what comes again and again.
    const work = [14, 15].map((at) => night(at, { ...tenth, storedBytes: 4_800_000 }));
    expect(metrics(work[1]!, [...earlier, work[0]!])).toEqual([]);
    const monthly = nights(120, (at) => (at % 30 >= 27 ? tenth : {}));
    const months = monthly.filter((run, at) => metrics(run, monthly.slice(0, at)).length > 0).map(({ run }) => run);
    expect(months.map((run) => Number(run.split('/').at(-1)))).toEqual([28, 29, 58, 59]);
  });

  test('sizes and times that always vary by much are expected to', () => {
    const purged = nights(28, (at) => ({
      durationMs: 60_000 * (1 + ((at * 5) % 7)),
      sources: sources('www', { files: 500 + (at % 7) * 250, bytes: 50_000_000 + (at % 7) * 30_000_000 }),
    }));
    expect(metrics(night(28, { sources: sources('www', { files: 500, bytes: 50_000_000 }) }), purged)).toEqual([]);
    expect(metrics(night(28, { durationMs: 600_000 }), purged)).toEqual([]);
  });

  test('where most files change each night, most of the content must be new and compress no more', () => {
    // Disks of virtual machines: nearly all are written to, a little of each.
    const disks = { files: 30, newFiles: 0, changedFiles: 28, sourceBytes: 100_000_000_000, newBytes: 3_000_000_000 };
    const usual = nights(14, (at) => ({ ...disks, storedBytes: 1_500_000_000 + (at % 3) * 100_000_000, sources: [] }));
    const judged = (newBytes: number, storedBytes: number, changedFiles = 28): string[] =>
      metrics(night(14, { ...disks, changedFiles, newBytes, storedBytes, sources: [] }), usual);
    expect(judged(95_000_000_000, 94_900_000_000)).toEqual(['massChange']);
    expect(judged(95_000_000_000, 50_000_000_000)).toEqual([]);
    expect(judged(20_000_000_000, 19_900_000_000)).toEqual([]);
    // A few large files among many small ones are no attack.
    expect(judged(95_000_000_000, 94_900_000_000, 12)).toEqual([]);
  });

  test('a run that read more takes longer, which is not slow', () => {
    const imports = nights(20, (at) =>
      at % 5 === 4
        ? { readBytes: 2_000_000_000 + at * 1e7, durationMs: 70_000 + at * 200 }
        : { readBytes: at * 1000, durationMs: 30_000 + (at % 4) * 500 },
    );
    expect(metrics(night(20, { readBytes: 4_000_000_000, durationMs: 115_000 }), imports)).toEqual([]);
    expect(metrics(night(20, { readBytes: 4_000_000_000, durationMs: 900_000 }), imports)).toEqual(['duration']);
    expect(metrics(night(20, { readBytes: 20_000, durationMs: 115_000 }), imports)).toEqual(['duration']);
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
