import type { ActivityOptions } from '@temporalio/workflow';
import {
  ActivityCancellationType,
  CancellationScope,
  defineQuery,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { RestoreActivities } from '../activities/restore.js';
import type { RestoreDocument, RestoreInput, RestoreStatusAnswer } from './restore-types.js';
import { controlQueue, hostQueue, statusQuery } from './types.js';

export const restoreStatus = defineQuery<RestoreStatusAnswer>(statusQuery);

/** Slices being restored at once: one fetches while the other writes. */
const slicesInFlight = 2;

function activities(host: string) {
  const { taskQueue: own } = workflowInfo();
  const taskQueue = own === controlQueue ? hostQueue(host) : own;
  const on = (options: ActivityOptions) =>
    proxyActivities<RestoreActivities>({
      taskQueue,
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
      startToCloseTimeout: '48h',
      heartbeatTimeout: '20s',
      retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' },
      ...options,
    });
  const working = on({});
  return {
    plan: working.restorePlan,
    packs: working.restorePacks,
    finish: working.restoreFinish,
    // What a server refuses it refuses again; what is retryable is so for a few minutes.
    load: on({ retry: { initialInterval: '2s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 6 } })
      .restoreDatabase,
    cleanUp: on({
      startToCloseTimeout: '10m',
      heartbeatTimeout: undefined,
      retry: { initialInterval: '1s', maximumInterval: '10s', maximumAttempts: 5 },
    }).restoreCleanUp,
  };
}

/** Restores a snapshot, or paths of it, below a directory; in the worker of the command that started it, or in the host's own. */
export async function restore(input: RestoreInput): Promise<RestoreDocument> {
  const info = workflowInfo();
  const run = info.workflowId;
  const { plan, packs, finish, load, cleanUp } = activities(input.host);
  const startedAt = info.startTime.toISOString();
  const answer: RestoreStatusAnswer = {
    run,
    job: input.job,
    host: input.host,
    status: 'running',
    phase: 'plan',
    snapshot: null,
    target: input.target,
    files: { total: 0, restored: 0, skipped: 0, failed: 0 },
    bytes: { total: 0, restored: 0 },
    slices: { done: 0, total: 0 },
    startedAt,
  };
  const show = (): void => setCurrentDetails(detailsText(answer));
  setHandler(restoreStatus, () => answer);
  show();
  try {
    const planned = await plan({ input, run });
    answer.snapshot = planned.snapshot;
    answer.files = { total: planned.files, ...planned.done };
    answer.bytes.total = planned.bytes;
    answer.slices.total = planned.slices;
    answer.phase = 'files';
    show();
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < planned.slices) {
        const counts = await packs({ input, run, slice: next++ });
        answer.files.restored += counts.restored;
        answer.files.skipped += counts.skipped;
        answer.files.failed += counts.failed;
        answer.bytes.restored += counts.bytes;
        answer.slices.done++;
        show();
      }
    };
    // A failed slice stops the others, and the restore ends once they have ended.
    await CancellationScope.cancellable(async () => {
      const scope = CancellationScope.current();
      let failure: unknown;
      const guarded = async (): Promise<void> => {
        try {
          await worker();
        } catch (error) {
          failure ??= error;
          scope.cancel();
        }
      };
      await Promise.all(Array.from({ length: Math.min(slicesInFlight, planned.slices) }, guarded));
      if (failure !== undefined) throw failure;
    });
    answer.phase = 'finish';
    show();
    let document = await finish({ input, run, startedAt });
    // A dump that did not come back whole is not let near a server.
    if (input.database?.load !== undefined && document.status === 'succeeded') {
      answer.phase = 'database';
      show();
      document = await load({ input, run, startedAt });
    }
    answer.phase = 'done';
    answer.status = document.status;
    answer.files = { total: planned.files, ...document.files };
    answer.bytes.restored = document.bytes;
    show();
    return document;
  } catch (error) {
    answer.status = isCancellation(error) ? 'cancelled' : 'failed';
    show();
    throw error;
  } finally {
    await CancellationScope.nonCancellable(() => cleanUp({ input, run }).catch(() => undefined));
  }
}

function detailsText(answer: RestoreStatusAnswer): string {
  const { files, slices } = answer;
  return [
    `**${answer.status}**, ${answer.phase}${slices.total > 0 ? `, slice ${slices.done} of ${slices.total}` : ''}`,
    `snapshot ${answer.snapshot ?? '?'} of ${answer.job} to \`${answer.target}\``,
    `${files.restored} of ${files.total} files, ${files.skipped} kept, ${files.failed} failed; ${Math.round(answer.bytes.restored / 1048576)} of ${Math.round(answer.bytes.total / 1048576)} MiB`,
  ].join('\n\n');
}
