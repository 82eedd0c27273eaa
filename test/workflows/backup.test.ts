import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';
import { WorkflowFailedError } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { BackupStatusAnswer } from '../../src/workflows/types.js';
import { type Calls, documentOf, gate, Harness, type Mocks, mocks, planOf, started, until } from './harness.js';

let harness: Harness;
let calls: Calls;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(() => harness.stop());
beforeEach(() => {
  calls = { log: [], finished: [] };
});

const retryable = (type: string, details: unknown[] = []): ApplicationFailure =>
  ApplicationFailure.create({ message: `${type} for a test`, type, nextRetryDelay: 50, details });
const final = (type: string): ApplicationFailure => ApplicationFailure.nonRetryable(`${type} for a test`, type);
const count = (what: string): number => calls.log.filter((call) => call === what).length;
const inOrder = (a: string, b: string): void => {
  expect(calls.log, `${a} then ${b}`).toEqual(expect.arrayContaining([a, b]));
  expect(calls.log.lastIndexOf(a), `${a} before ${b}`).toBeLessThan(calls.log.indexOf(b));
};
const run = (change: Partial<Mocks> = {}, batches = 2, save?: string) =>
  harness.with(mocks(calls, change, batches), async (start) => {
    const handle = await start();
    const document = await handle.result();
    if (save) await harness.history(save, handle.workflowId);
    return document;
  });
/** Fails the first `times` calls. */
function flaky<A extends unknown[], R>(times: number, error: () => Error, work: (...args: A) => Promise<R>) {
  let left = times;
  return async (...args: A): Promise<R> => {
    if (left-- > 0) throw error();
    return work(...args);
  };
}

