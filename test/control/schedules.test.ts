import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bundleWorkflowCode, DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectNative } from '../../src/control/connection.js';
import {
  applySchedules,
  catchupWindowMs,
  deleteSchedule,
  listSchedules,
  pauseSchedule,
  resumeSchedule,
  scheduleId,
  showSchedule,
  triggerSchedule,
} from '../../src/control/schedules.js';
import { usableSearchAttributes } from '../../src/control/search-attributes.js';
import { startTestTemporal, type TestTemporal } from '../support/temporal.js';

let temporal: TestTemporal;
beforeAll(async () => {
  temporal = await startTestTemporal();
});
afterAll(() => temporal.cleanup());

const daily = { cron: '0 3 * * *', timezone: 'Europe/Berlin', jitter: 300_000 };
const makeAction = (job: string) => [{ job, configHash: 'abc', options: {}, mac: `mac of ${job}` }];
const brief = (changes: { action: string; id: string; changes: { field: string }[] }[]) =>
  changes.map(({ action, id, changes: fields }) =>
    `${action} ${id} ${fields.map(({ field }) => field).join('+')}`.trim(),
  );

describe('apply', () => {
  test('a check has a schedule of its own, which goes when the config drops it', async () => {
    const { client } = temporal;
    const makeCheck = (job: string) => [{ job, scheduled: true }];
    const jobs = [{ name: 'site', check: { every: 86_400_000 } }];
    const options = { host: 'checked', makeAction, makeCheck };
    expect(await applySchedules(client, { ...options, jobs })).toMatchObject([
      { action: 'create', id: 'holdfast/checked/site/check', job: 'site' },
    ]);
    expect(brief(await applySchedules(client, { ...options, jobs }))).toEqual(['keep holdfast/checked/site/check']);
    expect(await listSchedules(client, 'checked', ['site'])).toMatchObject([{ job: 'site', schedule: 'every 1d' }]);
    const dropped = await applySchedules(client, { ...options, jobs: [{ name: 'site' }], prune: true });
    expect(dropped).toMatchObject([{ action: 'delete', id: 'holdfast/checked/site/check' }]);
  });

  test('a drill has a schedule of its own, which goes when the config drops it', async () => {
    const { client } = temporal;
    const makeDrill = (job: string) => [{ job, scheduled: true }];
    const jobs = [{ name: 'site', drill: { cron: '0 5 * * 0', timezone: 'Europe/Berlin', jitter: 0 } }];
    const options = { host: 'drilled', makeAction, makeDrill };
    expect(await applySchedules(client, { ...options, jobs })).toMatchObject([
      { action: 'create', id: 'holdfast/drilled/site/drill', job: 'site' },
    ]);
    expect(brief(await applySchedules(client, { ...options, jobs }))).toEqual(['keep holdfast/drilled/site/drill']);
    const { action } = await client.schedule.getHandle('holdfast/drilled/site/drill').describe();
    expect(action).toMatchObject({ workflowType: 'drill', workflowId: 'drill/drilled/site', args: makeDrill('site') });
    const dropped = await applySchedules(client, { ...options, jobs: [{ name: 'site' }], prune: true });
    expect(dropped).toMatchObject([{ action: 'delete', id: 'holdfast/drilled/site/drill' }]);
  });

  test('creates what the config says, then has nothing to do', async () => {
    const { client, connection, namespace } = temporal;
    const searchAttributes = await usableSearchAttributes(connection, namespace);
    const options = {
      host: 'a',
      jobs: [{ name: 'site', schedule: daily }, { name: 'db', schedule: { every: 21_600_000 } }, { name: 'manual' }],
      makeAction,
      searchAttributes,
    };
    const dry = await applySchedules(client, { ...options, dryRun: true });
    expect(dry.map(({ action, id }) => [action, id])).toEqual([
      ['create', 'holdfast/a/db'],
      ['create', 'holdfast/a/site'],
    ]);
    expect(await listSchedules(client, 'a', ['site', 'db'])).toEqual([]);

    await applySchedules(client, options);
    expect(brief(await applySchedules(client, options))).toEqual(['keep holdfast/a/db', 'keep holdfast/a/site']);

    const site = await showSchedule(client, 'a', 'site');
    expect(site).toMatchObject({
      job: 'site',
      host: 'a',
      paused: false,
      schedule: 'cron 0 3 * * * (Europe/Berlin), jitter 5m',
      overlap: 'SKIP',
      catchupWindowMs,
      lastRun: null,
    });
    const berlin = new Intl.DateTimeFormat('en-GB', { timeZone: 'Europe/Berlin', hour: 'numeric', minute: 'numeric' });
    expect(berlin.format(new Date(site.nextRuns[0] ?? 0))).toMatch(/^03:0[0-5]$/);
    expect((await showSchedule(client, 'a', 'db')).schedule).toBe('every 6h');

    const { action } = await client.schedule.getHandle(scheduleId('a', 'site')).describe();
    expect(action).toMatchObject({
      workflowType: 'backup',
      workflowId: 'backup/a/site',
      taskQueue: 'holdfast',
      args: makeAction('site'),
      staticSummary: 'Scheduled backup of site on a',
    });
    expect(action.searchAttributes).toEqual({
      HoldfastJob: ['site'],
      HoldfastHost: ['a'],
      HoldfastOutcome: ['running'],
    });
  });

  test('updates what differs and says what, and leaves paused schedules paused with their note', async () => {
    const { client } = temporal;
    const jobs = [{ name: 'one', schedule: daily }];
    await applySchedules(client, { host: 'b', jobs, makeAction });
    await pauseSchedule(client, 'b', 'one', 'moving house');

    const later = [{ name: 'one', schedule: { ...daily, cron: '30  4 * * 1-5' } }];
    const changes = await applySchedules(client, { host: 'b', jobs: later, makeAction });
    expect(changes).toEqual([
      {
        action: 'update',
        id: 'holdfast/b/one',
        job: 'one',
        changes: [
          {
            field: 'schedule',
            from: 'cron 0 3 * * * (Europe/Berlin), jitter 5m',
            to: 'cron 30 4 * * 1-5 (Europe/Berlin), jitter 5m',
          },
        ],
      },
    ]);
    expect(await showSchedule(client, 'b', 'one')).toMatchObject({ paused: true, note: 'moving house', nextRuns: [] });

    const input = await applySchedules(client, { host: 'b', jobs: later, makeAction: () => ['other'] });
    expect(brief(input)).toEqual(['update holdfast/b/one input']);
    const resumed = await resumeSchedule(client, 'b', 'one');
    expect(resumed.paused).toBe(false);
    expect(resumed.nextRuns.length).toBeGreaterThan(0);
  });

  test('sees a change made elsewhere', async () => {
    const { client } = temporal;
    const options = { host: 'edited', jobs: [{ name: 'one', schedule: daily }], makeAction };
    await applySchedules(client, options);
    await client.schedule.getHandle('holdfast/edited/one').update((previous) => ({
      ...previous,
      spec: { calendars: [{ hour: 5 }], timezone: 'Europe/Berlin' },
      policies: { overlap: 'ALLOW_ALL', catchupWindow: '1 minute' },
    }));
    expect(brief(await applySchedules(client, options))).toEqual([
      'update holdfast/edited/one schedule+overlap+catch-up window',
    ]);
    expect(brief(await applySchedules(client, options))).toEqual(['keep holdfast/edited/one']);
  });

  test("prunes what is gone from the config when told to, and never another host's", async () => {
    const { client } = temporal;
    const both = [
      { name: 'one', schedule: daily },
      { name: 'two', schedule: daily },
    ];
    for (const host of ['c', 'cc', 'c2']) await applySchedules(client, { host, jobs: both, makeAction });
    // The server's list of schedules lags behind.
    await expect.poll(async () => (await listSchedules(client, 'c')).length, { timeout: 10_000 }).toBe(2);

    const jobs = [{ name: 'one', schedule: daily }, { name: 'two' }];
    const kept = await applySchedules(client, { host: 'c', jobs, makeAction });
    expect(kept.map(({ action, job, orphan }) => [action, job, orphan])).toEqual([
      ['keep', 'one', undefined],
      ['keep', 'two', true],
    ]);
    const pruned = await applySchedules(client, { host: 'c', jobs, makeAction, prune: true });
    expect(pruned.map(({ action, job }) => [action, job])).toEqual([
      ['keep', 'one'],
      ['delete', 'two'],
    ]);
    expect((await listSchedules(client, 'c', ['one', 'two'])).map(({ job }) => job)).toEqual(['one']);
    for (const host of ['cc', 'c2']) expect(await listSchedules(client, host, ['one', 'two'])).toHaveLength(2);
  });
});

