import { ApplicationFailure, Context } from '@temporalio/activity';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { BackupStatusAnswer } from '../../src/workflows/types.js';
import { type Calls, gate, Harness, mocks, planOf, started, until } from './harness.js';

let harness: Harness;
let calls: Calls;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(() => harness.stop());
beforeEach(() => {
  calls = { log: [], finished: [] };
});
const count = (pattern: RegExp): number => calls.log.filter((call) => pattern.test(call)).length;
/** Waits for the gate, or for the cancellation; heartbeats, so that the latter is heard of. */
async function patiently(passed: Promise<void>): Promise<void> {
  const beat = setInterval(() => Context.current().heartbeat(), 50);
  try {
    await Promise.race([passed, Context.current().cancelled]);
  } finally {
    clearInterval(beat);
  }
}

test('a slow destination holds neither the reading nor the other one back, not even at the commit', async () => {
  const slow = gate();
  const activities = mocks(
    calls,
    {
      upload: async ({ destination }) => {
        if (destination === 'offsite') await patiently(slow.passed);
        return { packs: 1, bytes: 300 };
      },
    },
    12,
  );
  await harness.with(activities, async (start) => {
    const handle = await start();
    await until(() => count(/^commit nas/) === 1, 'the fast one has it all');
    expect(count(/^compress/)).toBe(12);
    expect(count(/^upload .* nas/)).toBe(13);
    // Groups of one pack: as many as packs may be on their way.
    expect(count(/^upload .* offsite/)).toBe(6);
    await until(async () => {
      const { destinations } = await handle.query<BackupStatusAnswer>('status');
      return destinations[0]?.state === 'stored';
    }, 'it is stored');
    expect((await handle.query<BackupStatusAnswer>('status')).destinations[1]?.state).toBe('pending');
    slow.open();
    const document = await handle.result();
    expect(document.destinations).toMatchObject([
      { status: 'stored', packs: 13 },
      { status: 'stored', packs: 13 },
    ]);
    expect(count(/^upload .* offsite/)).toBe(13);
    await harness.history('own-clock', handle.workflowId);
  });
});

test('what a slow destination has yet to be sent survives continue-as-new', async () => {
  const slow = gate();
  const seen: string[] = [];
  const activities = mocks(
    calls,
    {
      upload: async ({ destination, group }) => {
        if (destination === 'offsite') {
          // Until the second execution everything stalls.
          if (count(/^begin/) < 2) await patiently(slow.passed);
          seen.push(group);
        }
        return { packs: 1, bytes: 300 };
      },
    },
    102,
  );
  await harness.with(activities, async (start) => {
    const handle = await start();
    const document = await handle.result();
    expect(document).toMatchObject({ status: 'succeeded', destinations: [{ packs: 103 }, { packs: 103 }] });
    await harness.history('own-clock-first', handle.workflowId, handle.firstExecutionRunId);
    await harness.history('own-clock-second', handle.workflowId);
  });
  expect(count(/^begin/)).toBe(2);
  expect(new Set(seen).size).toBe(103);
  expect(seen).toHaveLength(103);
  expect(count(/^upload .* nas/)).toBe(103);
});

test('a pause holds what waits to be sent, too', async () => {
  const first = gate();
  const activities = mocks(
    calls,
    {
      upload: async () => {
        await patiently(first.passed);
        return { packs: 1, bytes: 1 };
      },
    },
    12,
  );
  await harness.with(activities, async (start) => {
    const handle = await start();
    await until(() => count(/^encrypt/) >= 9, 'more is sealed than is sent');
    await handle.signal('pause');
    await until(async () => (await handle.query<BackupStatusAnswer>('status')).status === 'paused', 'it is paused');
    first.open();
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(count(/^upload/)).toBe(12);
    await handle.signal('resume');
    expect((await handle.result()).status).toBe('succeeded');
  });
  expect(count(/^upload/)).toBe(26);
});

test('expired credentials are waited for, told of once, and tried at once when somebody says so', async () => {
  let expired = true;
  const activities = mocks(calls, {
    begin: async () =>
      started({
        destinations: [
          { name: 'nas', giveUpAfterMs: 60_000 },
          { name: 'box', giveUpAfterMs: 60_000 },
        ],
      }),
    upload: async ({ destination }) => {
      if (destination === 'box') throw ApplicationFailure.nonRetryable('the token has expired', 'AuthExpired');
      return { packs: 1, bytes: 1 };
    },
    commit: async ({ destination }) => {
      if (destination === 'box' && expired)
        throw ApplicationFailure.create({ message: 'the token has expired', type: 'AuthExpired' });
      return { healed: destination === 'box' ? 3 : 0, healedBytes: 3 };
    },
  });
  await harness.with(activities, async (start) => {
    const handle = await start();
    await until(() => count(/^commit box/) >= 3, 'it is tried again');
    const { destinations } = await handle.query<BackupStatusAnswer>('status');
    expect(destinations[0]).toMatchObject({ state: 'stored' });
    expect(destinations[1]).toMatchObject({ state: 'pending', error: 'AuthExpired: the token has expired' });
    const until60 = Date.parse(destinations[1]?.retryUntil ?? '') - Date.now();
    expect(until60).toBeGreaterThan(40_000);
    expect(until60).toBeLessThanOrEqual(60_000);
    expired = false;
    const before = Date.now();
    await handle.signal('retry');
    const document = await handle.result();
    // The next try was four seconds away.
    expect(Date.now() - before).toBeLessThan(2500);
    expect(document).toMatchObject({ status: 'succeeded', destinations: [{}, { status: 'healed', error: null }] });
    await harness.history('expired', handle.workflowId);
  });
  expect(count(/^noteWaiting box/)).toBe(1);
});

test('a drive that is not plugged in is not waited for', async () => {
  const details = [{ away: true }];
  const began = Date.now();
  const activities = mocks(calls, {
    snapshot: async () => planOf(1),
    begin: async () =>
      started({
        destinations: [
          { name: 'nas', giveUpAfterMs: 600_000 },
          { name: 'usb', giveUpAfterMs: 600_000 },
        ],
      }),
    commit: async ({ destination }) => {
      if (destination === 'usb')
        throw ApplicationFailure.create({ message: 'nothing is mounted', type: 'DestinationMissing', details });
      return { healed: 0, healedBytes: 0, warnings: [{ code: 'SpaceLow', message: 'nas: little is left' }] };
    },
  });
  await harness.with(activities, async (start) => {
    const document = await (await start()).result();
    expect(document).toMatchObject({ status: 'partial', destinations: [{ status: 'stored' }, { status: 'missed' }] });
    expect(document.warnings.map(({ code }) => code)).toEqual(['SpaceLow', 'DestinationMissed']);
  });
  expect(Date.now() - began).toBeLessThan(20_000);
  expect(count(/^deliverInput usb/)).toBe(1);
});