describe('a run', () => {
  test('takes its steps in order and counts', async () => {
    const document = await run({}, 2, 'success');
    expect(document).toMatchObject({
      status: 'succeeded',
      files: { total: 10, new: 10, changed: 0, unreadable: 0 },
      bytes: { source: 1000, read: 1000, new: 800, stored: 900 },
      destinations: [
        { name: 'nas', status: 'stored', packs: 3, bytes: 900, error: null },
        { name: 'offsite', status: 'stored' },
      ],
    });
    expect(calls.log.slice(0, 2)).toEqual(['begin', 'snapshot']);
    for (const batch of ['0', '1']) {
      inOrder(`compress ${batch}`, `encrypt ${batch}`);
      for (const name of ['nas', 'offsite']) {
        inOrder(`encrypt ${batch}`, `upload ${batch} ${name}`);
        inOrder(`upload ${batch} ${name}`, `commit ${name}`);
      }
    }
    inOrder('manifest', 'encrypt manifest');
    for (const name of ['nas', 'offsite']) {
      inOrder('encrypt manifest', `upload manifest ${name}`);
      inOrder(`upload manifest ${name}`, `commit ${name}`);
      inOrder(`commit ${name}`, 'prune nas');
      inOrder(`commit ${name}`, 'finish succeeded');
    }
    expect(calls.log.slice(-4)).toEqual(['prune nas', 'prune offsite', 'finish succeeded', 'notify ops']);
  });

  test('makes one file of all batches, where the job is for archives, and sends that', async () => {
    const warning = { code: 'XattrNotInArchive', message: 'this format cannot hold some' };
    const document = await run(
      {
        begin: async () => ({ ...started(), archive: true }),
        archive: async () => {
          calls.log.push('archive');
          return { bytes: 200, warnings: [warning] };
        },
      },
      2,
      'archive',
    );
    expect(document).toMatchObject({ status: 'succeeded', bytes: { stored: 500 }, warnings: [warning] });
    expect(calls.log.filter((call) => call.startsWith('upload 0') || call.startsWith('encrypt 0'))).toEqual([]);
    inOrder('compress 1', 'manifest');
    inOrder('manifest', 'archive');
    for (const name of ['nas', 'offsite']) {
      inOrder('archive', `upload archive ${name}`);
      inOrder('archive', 'encrypt manifest');
      inOrder(`upload archive ${name}`, `commit ${name}`);
    }
  });

  test('dumps databases first, one after the other; one that fails fails the run, and the rest is stored', async () => {
    const dumped: string[] = [];
    const document = await run(
      {
        begin: async () => ({
          ...started(),
          dumps: [
            { source: 1, name: 'pg' },
            { source: 2, name: 'locked' },
          ],
        }),
        listDatabases: async ({ source }) => {
          if (source === 2) throw final('AuthDenied');
          return { databases: ['shop', 'wiki', 'blog'] };
        },
        dump: async ({ source, database }) => {
          dumped.push(`${source}/${database}`);
          // A worker that dies does not count as the dump's failure; a dump that can't be had does.
          if (dumped.length === 1) throw final('WorkerLost');
          if (database === 1) throw final('DumpIncomplete');
          return { bytes: 10, tables: 1 };
        },
        snapshot: async () => ({
          ...planOf(1),
          sources: 3,
          empty: false,
          failedSources: [{ name: 'pg', code: 'DumpIncomplete', message: 'database wiki: cut short' }],
          dumpWarnings: [{ code: 'NotTransactional', message: 'source pg: old tables' }],
        }),
      },
      1,
      'databases',
    );
    expect(dumped).toEqual(['1/0', '1/0', '1/1', '1/2']);
    expect(document.status).toBe('failed');
    expect(calls.finished[0]?.error).toMatchObject({ code: 'DumpIncomplete' });
    expect(calls.finished[0]?.warnings.map(({ code }) => code)).toEqual(['DumpIncomplete', 'NotTransactional']);
    expect(calls.log).toContain('commit nas');
  });

  test('whose dumps lack something is partial', async () => {
    const warned = { ...planOf(1), dumpWarnings: [{ code: 'NotTransactional', message: 'source my: old tables' }] };
    expect((await run({ snapshot: async () => warned })).status).toBe('partial');
  });

  test('with nothing new uploads nothing', async () => {
    await run({ snapshot: async () => planOf(0), manifest: async () => ({ packs: 0, unreadable: 0 }) });
    // These three side by side.
    expect(calls.log.splice(3, 3).sort()).toEqual(['assess', 'commit nas', 'commit offsite']);
    expect(calls.log).toEqual([
      'begin',
      'snapshot',
      'manifest',
      'prune nas',
      'prune offsite',
      'finish succeeded',
      'notify ops',
    ]);
  });

  test('tries failing steps again', async () => {
    const document = await run(
      {
        begin: flaky(
          1,
          () => retryable('TemporalUnavailable'),
          async () => started(),
        ),
        snapshot: flaky(
          2,
          () => retryable('Internal'),
          async () => planOf(1),
        ),
        compress: flaky(
          2,
          () => retryable('SpoolFull'),
          async () => ({ packs: 1, read: 1, fresh: 1, unreadable: 0 }),
        ),
        upload: flaky(
          1,
          () => retryable('DestinationUnreachable'),
          async () => ({ packs: 1, bytes: 5 }),
        ),
        commit: flaky(
          1,
          () => retryable('DestinationUnreachable'),
          async () => ({ healed: 0, healedBytes: 0 }),
        ),
        finish: flaky(
          1,
          () => retryable('Internal'),
          async () => ({}) as never,
        ),
      },
      1,
      'retry',
    );
    expect(document).toEqual({});
    expect([count('snapshot'), count('compress 0')]).toEqual([3, 3]);
    expect(calls.finished.at(-1)?.destinations.map(({ state }) => state)).toEqual(['stored', 'stored']);
  });

  test('reads several batches at once, but never more than three', async () => {
    let now = 0;
    let most = 0;
    await run(
      {
        compress: async () => {
          most = Math.max(most, ++now);
          await new Promise((resolve) => setTimeout(resolve, 60));
          now--;
          return { packs: 0, read: 0, fresh: 0, unreadable: 0 };
        },
      },
      9,
    );
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(3);
  });

  test('unreadable files make it partial, and a partial run removes nothing', async () => {
    const document = await run({ compress: async () => ({ packs: 1, read: 1, fresh: 1, unreadable: 2 }) });
    expect(document).toMatchObject({ status: 'partial', files: { unreadable: 4 } });
    expect(calls.log.some((call) => call.startsWith('prune'))).toBe(false);
    calls = { log: [], finished: [] };
    expect((await run({ manifest: async () => ({ packs: 0, unreadable: 1 }) })).status).toBe('partial');
  });

  test('a source that fails fails the run, though the others are stored', async () => {
    const failedSources = [{ name: 'www', code: 'SourceMissing', message: '/srv/www does not exist' }];
    const document = await run({ snapshot: async () => ({ ...planOf(1), failedSources, sources: 2 }) });
    expect(document).toMatchObject({ status: 'failed', error: { code: 'SourceMissing' } });
    expect(document.destinations.map(({ status }) => status)).toEqual(['stored', 'stored']);
    expect(document.warnings).toContainEqual({ code: 'SourceMissing', message: 'source www: /srv/www does not exist' });
    expect(calls.log).toContain('notify ops');
    expect(calls.log.some((call) => call.startsWith('prune'))).toBe(false);
  });

  test('with every source failed nothing is stored', async () => {
    const failedSources = [{ name: 'www', code: 'SourceMissing', message: 'gone' }];
    const document = await run({ snapshot: async () => ({ ...planOf(0), failedSources, sources: 1 }) });
    expect(document).toMatchObject({ status: 'failed', error: { code: 'SourceMissing', message: 'gone' } });
    expect(calls.log).toEqual(['begin', 'snapshot', 'finish failed', 'notify ops']);
  });

  test('an error keeps its code and its hint', async () => {
    const refused = ApplicationFailure.create({
      message: 'no',
      type: 'InputRefused',
      nonRetryable: true,
      details: [{ hint: 'do this' }],
    });
    const document = await run({
      begin: flaky(
        1,
        () => refused,
        async () => started(),
      ),
    });
    expect(document).toMatchObject({
      status: 'failed',
      error: { code: 'InputRefused', message: 'no', hint: 'do this' },
    });
  });
});

