import { describe, expect, it } from 'vitest';
import { progressLines, progressOf, RateMeter, timeLeft } from '../../src/cli/print/progress.js';
import { restoreProgress } from '../../src/cli/print/restore.js';
import type { RunUpdate } from '../../src/control/follow.js';
import type { BackupStatusAnswer } from '../../src/workflows/types.js';

const status: BackupStatusAnswer = {
  run: 'backup/h/site/1',
  job: 'site',
  host: 'h',
  status: 'running',
  phase: 'store',
  batches: { done: 1, total: 4 },
  totals: {
    files: 10,
    newFiles: 0,
    changedFiles: 0,
    unreadable: 0,
    sourceBytes: 1000,
    readBytes: 250,
    newBytes: 0,
    storedBytes: 100,
  },
  destinations: [{ name: 'nas', state: 'pending', packs: 1, bytes: 80, misses: 0 }],
  startedAt: '2026-11-22T03:00:00.000Z',
};
const update = (changes: Partial<RunUpdate>): RunUpdate => ({
  run: status.run,
  status,
  heartbeats: [],
  retries: [],
  ...changes,
});

describe('progress of a backup', () => {
  it('adds what the activities in progress have done to what is counted', () => {
    const progress = progressOf(
      update({
        heartbeats: [
          { phase: 'store', files: 5, read: 100, new: 0, stored: 40, total: 200 },
          { phase: 'store', destination: 'nas', files: 0, read: 0, new: 0, stored: 15 },
        ],
      }),
      'site',
    );
    expect(progress.bytes).toEqual({ source: 1000, read: 350, stored: 140 });
    expect(progress.destinations).toEqual([{ name: 'nas', status: 'pending', packs: 1, bytes: 95 }]);
    expect(progress.done).toBe((1 + 0.5) / 4);
  });

  it('counts files while it scans, before there are totals', () => {
    const scanning = { ...status, phase: 'snapshot' as const, totals: { ...status.totals, files: 0, readBytes: 0 } };
    const progress = progressOf(
      update({
        status: { ...scanning, batches: { done: 0, total: 0 } },
        heartbeats: [{ phase: 'snapshot', files: 1234, read: 0, new: 0, stored: 0 }],
      }),
      'site',
    );
    expect(progress.files).toBe(1234);
    expect(progress.done).toBeNull();
  });

  it('says why it does not get on', () => {
    const retries = [{ activity: 'upload', attempt: 3, message: 'nas: no route to host' }];
    expect(progressOf(update({ retries }), 'site').message).toBe('upload (attempt 3): nas: no route to host');
    const waiting = progressOf(update({ status: undefined, waiting: 'worker' }), 'site');
    expect(waiting).toMatchObject({ job: 'site', phase: 'waiting' });
    expect(waiting.message).toMatch(/no worker is up/);
  });

  it('shows phase, share, files, bytes, rate, time left and each destination', () => {
    const lines = progressLines(progressOf(update({}), 'site'), 5000, 60_000);
    expect(lines[0]).toBe('site: store · 25 % · 10 files · 250 B read of 1 kB · 5 kB/s · 1 m 00 s left');
    expect(lines[1]).toBe('  nas: pending · 80 B');
  });
});

describe('rate and time left', () => {
  it('measures over the last ten seconds', () => {
    const meter = new RateMeter();
    meter.add(0, 0);
    meter.add(5000, 5000);
    expect(meter.rate).toBe(1000);
    for (let at = 6000; at <= 30_000; at += 1000) meter.add(at, 5000);
    expect(meter.rate).toBe(0);
  });

  it('takes the work so far as an example of the rest', () => {
    expect(timeLeft(0.25, 10_000)).toBe(30_000);
    expect(timeLeft(0.25, 100)).toBeUndefined();
    expect(timeLeft(null, 10_000)).toBeUndefined();
  });
});

it('never shows more restored than there is', () => {
  const progress = restoreProgress({
    run: 'r',
    status: {
      run: 'r',
      job: 'site',
      host: 'h',
      status: 'running',
      phase: 'files',
      snapshot: 's',
      target: '/t',
      files: { total: 10, restored: 8, skipped: 1, failed: 0 },
      bytes: { total: 100, restored: 90 },
      slices: { done: 1, total: 2 },
      startedAt: '',
    },
    heartbeats: [{ phase: 'files', slice: 1, files: 5, failed: 0, bytes: 50 }],
  });
  expect(progress).toEqual({ phase: 'files', files: { done: 10, total: 10 }, bytes: { done: 100, total: 100 } });
});
