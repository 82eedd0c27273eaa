import { ApplicationFailure } from '@temporalio/activity';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CareActivities } from '../../src/activities/care.js';
import type { CopyActivities } from '../../src/activities/copy.js';
import type { ExportActivities } from '../../src/activities/export.js';
import type { CheckDocument, PruneDestination } from '../../src/workflows/care-types.js';
import type { DrillReport } from '../../src/workflows/drill-types.js';
import { controlQueue, hostQueue } from '../../src/workflows/types.js';
import { Harness } from './harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(() => harness.stop());

type Answers<T> = { [Name in keyof T]?: (...args: never[]) => Promise<unknown> };

/** Runs a workflow with these activities on a host of its own; keeps its history under `name`. */
async function run(
  name: string,
  type: string,
  activities: Answers<CareActivities> | Answers<CopyActivities> | Answers<ExportActivities>,
  change: object = {},
): Promise<{ result: unknown; called: string[] }> {
  const called: string[] = [];
  const noted = Object.entries(activities).map(([activity, answer]) => [
    activity,
    (...args: never[]) => {
      called.push(activity);
      return answer(...args);
    },
  ]);
  const host = `care-${name}`;
  // These two run where they were started, workflow and activities alike.
  const onHost = name === 'copy' || name === 'export';
  const work = async (): Promise<{ result: unknown; called: string[] }> => {
    const workflowId = `${type}/${host}/site/1`;
    const handle = await harness.temporal.client.workflow.start(type, {
      workflowId,
      taskQueue: onHost ? hostQueue(host) : controlQueue,
      args: [
        {
          host,
          job: 'site',
          from: 'nas',
          to: 'offsite',
          snapshot: '00',
          paths: [],
          file: 'site.zip',
          format: 'zip',
          ...change,
          sig: '00',
        },
      ],
    });
    const result: unknown = await handle.result().catch((error: unknown) => error);
    await harness.history(name, workflowId);
    return { result, called };
  };
  return harness.serve(host, Object.fromEntries(noted), work, onHost);
}

const pruned: Omit<PruneDestination, 'name'> = {
  status: 'pruned',
  error: null,
  removed: 1,
  marked: 2,
  deleted: 0,
  repacked: 0,
  freed: 0,
  snapshots: [],
};

test('a prune goes on at the next destination when one fails, and frees the job whatever happens', async () => {
  const { result, called } = await run('prune', 'prune', {
    pruneBegin: async () => ({
      destinations: ['nas', 'offsite'],
      skipped: [{ ...pruned, name: 'old', status: 'skipped' }],
    }),
    pruneAt: async ({ destination }: { destination: string }) => {
      if (destination === 'nas') throw ApplicationFailure.nonRetryable('clocks differ', 'ClockJumped');
      return { ...pruned, name: destination };
    },
    pruneEnd: async () => undefined,
  });
  expect(result).toMatchObject({
    job: 'site',
    destinations: [
      { name: 'old', status: 'skipped' },
      { name: 'nas', status: 'failed', error: 'ClockJumped: clocks differ' },
      { name: 'offsite', status: 'pruned' },
    ],
  });
  expect(called).toEqual(['pruneBegin', 'pruneAt', 'pruneAt', 'pruneEnd']);
});

test('a check reads its slices in turn, repairs, reports and clears up', async () => {
  const document: Partial<CheckDocument> = { job: 'site', status: 'repaired' };
  const slices = ['nas', 'nas', 'offsite'].map((destination, at) => ({ destination, slice: at % 2 }));
  const { result, called } = await run(
    'check',
    'check',
    {
      checkList: async () => ({ slices }),
      checkRead: async () => ({ packs: 1, bytes: 10 }),
      checkRepair: async () => ({ repaired: 1, left: 0 }),
      checkFinish: async () => document,
      checkCleanUp: async () => undefined,
    },
    { readData: 100, repair: true },
  );
  expect(result).toEqual(document);
  expect(called.join(' ')).toBe('checkList checkRead checkRead checkRead checkRepair checkFinish checkCleanUp');
});

test('a drill whose step fails is a failed drill, and clears up', async () => {
  const report: Partial<DrillReport> = { job: 'site', status: 'failed' };
  const failures: unknown[] = [];
  const { result, called } = await run('drill', 'drill', {
    drillPlan: async () => ({ databases: 2 }),
    drillFiles: async () => undefined,
    drillDatabase: async ({ database }: { database: number }) => {
      if (database === 1) throw ApplicationFailure.nonRetryable('there is no server', 'SourceMissing');
    },
    drillAssert: async () => undefined,
    drillFinish: async ({ failure }: { failure?: unknown }) => {
      failures.push(failure);
      return report;
    },
    drillCleanUp: async () => undefined,
  });
  expect(result).toEqual(report);
  expect(failures).toEqual([{ code: 'SourceMissing', message: 'there is no server' }]);
  expect(called.join(' ')).toBe('drillPlan drillFiles drillDatabase drillDatabase drillFinish drillCleanUp');
});

test('a copy looks again when a pack went away meanwhile', async () => {
  let rounds = 0;
  const { result } = await run('copy', 'copy', {
    copyPlan: async () => ({ snapshots: 2, packs: 3, missing: 3 - rounds, missingBytes: 30 }),
    copyPacks: async () => ({ packs: 1, bytes: 10, damaged: [] }),
    copyFinish: async () => {
      rounds++;
      return { snapshots: { total: 2, copied: 1, present: 2 }, lacking: rounds === 1 ? 1 : 0, damaged: [] };
    },
  });
  expect(result).toMatchObject({ status: 'succeeded', packs: { total: 3, copied: 2 }, bytes: 20 });
});

test('an export in the host’s own worker begins anew', async () => {
  let attempts = 0;
  const { result } = await run('export-by-host', 'exportArchive', {
    exportArchive: async () => {
      if (++attempts === 1) throw new Error('the disk was away');
      return { status: 'succeeded', files: { exported: 3, failed: 0 }, bytes: 10 };
    },
  });
  expect(result).toMatchObject({ status: 'succeeded' });
  expect(attempts).toBe(2);
});

test('an export is tried once', async () => {
  const { result, called } = await run('export', 'exportArchive', {
    exportArchive: async () => ({ status: 'succeeded', files: { exported: 3, failed: 0 }, bytes: 10 }),
  });
  expect(result).toMatchObject({ status: 'succeeded', files: { exported: 3 } });
  expect(called).toEqual(['exportArchive']);
});