describe('destinations', () => {
  test('one that stays away is missed; the run is partial, and a delivery goes on', async () => {
    let delivered = 0;
    const document = await harness.with(
      mocks(calls, {
        commit: async ({ destination }) => {
          if (destination === 'offsite') throw retryable('DestinationUnreachable');
          return { healed: 0, healedBytes: 0 };
        },
        deliver: async () => {
          if (delivered++ === 0) throw retryable('AuthExpired');
          return { delivered: ['run'], left: delivered === 2 ? 1 : 0 };
        },
      }),
      async (start) => {
        const handle = await start();
        const result = await handle.result();
        const delivery = harness.temporal.client.workflow.getHandle(
          handle.workflowId.replace('backup/', 'deliver/').replace(/\/\d+$/, '/offsite'),
        );
        await delivery.result();
        await harness.history('partial', handle.workflowId);
        await harness.history('deliver', delivery.workflowId);
        return result;
      },
    );
    expect(document).toMatchObject({ status: 'partial', destinations: [{ status: 'stored' }, { status: 'missed' }] });
    expect(document.warnings).toContainEqual({
      code: 'DestinationMissed',
      message: expect.stringMatching(/^offsite: DestinationUnreachable/),
    });
    expect(count('deliver offsite')).toBe(3);
    expect(count('noteDeliveryWaiting offsite')).toBe(1);
    expect(count('deliverInput nas')).toBe(0);
    expect(calls.log.some((call) => call.startsWith('prune'))).toBe(false);
  });

  test('one that fails while batches are sent holds nobody back and is healed at commit', async () => {
    const document = await run(
      {
        upload: async ({ destination }) => {
          if (destination === 'offsite') throw final('AuthDenied');
          return { packs: 1, bytes: 300 };
        },
        commit: async ({ destination }) =>
          destination === 'offsite' ? { healed: 3, healedBytes: 900 } : { healed: 0, healedBytes: 0 },
      },
      3,
    );
    expect(document).toMatchObject({
      status: 'succeeded',
      destinations: [
        { status: 'stored', packs: 4 },
        { status: 'healed', packs: 3, bytes: 900 },
      ],
    });
    // Once it has failed it is left alone for a while.
    expect(
      calls.log.filter((call) => call.startsWith('upload') && call.endsWith('offsite')).length,
    ).toBeLessThanOrEqual(3);
  });

  test('too few destinations: failed, and delivered all the same', async () => {
    const document = await run({
      begin: async () =>
        started({
          minimumDestinations: 2,
          destinations: [
            { name: 'nas', giveUpAfterMs: 1 },
            { name: 'offsite', giveUpAfterMs: 1 },
          ],
        }),
      commit: async ({ destination }) => {
        if (destination === 'offsite') throw retryable('DestinationFull');
        return { healed: 0, healedBytes: 0 };
      },
    });
    expect(document).toMatchObject({
      status: 'failed',
      error: { code: 'DestinationMissing', message: expect.stringContaining('1 of 2') },
    });
    expect(count('deliverInput offsite')).toBe(1);
  });

  test('a lost repository is not waited for and nothing is delivered to it', async () => {
    const document = await run({
      commit: async ({ destination }) => {
        if (destination === 'offsite') throw final('DestinationLost');
        return { healed: 0, healedBytes: 0 };
      },
    });
    expect(document).toMatchObject({ status: 'partial', destinations: [{ status: 'stored' }, { status: 'failed' }] });
    expect([count('commit offsite'), count('deliverInput offsite')]).toEqual([1, 0]);
  });

  test('giveUpAfter runs from the last progress', async () => {
    let tries = 0;
    const begin = async () => started({ destinations: [{ name: 'nas', giveUpAfterMs: 1500 }] });
    const slow = async () => {
      // Each try gets a little further.
      if (++tries < 4) throw retryable('DestinationUnreachable', [{ progress: 1000 }]);
      return { healed: 3, healedBytes: 3000 };
    };
    const document = await run({ begin, commit: slow });
    expect(document).toMatchObject({ status: 'succeeded', destinations: [{ status: 'healed' }] });
    tries = -100;
    const stuck = async () => {
      tries++;
      throw retryable('DestinationUnreachable');
    };
    const missed = await run({ begin, commit: stuck });
    expect(missed.destinations).toMatchObject([{ status: 'missed' }]);
    expect(tries).toBeLessThanOrEqual(-96);
  });

  test('that a delivery can not be started changes nothing of how the run ended', async () => {
    const document = await run({
      begin: async () =>
        started({
          destinations: [
            { name: 'nas', giveUpAfterMs: 1 },
            { name: 'offsite', giveUpAfterMs: 1 },
          ],
        }),
      commit: async ({ destination }) => {
        if (destination === 'offsite') throw final('AuthDenied');
        return { healed: 0, healedBytes: 0 };
      },
      deliverInput: async () => {
        throw final('Internal');
      },
    });
    expect(document.status).toBe('partial');
    expect(calls.finished.map(({ status }) => status)).toEqual(['partial']);
    expect(calls.log).toContain('notify ops');
  });
});

