import type { ActivityInterfaceFor, ActivityOptions } from '@temporalio/workflow';
import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { CareActivities } from '../activities/care.js';
import { hostQueue } from './types.js';

/** The host's activities that look after repositories, each with its own time-outs and retries. */
export function careActivitiesOf(host: string): ActivityInterfaceFor<CareActivities> {
  const on = (options: ActivityOptions): ActivityInterfaceFor<CareActivities> =>
    proxyActivities<CareActivities>({
      taskQueue: hostQueue(host),
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
      startToCloseTimeout: '24h',
      heartbeatTimeout: '30s',
      retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 5 },
      ...options,
    });
  const few = on({});
  // A destination that is away comes back; a backup in progress ends.
  const patient = on({
    retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m', maximumAttempts: 60 },
  });
  // A drill whose destination or server is away for some minutes has failed.
  const some = on({
    retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 8 },
  });
  const last = on({ startToCloseTimeout: '10m', retry: { initialInterval: '1s', maximumInterval: '30s' } });
  return {
    pruneBegin: few.pruneBegin,
    pruneAt: few.pruneAt,
    pruneEnd: last.pruneEnd,
    checkList: on({ retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' } }).checkList,
    checkRead: patient.checkRead,
    checkRepair: patient.checkRepair,
    checkFinish: patient.checkFinish,
    checkCleanUp: last.checkCleanUp,
    drillPlan: some.drillPlan,
    drillFiles: some.drillFiles,
    drillDatabase: some.drillDatabase,
    drillAssert: few.drillAssert,
    drillFinish: last.drillFinish,
    drillCleanUp: last.drillCleanUp,
  };
}
