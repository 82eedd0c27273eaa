import { CancellationScope, setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import { careActivitiesOf } from './care-activities.js';
import type { CheckDocument, CheckInput } from './care-types.js';

/** Checks a job's repository at its destinations, reads a share of it, and with `repair` heals what can be healed. */
export async function check(input: CheckInput): Promise<CheckDocument> {
  const info = workflowInfo();
  const run = info.workflowId;
  const activities = careActivitiesOf(input.host);
  const ref = { input, run };
  try {
    setCurrentDetails('listing and resolving');
    const { slices } = await activities.checkList(ref);
    for (const [at, { destination, slice }] of slices.entries()) {
      setCurrentDetails(`reading **${destination}**, part ${at + 1} of ${slices.length}`);
      await activities.checkRead.executeWithOptions({ summary: `${destination}, part ${at + 1} of ${slices.length}` }, [
        { ...ref, destination, slice },
      ]);
    }
    if (input.repair) {
      setCurrentDetails('repairing');
      await activities.checkRepair(ref);
    }
    return await activities.checkFinish({ ...ref, startedAt: info.startTime.toISOString() });
  } finally {
    await CancellationScope.nonCancellable(() => activities.checkCleanUp(ref));
  }
}