describe('a lost spool', () => {
  test('restarts the run from the sources, once', async () => {
    const restarts: number[] = [];
    let snapshot = 0;
    const document = await run(
      {
        begin: async ({ restart }) => {
          restarts.push(restart);
          return started({ snapshot: `000000000000000${snapshot++}` });
        },
        compress: flaky(
          1,
          () => final('SpoolLost'),
          async () => ({ packs: 1, read: 1, fresh: 1, unreadable: 0 }),
        ),
      },
      2,
      'restart',
    );
    expect(restarts).toEqual([0, 1]);
    expect(document.status).toBe('succeeded');
    expect(document.warnings).toEqual([{ code: 'SpoolLost', message: expect.any(String) }]);
    expect([count('snapshot'), count('manifest')]).toEqual([2, 1]);
    expect(count('compress 0')).toBeGreaterThanOrEqual(1);
    inOrder('compress 1', 'manifest');
  });

  test('a second time fails it', async () => {
    const document = await run({ manifest: async () => Promise.reject(final('SpoolLost')) });
    expect(document).toMatchObject({ status: 'failed', error: { code: 'SpoolLost' } });
    expect([count('begin'), count('manifest')]).toEqual([2, 2]);
  });

  test('at commit, before any destination has the snapshot, restarts too', async () => {
    const document = await run({
      commit: flaky(
        2,
        () => final('SpoolLost'),
        async () => ({ healed: 0, healedBytes: 0 }),
      ),
    });
    expect(document.status).toBe('succeeded');
    expect([count('begin'), count('manifest')]).toEqual([2, 2]);
  });

  test('at commit, once one destination has it, costs the other only', async () => {
    const document = await run({
      commit: async ({ destination }) => {
        if (destination === 'nas') return { healed: 0, healedBytes: 0 };
        await until(() => count('commit nas') === 1, 'nas has it');
        await new Promise((resolve) => setTimeout(resolve, 300));
        throw final('SpoolLost');
      },
    });
    expect(document).toMatchObject({ status: 'partial', destinations: [{ status: 'stored' }, { status: 'missed' }] });
    expect(count('begin')).toBe(1);
  });
});

