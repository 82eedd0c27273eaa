import { describe, expect, test } from 'vitest';
import {
  backAgain,
  digestNotification,
  missedNotification,
  runNotification,
  together,
} from '../../src/notifiers/message.js';
import { cut } from '../../src/notifiers/text.js';
import { failed, run } from './samples.js';

describe('a failed run', () => {
  const told = runNotification('web-1', 'failure', failed());

  test('has a subject that says what failed where, and how much is stored', () => {
    expect(told.subject).toBe('site: FAILED on offsite (2 of 3 stored)');
    expect(told).toMatchObject({ event: 'failure', severity: 'error', host: 'web-1', job: 'site' });
  });

  test('says first what to do', () => {
    expect(told.text.split('\n')[0]).toBe(
      'What to do: Renew or correct the credentials of offsite; `holdfast destinations test offsite` shows whether they work.',
    );
    expect(told.text).toContain('AuthDenied: offsite refused the key');
    expect(told.text).toContain('At nas');
  });

  test('of a source names its error and hint', () => {
    const document = failed({
      destinations: run().destinations,
      error: { code: 'SourceMissing', message: '/srv/www does not exist', hint: 'Is a disk not mounted?' },
    });
    const { subject, next } = runNotification('web-1', 'failure', document);
    expect(subject).toBe('site: FAILED: /srv/www does not exist');
    expect(next).toBe('Is a disk not mounted?');
    // As a run leaves it that had nothing to send: its destinations are not what failed.
    const unsent = run().destinations.map((one) => ({ ...one, status: 'missed' as const, error: null }));
    const { code, message } = document.error ?? { code: '', message: '' };
    const found = runNotification('web-1', 'failure', failed({ destinations: unsent, error: { code, message } }));
    expect(found.subject).toBe('site: FAILED: /srv/www does not exist');
    expect(found.next).toMatch(/^Is its disk or share mounted\?/);
  });

  test('that repeats says how often', () => {
    const repeated = { count: 11, since: '2026-11-12T03:04:10.000Z' };
    expect(runNotification('web-1', 'failure', failed(), repeated).subject).toBe(
      'site: FAILED on offsite (2 of 3 stored), 11 times in a row since 2026-11-12 03:04',
    );
    expect(runNotification('web-1', 'recovery', run(), repeated).subject).toBe(
      'site: recovered after 11 failures since 2026-11-12 03:04',
    );
  });
});

test('a partial run, with files that could not be read', () => {
  const warnings = Array.from({ length: 14 }, (_, at) => ({
    code: 'Unreadable',
    message: 'permission denied',
    path: `/srv/f${at}`,
  }));
  const document = run({ status: 'partial', files: { total: 20, new: 0, changed: 0, unreadable: 14 }, warnings });
  const told = runNotification('web-1', 'warning', document);
  expect(told.subject).toBe('site: PARTIAL, 14 files unreadable');
  expect(told.next).toMatch(/^Let the worker's user read the files/);
  expect(told.problems).toHaveLength(11);
  expect(told.problems[0]).toBe('Unreadable: permission denied (/srv/f0)');
  expect(told.problems.at(-1)).toBe('and 4 more');
});

test('long errors are cut in the middle, to one line', () => {
  const message = `begins here\n${'x'.repeat(5000)}\u001b[31m ends there`;
  const told = runNotification('web-1', 'failure', failed({ destinations: [], error: { code: 'Internal', message } }));
  expect(told.problems[0]?.length).toBeLessThanOrEqual(500);
  expect(told.problems[0]).toMatch(/^Internal: begins here x+ \.\.\. x+ \[31m ends there$/);
  expect(told.subject.length).toBeLessThan(201);
  expect(cut('😀'.repeat(100), 50)).not.toMatch(
    /[\ud800-\udfff](?![\udc00-\udfff])(?<![\ud800-\udbff][\udc00-\udfff])/,
  );
});

test('a missed job: since when, whether its host is there, what to do', () => {
  const missed = {
    lastSuccess: new Date(Date.now() - 50 * 3_600_000).toISOString(),
    withinMs: 26 * 3_600_000,
    dueAt: '2026-11-23T05:00:00.000Z',
    hostGone: false,
    running: null,
  };
  const here = missedNotification('web-1', 'site', missed);
  expect(here.subject).toBe('site: MISSED, no backup for 2 d 2 h');
  expect(here.next).toContain('holdfast backup site');
  const gone = missedNotification('web-1', 'site', { ...missed, lastSuccess: null, hostGone: true });
  expect(gone.subject).toBe('site: MISSED, no backup yet, web-1 is not there');
  expect(gone.next).toMatch(/^Is web-1 on/);
  // The same miss, told twice, is one.
  expect(gone.id).toBe(here.id);
  expect(backAgain('web-1', 'site', missed.dueAt, '2026-11-23T09:00:00.000Z')).toMatchObject({ event: 'recovery' });
});

test('a digest says of each job how it went, and what to look at', () => {
  const runs = { succeeded: 6, partial: 0, failed: 1, cancelled: 0, skipped: 0 };
  const well = { overdue: false, unusual: 0 };
  const jobs = [
    { job: 'site', runs, ...well, lastSuccess: '2026-11-22T03:00:00.000Z', stored: 1e9, trouble: 'the disk is full' },
    {
      job: 'home',
      runs: { ...runs, failed: 0 },
      ...well,
      lastSuccess: '2026-11-22T04:00:00.000Z',
      stored: 5,
      trouble: null,
    },
  ];
  const period = { from: '2026-11-16T07:00:00.000Z', to: '2026-11-23T07:00:00.000Z' };
  const bad = digestNotification('web-1', { ...period, jobs });
  expect(bad.subject).toBe('web-1: digest, 1 of 2 jobs had problems');
  expect(bad.text).toContain('6 succeeded, 1 FAILED, 1 GB stored, last success 2026-11-22 03:00:00 UTC');
  expect(bad.problems).toEqual(['site: the disk is full']);
  expect(digestNotification('web-1', { ...period, jobs: jobs.slice(1) })).toMatchObject({
    subject: 'web-1: digest, all is well (1 job)',
    next: null,
  });
  const silent = jobs.slice(1).map((job) => ({ ...job, runs: { ...job.runs, succeeded: 0 }, overdue: true }));
  const late = digestNotification('web-1', { ...period, jobs: silent });
  expect(late.subject).toBe('web-1: digest, 1 of 1 job had problems');
  expect(late.text).toContain('0 succeeded, OVERDUE');
});

test('what was held back becomes one, by its worst', () => {
  const good = runNotification('web-1', 'success', run());
  const bad = runNotification('web-1', 'failure', failed());
  expect(together([good])).toBe(good);
  const all = together([good, bad]);
  expect(all).toMatchObject({ event: 'failure', severity: 'error', job: 'site' });
  expect(all?.subject).toBe('2 notifications held back, among them: site: FAILED on offsite (2 of 3 stored)');
  expect(all?.text).toContain(good.subject);
});
