import type { ActivityOptions } from '@temporalio/workflow';
import {
  ActivityCancellationType,
  defineQuery,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { CopyActivities } from '../activities/copy.js';
import type { CopyDocument, CopyInput, CopyStatusAnswer } from './copy-types.js';
import { statusQuery } from './types.js';

export const copyStatus = defineQuery<CopyStatusAnswer>(statusQuery);

/** A pack that went away while it was being copied shows at the end; then the rest is looked for again. */
const rounds = 3;

function activities() {
  const { taskQueue } = workflowInfo();
  const options: ActivityOptions = {
    taskQueue,
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    startToCloseTimeout: '30d',
    heartbeatTimeout: '30s',
    retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m' },
  };
  return proxyActivities<CopyActivities>(options);
}

/** Replicates a job's repository from one destination to another; on the queue it was started on. */
export async function copy(input: CopyInput): Promise<CopyDocument> {
  const info = workflowInfo();
  const run = info.workflowId;
  const { copyPlan, copyPacks, copyFinish } = activities();
  const answer: CopyStatusAnswer = {
    run,
    job: input.job,
    from: input.from,
    to: input.to,
    status: 'running',
    phase: 'plan',
    packs: { total: 0, copied: 0 },
    bytes: { total: 0, copied: 0 },
  };
  const show = (): void => setCurrentDetails(detailsText(answer));
  setHandler(copyStatus, () => answer);
  show();
  try {
    for (let round = 1; ; round++) {
      const plan = await copyPlan({ input, run });
      answer.packs.total = answer.packs.copied + plan.missing;
      answer.bytes.total = answer.bytes.copied + plan.missingBytes;
      answer.phase = 'packs';
      show();
      const copied = await copyPacks({ input, run });
      answer.packs.copied += copied.packs;
      answer.bytes.copied += copied.bytes;
      answer.phase = 'finish';
      show();
      const ended = await copyFinish({ input, run, damaged: copied.damaged });
      if (ended.lacking > 0 && copied.damaged.length === 0 && round < rounds) continue;
      answer.phase = 'done';
      answer.status = ended.lacking > 0 || ended.damaged.length > 0 ? 'partial' : 'succeeded';
      show();
      const endedAt = new Date();
      return {
        run,
        job: input.job,
        from: input.from,
        to: input.to,
        status: answer.status,
        snapshots: ended.snapshots,
        packs: { total: plan.packs, copied: answer.packs.copied },
        bytes: answer.bytes.copied,
        damaged: ended.damaged,
        startedAt: info.startTime.toISOString(),
        endedAt: endedAt.toISOString(),
        durationMs: endedAt.getTime() - info.startTime.getTime(),
      };
    }
  } catch (error) {
    answer.status = isCancellation(error) ? 'cancelled' : 'failed';
    show();
    throw error;
  }
}

function detailsText({ status, phase, job, from, to, packs, bytes }: CopyStatusAnswer): string {
  const mib = (count: number): number => Math.round(count / 1048576);
  return [
    `**${status}**, ${phase}`,
    `${job} from ${from} to ${to}: ${packs.copied} of ${packs.total} packs, ${mib(bytes.copied)} of ${mib(bytes.total)} MiB`,
  ].join('\n\n');
}