describe('cancelling', () => {
  const untilCancelled = async (): Promise<never> => {
    const beat = setInterval(() => Context.current().heartbeat(), 50);
    try {
      return await Context.current().cancelled;
    } finally {
      clearInterval(beat);
    }
  };

  test('a run stops its batches, records the end, frees the lock and tells nobody', async () => {
    const activities = mocks(calls, { compress: untilCancelled });
    await harness.with(activities, async (start) => {
      const handle = await start();
      await until(() => count('compress 1') === 1, 'batches are read');
      await handle.cancel();
      const error = await handle.result().catch((each: unknown) => each);
      expect(error).toBeInstanceOf(WorkflowFailedError);
      expect((error as WorkflowFailedError).cause).toBeInstanceOf(CancelledFailure);
      expect((await handle.describe()).status.name).toBe('CANCELLED');
      await harness.history('cancel', handle.workflowId);
    });
    expect(calls.log.slice(-1)).toEqual(['finish cancelled']);
    expect(calls.finished).toHaveLength(1);
    expect(calls.log.some((call) => /^(commit|manifest|notify|deliver)/.test(call))).toBe(false);
  });

  test('while it waits for its turn', async () => {
    const activities = mocks(calls, {
      begin: async ({ wait }) => {
        if (wait) throw retryable('JobBusy');
        return { state: 'busy', owner: 'other' };
      },
    });
    await harness.with(activities, async (start) => {
      const handle = await start();
      await until(() => count('begin') > 2, 'it waits');
      const status = await handle.query<BackupStatusAnswer>('status');
      expect(status.status).toBe('queued');
      await handle.cancel();
      await expect(handle.result()).rejects.toBeInstanceOf(WorkflowFailedError);
    });
    expect(calls.finished.map(({ status }) => status)).toEqual(['cancelled']);
  });

  test('while it is paused', async () => {
    await harness.with(mocks(calls), async (start) => {
      const handle = await start();
      await handle.signal('pause');
      await until(async () => (await handle.query<BackupStatusAnswer>('status')).status === 'paused', 'it is paused');
      await handle.cancel();
      await expect(handle.result()).rejects.toBeInstanceOf(WorkflowFailedError);
    });
    expect(calls.finished.map(({ status }) => status)).toEqual(['cancelled']);
  });

  test('too late, when the end is being recorded, leaves it as it was', async () => {
    const { open, passed } = gate();
    const activities = mocks(calls, {
      finish: async (request) => {
        await passed;
        return { status: request.status } as never;
      },
    });
    await harness.with(activities, async (start) => {
      const handle = await start();
      await until(() => calls.finished.length === 1, 'the end is recorded');
      await handle.cancel();
      await new Promise((resolve) => setTimeout(resolve, 200));
      open();
      expect(await handle.result()).toEqual({ status: 'succeeded' });
    });
    expect(calls.finished.map(({ status }) => status)).toEqual(['succeeded']);
  });
});

