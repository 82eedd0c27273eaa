import type { ActivityInterfaceFor, ActivityOptions } from '@temporalio/workflow';
import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { BackupActivities } from '../activities/backup.js';
import { hostQueue } from './types.js';

const once: ActivityOptions['retry'] = { maximumAttempts: 1 };
const patient: ActivityOptions['retry'] = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' };

/** The host's activities, each step with its own time-outs and retries. */
export function activitiesOf(host: string) {
  const on = (options: ActivityOptions): ActivityInterfaceFor<BackupActivities> =>
    proxyActivities<BackupActivities>({
      taskQueue: hostQueue(host),
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
      ...options,
    });
  const quick = on({ startToCloseTimeout: '2m', retry: { ...patient, maximumAttempts: 10 } });
  const beginning = { startToCloseTimeout: '1h', heartbeatTimeout: '20s' } as const;
  // Threads work while the event loop heartbeats: silence means that the worker is gone.
  const working = on({ startToCloseTimeout: '24h', heartbeatTimeout: '20s', retry: patient });
  // A server that is being restarted is back within a minute or two; after that the source has failed, and the rest goes on.
  const dumping = on({
    startToCloseTimeout: '24h',
    heartbeatTimeout: '20s',
    retry: { initialInterval: '2s', backoffCoefficient: 2, maximumInterval: '1m', maximumAttempts: 6 },
  });
  const sending = { startToCloseTimeout: '24h', heartbeatTimeout: '30s' } as const;
  return {
    begin: on({ ...beginning, retry: { ...patient, maximumAttempts: 20 } }).begin,
    beginWaiting: on({ ...beginning, retry: { ...patient, maximumInterval: '5s' } }).begin,
    listDatabases: dumping.listDatabases,
    dump: dumping.dump,
    snapshot: working.snapshot,
    compress: working.compress,
    encrypt: working.encrypt,
    archive: working.archive,
    manifest: working.manifest,
    upload: on({
      ...sending,
      retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '10s', maximumAttempts: 4 },
    }).upload,
    uploadOnce: on({ ...sending, retry: once }).upload,
    commit: on({ ...sending, retry: once }).commit,
    prune: on({ ...sending, startToCloseTimeout: '6h', retry: { ...patient, maximumAttempts: 3 } }).prune,
    finish: on({ startToCloseTimeout: '10m', heartbeatTimeout: '20s', retry: patient }).finish,
    assess: on({ startToCloseTimeout: '1m', retry: { ...patient, maximumAttempts: 3 } }).assess,
    deliverInput: quick.deliverInput,
    // A run's workflow is open meanwhile, and its schedule starts no other one.
    notify: on({
      startToCloseTimeout: '30s',
      scheduleToCloseTimeout: '2m',
      retry: { initialInterval: '1s', backoffCoefficient: 3, maximumInterval: '1m', maximumAttempts: 5 },
    }).notify,
    notifyStart: on({
      startToCloseTimeout: '30s',
      scheduleToCloseTimeout: '1m',
      retry: { initialInterval: '1s', backoffCoefficient: 3, maximumAttempts: 3 },
    }).notify,
    noteUnsent: quick.noteUnsent,
    jobNotifiers: quick.jobNotifiers,
    noteWaiting: on({ startToCloseTimeout: '1m', retry: { ...patient, maximumAttempts: 3 } }).noteWaiting,
    noteDeliveryWaiting: on({ startToCloseTimeout: '1m', retry: { ...patient, maximumAttempts: 3 } })
      .noteDeliveryWaiting,
    deliver: on({ ...sending, retry: once }).deliver,
  };
}

export type HostActivities = ReturnType<typeof activitiesOf>;