describe('one schedule', () => {
  test('a trigger starts a run, a second one while it runs is skipped, and says so', async () => {
    const { client } = temporal;
    await applySchedules(client, { host: 'd', jobs: [{ name: 'one', schedule: daily }], makeAction });
    const first = await triggerSchedule(client, 'd', 'one');
    expect(first.outcome).toBe('started');
    expect(first.run).toMatch(/^backup\/d\/one-\d{4}-/);
    await expect
      .poll(async () => (await showSchedule(client, 'd', 'one')).running, { timeout: 10_000 })
      .toEqual([first.run]);
    const second = await triggerSchedule(client, 'd', 'one');
    expect(second).toMatchObject({ outcome: 'skipped', run: first.run });
    expect((await showSchedule(client, 'd', 'one')).lastRun?.run).toBe(first.run);
    await client.workflow.getHandle(first.run ?? '').terminate();
  });

  test('one that does not exist is named, with the nearest that does', async () => {
    const { client } = temporal;
    await applySchedules(client, { host: 'e', jobs: [{ name: 'website', schedule: daily }], makeAction });
    await expect.poll(async () => (await listSchedules(client, 'e')).length, { timeout: 10_000 }).toBe(1);
    const calls = [showSchedule, pauseSchedule, resumeSchedule, triggerSchedule, deleteSchedule];
    for (const call of calls) {
      await expect(call(client, 'e', 'webiste')).rejects.toMatchObject({
        code: 'JobUnknown',
        hint: expect.stringContaining('Did you mean website?'),
      });
    }
    await deleteSchedule(client, 'e', 'website');
    await expect(showSchedule(client, 'e', 'website')).rejects.toMatchObject({ code: 'JobUnknown' });
  });
});