describe('signals and queries', () => {
  test('pause holds between batches, resume goes on', async () => {
    const first = gate();
    const activities = mocks(
      calls,
      {
        compress: async ({ batch }) => {
          if (batch === 0) await first.passed;
          return { packs: 0, read: 10, fresh: 10, unreadable: 0 };
        },
      },
      6,
    );
    await harness.with(activities, async (start) => {
      const handle = await start();
      await until(() => count('compress 0') === 1, 'the first batch is read');
      await handle.signal('pause');
      first.open();
      await until(async () => {
        const { status, batches } = await handle.query<BackupStatusAnswer>('status');
        return status === 'paused' && batches.done >= 3;
      }, 'it holds');
      const held = calls.log.length;
      await new Promise((resolve) => setTimeout(resolve, 400));
      expect(calls.log.length).toBe(held);
      expect(count('manifest')).toBe(0);
      await handle.signal('resume');
      expect((await handle.result()).status).toBe('succeeded');
      await harness.history('pause', handle.workflowId);
    });
    expect(calls.log.filter((call) => call.startsWith('compress'))).toHaveLength(6);
  });

  test('status tells phase, batches, totals and destinations, also after the end', async () => {
    const { open, passed } = gate();
    const activities = mocks(calls, {
      commit: async () => {
        await passed;
        return { healed: 0, healedBytes: 0 };
      },
    });
    await harness.with(activities, async (start) => {
      const handle = await start();
      await until(() => count('commit nas') === 1, 'it commits');
      expect(await handle.query<BackupStatusAnswer>('status')).toMatchObject({
        run: handle.workflowId,
        job: 'site',
        status: 'running',
        phase: 'commit',
        batches: { done: 2, total: 2 },
        totals: { files: 10, readBytes: 1000, storedBytes: 900 },
        destinations: [{ name: 'nas', state: 'pending', packs: 3 }, { name: 'offsite' }],
      });
      open();
      await handle.result();
      expect(await handle.query<BackupStatusAnswer>('status')).toMatchObject({ status: 'succeeded', phase: 'done' });
    });
  });

  test('trigger starts one run behind, however often', async () => {
    const { open, passed } = gate();
    const runs = new Set<string>();
    const activities = mocks(calls, {
      snapshot: async ({ run: id }) => {
        runs.add(id);
        await passed;
        return planOf(0);
      },
    });
    await harness.with(activities, async (start) => {
      const handle = await start();
      await until(() => runs.size === 1, 'it walks');
      for (let i = 0; i < 3; i++) await handle.signal('trigger');
      open();
      await handle.result();
      await until(() => calls.finished.length === 2, 'the next one is done');
      const [next] = [...runs].filter((id) => id !== handle.workflowId);
      expect(next).toMatch(/-triggered$/);
      await harness.temporal.client.workflow.getHandle(next!).result();
    });
    expect(runs.size).toBe(2);
    expect(calls.finished.map(({ status }) => status)).toEqual(['succeeded', 'succeeded']);
  });
});

describe('several runs of a job', () => {
  test('a second one waits for the first, then goes on', async () => {
    const document = await run({
      begin: flaky(
        0,
        () => final('x'),
        async ({ wait }) => {
          if (!wait) return { state: 'busy', owner: 'other' } as const;
          if (count('begin') < 5) throw retryable('JobBusy');
          return started();
        },
      ),
    });
    expect(document.status).toBe('succeeded');
    expect(count('begin')).toBe(5);
  });

  test('a third one joins the second', async () => {
    const document = await run({ begin: async () => ({ state: 'joined', queued: 'backup/web-1/site/2' }) });
    expect(document.status).toBe('skipped');
    expect(calls.finished[0]?.joined).toBe('backup/web-1/site/2');
    expect(calls.log).toEqual(['begin', 'finish skipped']);
  });

  test('a scheduled one that meets an active one is skipped', async () => {
    const { client } = harness.temporal;
    await harness.with(
      mocks(calls, { begin: async ({ scheduled }) => ({ state: 'busy', owner: scheduled ? 'scheduled' : 'manual' }) }),
      async (start) => {
        // A plain start tells which host this scenario has.
        const probe = await start({ job: 'probe' });
        const id = probe.workflowId;
        await probe.cancel();
        await probe.result().catch(() => undefined);
        const own = id.split('/')[1] ?? '';
        const schedule = await client.schedule.create({
          scheduleId: `holdfast/${own}/site`,
          spec: {},
          action: {
            type: 'startWorkflow',
            workflowType: 'backup',
            taskQueue: 'holdfast',
            args: [{ host: own, job: 'site', configHash: 'c', options: {}, sig: '' }],
          },
        });
        try {
          await schedule.trigger();
          await until(() => calls.finished.some(({ status }) => status === 'skipped'), 'it is skipped');
        } finally {
          await schedule.delete();
        }
        expect(calls.finished.find(({ status }) => status === 'skipped')?.joined).toBe('scheduled');
      },
    );
  });
});

