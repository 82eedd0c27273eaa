import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ApplicationFailure } from '@temporalio/activity';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ElsewhereRequest, TellRequest } from '../../src/activities/watch-activities.js';
import { controlQueue } from '../../src/workflows/types.js';
import { type Expectation, lookSignal, type Observation, watchId } from '../../src/workflows/watch-types.js';
import { editedBundle, Harness, type Mocks, mocks, until } from './harness.js';

let folder: string;
/** The workflow as it is, and with times that a test can wait for. */
let real: Harness;
let quick: Harness;
/** Hosts whose schedules are paused. */
const paused = new Set<string>();
const requests: ElsewhereRequest[] = [];
const elsewhere = (host: string): ElsewhereRequest[] => requests.filter(({ input }) => input.host === host);
const control = {
  pausedJobs: async ({ host, jobs }: { host: string; jobs: string[] }) => (paused.has(host) ? jobs : []),
  tellElsewhere: async (request: ElsewhereRequest) => {
    requests.push(request);
    return request.names;
  },
};

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-watch-'));
  const bundled = editedBundle(folder, 'watch.ts', [
    ["scheduleToStartTimeout: '2m'", "scheduleToStartTimeout: '1s'"],
    ['const retryMs = 15 * minuteMs', 'const retryMs = 500'],
    ['const lateMs = 2 * minuteMs', 'const lateMs = 1500'],
    ['const turnsPerExecution = 200', 'const turnsPerExecution = 3'],
  ]);
  [real, quick] = await Promise.all([Harness.start(control), Harness.start(control, bundled)]);
});
afterAll(async () => {
  await Promise.all([real.stop(), quick.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

/** What the host says, and what it was asked to do. */
class Host {
  readonly told: TellRequest[] = [];
  flushes = 0;
  observed = 0;
  observation: Observation;
  tell: () => Promise<void> = async () => undefined;

  constructor(
    readonly name: string,
    job: Partial<Expectation> = {},
  ) {
    const usual = { job: 'site', withinMs: 1500, lastSuccess: null, running: null, notify: ['ops', 'hook'] };
    this.observation = { jobs: [{ ...usual, ...job }], flushAt: null };
  }

  get mocks(): Mocks {
    return mocks(
      { log: [], finished: [] },
      {
        observe: async () => {
          this.observed++;
          return this.observation;
        },
        flush: async () => {
          this.flushes++;
          this.observation = { ...this.observation, flushAt: null };
          return { sent: 1, failed: 0 };
        },
        tellNotice: async (request) => {
          await this.tell();
          this.told.push(request);
          return 'sent';
        },
      },
    );
  }

  succeed(): void {
    const [job] = this.observation.jobs;
    if (job) this.observation = { ...this.observation, jobs: [{ ...job, lastSuccess: Date.now() }] };
  }

  kinds(): string[] {
    return this.told.map(({ name, notice }) => `${notice.kind} ${name}`);
  }
}

async function watching(harness: Harness, host: Host, work: (watch: WorkflowHandle) => Promise<void>): Promise<void> {
  const watch = await harness.temporal.client.workflow.start('watch', {
    workflowId: watchId(host.name),
    taskQueue: controlQueue,
    args: [{ host: host.name, sig: '00' }],
  });
  const current = harness.temporal.client.workflow.getHandle(watch.workflowId);
  try {
    await work(current);
  } finally {
    await current.terminate();
  }
}
const look = (watch: WorkflowHandle): Promise<void> => watch.signal(lookSignal);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test.concurrent('a job that does not succeed in time is told of once, and again when it is missed again', async () => {
  const host = new Host('web-1');
  await real.serve(host.name, host.mocks, () =>
    watching(real, host, async (watch) => {
      await until(() => host.told.length === 2, 'it was told');
      expect(host.kinds().sort()).toEqual(['missed hook', 'missed ops']);
      expect(host.told[0]?.notice).toMatchObject({ job: 'site', lastSuccess: null, withinMs: 1500, hostGone: false });
      await look(watch);
      await pause(1000);
      expect(host.told).toHaveLength(2);
      host.succeed();
      await look(watch);
      await until(() => host.told.length === 4, 'it was told again');
      expect(host.told[2]?.notice).toMatchObject({ lastSuccess: host.observation.jobs[0]?.lastSuccess });
      await real.history('watch', watch.workflowId);
    }),
  );
});

test.concurrent('successes in time are no misses', async () => {
  const host = new Host('web-2');
  await real.serve(host.name, host.mocks, () =>
    watching(real, host, async (watch) => {
      for (let i = 0; i < 5; i++) {
        await pause(600);
        host.succeed();
        await look(watch);
      }
      expect(host.told).toEqual([]);
    }),
  );
});

test.concurrent('a paused schedule is not expected to run; once resumed it is', async () => {
  const host = new Host('web-3');
  paused.add(host.name);
  await real.serve(host.name, host.mocks, () =>
    watching(real, host, async () => {
      await pause(3500);
      expect(host.told).toEqual([]);
      paused.delete(host.name);
      await until(() => host.told.length === 2, 'it was told');
    }),
  );
});

test.concurrent('what was held back is sent when it is due', async () => {
  const host = new Host('web-4', { lastSuccess: Date.now() + 3_600_000 });
  host.observation.flushAt = Date.now() + 1200;
  await real.serve(host.name, host.mocks, () =>
    watching(real, host, async () => {
      await pause(600);
      expect(host.flushes).toBe(0);
      await until(() => host.flushes === 1, 'it was sent');
      await pause(500);
      expect(host.flushes).toBe(1);
    }),
  );
});

describe.concurrent('with shorter times', () => {
  test('a host that is gone is told of elsewhere, and when it is back it tells so', async () => {
    const host = new Host('web-5');
    await watching(quick, host, async (watch) => {
      await quick.serve(host.name, host.mocks, async () => {
        host.succeed();
        await look(watch);
        await until(() => host.observed >= 2, 'the host has said how it stands');
      });
      await until(() => elsewhere(host.name).length === 1, 'it was told elsewhere');
      expect(elsewhere(host.name)[0]).toMatchObject({
        input: { host: 'web-5', sig: '00' },
        names: ['ops', 'hook'],
        notice: { job: 'site', hostGone: true, lastSuccess: host.observation.jobs[0]?.lastSuccess },
      });
      await look(watch);
      await pause(1500);
      expect(elsewhere(host.name)).toHaveLength(1);
      host.observation.jobs[0]!.withinMs = 3_600_000;
      host.succeed();
      await quick.serve(host.name, host.mocks, async () => {
        await look(watch);
        await until(() => host.told.length === 2, 'the return was told');
      });
      expect(host.kinds().sort()).toEqual(['back hook', 'back ops']);
    });
  });

  test('whom it could not tell it tells later, and nobody twice; across continue-as-new', async () => {
    const host = new Host('web-6');
    let failures = 4;
    host.tell = async () => {
      if (failures-- > 0) throw ApplicationFailure.nonRetryable('down', 'NotifyFailed');
    };
    await quick.serve(host.name, host.mocks, () =>
      watching(quick, host, async (watch) => {
        await until(() => host.told.length === 2, 'both were told');
        for (let i = 0; i < 8; i++) {
          await look(watch);
          await pause(100);
        }
        expect(host.kinds().sort()).toEqual(['missed hook', 'missed ops']);
      }),
    );
  });
});

test('what was due while the server or the control worker was off gets time to catch up', async () => {
  const host = new Host('web-7', { withinMs: 2000 });
  await quick.serve(host.name, host.mocks, () =>
    watching(quick, host, async (watch) => {
      await until(async () => (await watch.describe()).historyLength > 8, 'it waits');
      await quick.pauseControl(4500);
      await pause(300);
      expect(host.told).toEqual([]);
      // The grace is as long as the retry time here.
      await until(() => host.told.length === 2, 'it was told');
    }),
  );
});