test('a server that was off over several firings catches up with exactly one run', async () => {
  const logger = new DefaultLogger('ERROR');
  Runtime.install({ logger });
  const workflowBundle = await bundleWorkflowCode({
    workflowsPath: join(import.meta.dirname, '../support/instant-backup.ts'),
    logger,
  });
  const stateDir = await mkdtemp(join(tmpdir(), 'holdfast-state-'));
  // The worker ends its runs at once, so that each missed firing could get a run of its own.
  const start = async () => {
    const own = await startTestTemporal({ stateDir });
    const native = await connectNative(undefined, own.server);
    const worker = await Worker.create({ connection: native.connection, taskQueue: 'holdfast', workflowBundle });
    const running = worker.run();
    const stop = async () => {
      worker.shutdown();
      await running;
      await native.connection.close();
      await own.close();
      await own.server.release();
    };
    const describeFast = () => own.client.schedule.getHandle(scheduleId('f', 'fast')).describe();
    return { ...own, stop, describeFast };
  };
  let own = await start();
  try {
    await applySchedules(own.client, { host: 'f', jobs: [{ name: 'fast', schedule: { every: 1000 } }], makeAction });
    await expect
      .poll(async () => (await own.describeFast()).info.numActionsTaken, { timeout: 10_000 })
      .toBeGreaterThan(0);
    await own.stop();
    await sleep(3500);
    const back = Date.now();
    own = await start();
    const started = Date.now();
    const laterRuns = async () =>
      (await own.describeFast()).info.recentActions.filter(({ scheduledAt }) => scheduledAt.getTime() > started);
    await expect.poll(async () => (await laterRuns()).length, { timeout: 10_000 }).toBeGreaterThan(0);

    // What was due before the server came back and ran after: a run that was cut off by its end counts like a missed one.
    const caughtUp: string[] = [];
    for await (const run of own.client.workflow.list()) {
      const due = Date.parse(run.workflowId.replace('backup/f/fast-', ''));
      const closed = run.closeTime?.getTime() ?? Number.POSITIVE_INFINITY;
      if (run.type === 'backup' && due < back && closed > back) caughtUp.push(run.workflowId);
    }
    expect(caughtUp).toHaveLength(1);
    expect((await own.describeFast()).info.numActionsSkippedOverlap).toBeGreaterThanOrEqual(2);
  } finally {
    await own.stop();
    await rm(stateDir, { recursive: true, force: true });
  }
});