describe('continue-as-new', () => {
  test('after a hundred batches, with all that was known', async () => {
    let unreadable = 0;
    const activities = mocks(
      calls,
      {
        compress: async ({ batch }) => ({
          packs: batch === 5 ? 1 : 0,
          read: 10,
          fresh: 5,
          unreadable: unreadable++ === 0 ? 1 : 0,
        }),
        upload: async ({ destination, group }) => {
          if (destination === 'offsite' && group === '5') throw final('AuthDenied');
          return { packs: 1, bytes: 300 };
        },
        commit: async ({ destination }) => ({ healed: destination === 'offsite' ? 1 : 0, healedBytes: 0 }),
      },
      104,
    );
    await harness.with(activities, async (start) => {
      const handle = await start();
      await until(() => count('compress 60') === 1, 'half is done', 60_000);
      await handle.signal('trigger');
      const document = await handle.result();
      expect(document).toMatchObject({
        status: 'partial',
        files: { total: 10, unreadable: 1 },
        bytes: { read: 1040, new: 520 },
      });
      expect(document.destinations).toMatchObject([{ status: 'stored', packs: 2 }, { status: 'healed' }]);
      await harness.history('continue-as-new-first', handle.workflowId, handle.firstExecutionRunId);
      await harness.history('continue-as-new-second', handle.workflowId);
      // The signal reached the first execution; the last one starts the next run.
      await until(() => calls.log.filter((call) => call === 'begin').length >= 3, 'the triggered run begins', 30_000);
      const { executions } = await harness.temporal.connection.workflowService.listOpenWorkflowExecutions({
        namespace: 'default',
      });
      for (const { execution } of executions) {
        await harness.temporal.client.workflow.getHandle(execution?.workflowId ?? '').terminate();
      }
    });
    const compressed = calls.log.filter((call) => call.startsWith('compress')).slice(0, 104);
    expect(new Set(compressed).size).toBe(104);
    expect(calls.log.filter((call) => call === 'snapshot').length).toBeGreaterThanOrEqual(2);
  });

  const carried = {
    startedAt: '2026-01-01T00:00:00.000Z',
    nextBatch: 1,
    batches: 2,
    destinations: [{ name: 'nas', state: 'pending' as const, packs: 7, bytes: 700, misses: 0 }],
    paused: true,
    triggered: false,
    restarts: 0,
    totals: {
      files: 10,
      newFiles: 10,
      changedFiles: 0,
      unreadable: 3,
      sourceBytes: 1,
      readBytes: 500,
      newBytes: 400,
      storedBytes: 300,
    },
    warnings: [{ code: 'X', message: 'said before' }],
    snapshot: '00112233445566aa',
  };

  test('a paused run stays paused and takes up where it was', async () => {
    await harness.with(mocks(calls), async (start) => {
      const handle = await start({ carried });
      await until(async () => (await handle.query<BackupStatusAnswer>('status')).status === 'paused', 'it is paused');
      expect(count('compress 1')).toBe(0);
      await handle.signal('resume');
      const document = await handle.result();
      expect(document).toMatchObject({
        status: 'partial',
        startedAt: carried.startedAt,
        files: { unreadable: 3 },
        bytes: { read: 1000 },
      });
      expect(document.destinations[0]).toMatchObject({ packs: 9 });
      expect(document.warnings).toEqual(carried.warnings);
    });
    expect([count('compress 0'), count('compress 1')]).toEqual([0, 1]);
  });

  test('with a spool that was lost in between begins anew', async () => {
    await harness.with(mocks(calls), async (start) => {
      const handle = await start({ carried: { ...carried, paused: false, snapshot: 'ffffffffffffffff' } });
      const document = await handle.result();
      expect(document.warnings).toContainEqual({ code: 'SpoolLost', message: expect.any(String) });
      expect(document.status).toBe('succeeded');
    });
    expect([count('compress 0'), count('compress 1')]).toEqual([1, 1]);
  });
});

