import { CancellationScope, isCancellation, setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import { reasonOf } from './backup.js';
import { careActivitiesOf } from './care-activities.js';
import type { PruneDestination, PruneDocument, PruneInput } from './care-types.js';

/** Applies a job's retention at each destination that holds its newest good snapshot, under the job's lock. */
export async function prune(input: PruneInput): Promise<PruneDocument> {
  const run = workflowInfo().workflowId;
  const activities = careActivitiesOf(input.host);
  const ref = { input, run };
  try {
    const { destinations, skipped } = await activities.pruneBegin(ref);
    const done: PruneDestination[] = [...skipped];
    for (const destination of destinations) {
      setCurrentDetails(`pruning **${destination}**`);
      try {
        done.push(
          await activities.pruneAt.executeWithOptions({ summary: `at ${destination}` }, [{ ...ref, destination }]),
        );
      } catch (error) {
        if (isCancellation(error)) throw error;
        const { code, message } = reasonOf(error);
        done.push({ ...failed(destination), error: `${code}: ${message}` });
      }
    }
    return { run, job: input.job, dryRun: false, destinations: done };
  } finally {
    await CancellationScope.nonCancellable(() => activities.pruneEnd(ref));
  }
}

const failed = (name: string): PruneDestination => ({
  name,
  status: 'failed',
  error: null,
  removed: 0,
  marked: 0,
  deleted: 0,
  repacked: 0,
  freed: 0,
  snapshots: [],
});
