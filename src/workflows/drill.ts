import {
  ActivityFailure,
  CancellationScope,
  isCancellation,
  setCurrentDetails,
  workflowInfo,
} from '@temporalio/workflow';
import { careActivitiesOf } from './care-activities.js';
import type { DrillInput, DrillProblem, DrillReport } from './drill-types.js';

/** Restores a sample of a snapshot and its databases into scratch places, asks what was asserted of them, and reports. */
export async function drill(input: DrillInput): Promise<DrillReport> {
  const info = workflowInfo();
  const activities = careActivitiesOf(input.host);
  const ref = { input, run: info.workflowId };
  try {
    let failure: DrillProblem | undefined;
    try {
      setCurrentDetails('choosing a sample');
      const { databases } = await activities.drillPlan(ref);
      setCurrentDetails('restoring files');
      await activities.drillFiles(ref);
      for (let at = 0; at < databases; at++) {
        setCurrentDetails(`restoring database ${at + 1} of ${databases}`);
        await activities.drillDatabase({ ...ref, database: at });
      }
      setCurrentDetails('asking');
      await activities.drillAssert(ref);
    } catch (error) {
      if (isCancellation(error)) throw error;
      failure = problemOf(error);
    }
    const startedAt = info.startTime.toISOString();
    return await activities.drillFinish({ ...ref, startedAt, ...(failure === undefined ? {} : { failure }) });
  } finally {
    await CancellationScope.nonCancellable(() => activities.drillCleanUp(ref));
  }
}

/** What kept the drill from its end: that is a failed drill too. */
function problemOf(error: unknown): DrillProblem {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  const code = cause instanceof Error && 'type' in cause && typeof cause.type === 'string' ? cause.type : 'Internal';
  return { code, message: cause instanceof Error ? cause.message : String(cause) };
}