describe('notifying', () => {
  test('that fails is noted and never fails the run', async () => {
    const document = await run({
      begin: async () => started({ notify: ['ops', 'hook'] }),
      notify: async ({ name }) => {
        if (name === 'ops') throw final('Throttled');
        return { sent: true };
      },
      noteUnsent: async () => Promise.reject(final('Internal')),
    });
    expect(document.status).toBe('succeeded');
    expect(calls.log.slice(-3).sort()).toEqual(['noteUnsent ops', 'notify hook', 'notify ops']);
  });

  test('goes on side by side: one that hangs holds back no other', async () => {
    let hookTold = (): void => undefined;
    const afterHook = new Promise<void>((resolve) => {
      hookTold = resolve;
    });
    const document = await run(
      {
        begin: async () => started({ notify: ['ops', 'hook'], notifyStart: [] }),
        notify: async ({ name }) => {
          if (name === 'hook') hookTold();
          await afterHook;
          return { sent: true };
        },
      },
      2,
      'told-at-once',
    );
    expect(document.status).toBe('succeeded');
  });

  test('tells of failed runs, too', async () => {
    await run({ compress: async () => Promise.reject(final('ConfigInvalid')) });
    expect(calls.log.slice(-2)).toEqual(['finish failed', 'notify ops']);
  });

  test('tells of a run that could not begin', async () => {
    await run({ begin: async () => Promise.reject(final('SecretMissing')) });
    expect(calls.log).toEqual(['begin', 'jobNotifiers', 'finish failed', 'notify ops']);
  });

  test('of the start, where somebody asks for it, once and before the end', async () => {
    const answer = started({ notify: ['ops', 'ping'], notifyStart: ['ping'] });
    let lost = true;
    const document = await run(
      {
        begin: async () => answer,
        snapshot: async () => {
          if (lost) {
            lost = false;
            throw final('SpoolLost');
          }
          return planOf(2);
        },
      },
      2,
      'start-told',
    );
    expect(document.status).toBe('succeeded');
    expect(count('notify ping')).toBe(2);
    expect(calls.log.slice(-2).sort()).toEqual(['notify ops', 'notify ping']);
  });

  test('of the start in vain holds up no run, and not being told of its end is said as well', async () => {
    let over = (): void => undefined;
    const finished = new Promise<void>((resolve) => {
      over = resolve;
    });
    const notes: object[] = [];
    const document = await run({
      begin: async () => started({ notify: ['ops'], notifyStart: ['ping', 'ops'] }),
      notify: async ({ name }) => {
        if (name === 'ping') await finished;
        throw final('NotifyFailed');
      },
      finish: async (request) => {
        over();
        return documentOf(request);
      },
      noteUnsent: async ({ name, reason, start }) => void notes.push({ name, reason, start }),
    });
    const reason = 'NotifyFailed for a test';
    expect(notes).toEqual([
      { name: 'ops', reason },
      { name: 'ping', reason, start: true },
    ]);
    expect(document.warnings.map(({ message }) => message)).toEqual([
      `notifier ping could not be reached at the start: ${reason}`,
      `notifier ops could not be reached: ${reason}`,
    ]);
  });

  test('of the end does not wait for somebody else who cannot be told of the start', async () => {
    let told = (): void => undefined;
    const opsToldOfEnd = new Promise<void>((resolve) => {
      told = resolve;
    });
    let over = false;
    const asked: string[] = [];
    const document = await run({
      begin: async () => started({ notify: ['ops', 'ping'], notifyStart: ['ping', 'ops'] }),
      finish: async (request) => {
        over = true;
        return documentOf(request);
      },
      notify: async ({ name }) => {
        asked.push(name);
        if (name === 'ops' && over) told();
        if (name === 'ping' && asked.filter((one) => one === 'ping').length === 1) await opsToldOfEnd;
        return { sent: true };
      },
    });
    expect(document.status).toBe('succeeded');
    expect(asked.slice(-2)).toEqual(['ops', 'ping']);
  });

  test('a start that cannot be told is a warning', async () => {
    const document = await run({
      begin: async () => started({ notify: [], notifyStart: ['ping'] }),
      notify: async () => Promise.reject(final('NotifyFailed')),
    });
    expect(document).toMatchObject({
      status: 'succeeded',
      warnings: [
        { code: 'NotifyFailed', message: 'notifier ping could not be reached at the start: NotifyFailed for a test' },
      ],
    });
  });

  test('a prune that fails is a warning', async () => {
    const document = await run({
      prune: async ({ destination }) =>
        destination === 'nas'
          ? Promise.reject(final('DestinationFailed'))
          : { removed: 0, marked: 0, deleted: 0, freed: 0, repacked: 0 },
    });
    expect(document).toMatchObject({
      status: 'succeeded',
      warnings: [{ code: 'PruneFailed', message: expect.stringContaining('nas') }],
    });
    expect(count('prune offsite')).toBe(1);
  });
});
