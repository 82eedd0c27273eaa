import type { Client } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { Logger } from 'pino';
import { signInput } from '../activities/auth.js';
import { sweepSpool } from '../activities/begin.js';
import { sweepDrills } from '../activities/drill-run.js';
import type { Host } from '../activities/host.js';
import { sweepScratchDatabases } from '../activities/scratch-databases.js';
import { alertWatch } from '../activities/watch.js';
import { backupIdPrefix, controlQueue, deliverId, workerLost } from '../workflows/types.js';
import { sweepRestores } from './sweep-restores.js';

/** PENDING_ACTIVITY_STATE_STARTED */
const started = 2;

/**
 * Takes up what an earlier worker of this host left: its activities are failed, so that they are retried at once instead of
 * after their heartbeat time-out; deliveries that are owed run; spools of closed runs go.
 */
export async function reviveRuns(host: Host, client: Client, log: Logger): Promise<void> {
  const own = ` ${process.pid}@${host.config.host}`;
  for (const run of await openRuns(host, client)) {
    await forgetStickyQueue(client, run).catch((error: unknown) =>
      log.debug({ err: error, run }, 'its sticky queue stays'),
    );
    const description = await client.workflow
      .getHandle(run)
      .describe()
      .catch(() => undefined);
    if (description?.status.name !== 'RUNNING') continue;
    for (const activity of description.raw.pendingActivities ?? []) {
      const identity = activity.lastWorkerIdentity ?? '';
      if (activity.state !== started || !identity.endsWith(`@${host.config.host}`) || identity.endsWith(own)) continue;
      if (!activity.activityId) continue;
      await client.activity
        .fail(
          { workflowId: run, activityId: activity.activityId },
          ApplicationFailure.create({
            type: workerLost,
            message: `the worker ${identity} that ran it is gone`,
            nextRetryDelay: 1,
          }),
        )
        .then(() =>
          log.info({ run, activity: activity.activityType?.name }, 'an activity of a dead worker is handed out again'),
        )
        .catch((error: unknown) => log.debug({ err: error, run }, 'the activity was not waiting any more'));
    }
  }
  for (const [job, destination] of host.history.debtors()) {
    const fields = { host: host.config.host, job, destination };
    await client.workflow
      .start('deliver', {
        taskQueue: controlQueue,
        workflowId: deliverId(host.config.host, job, destination),
        args: [{ ...fields, sig: signInput(host.state, 'deliver', fields) }],
        staticSummary: `bringing ${destination} what it missed of ${job} on ${host.config.host}`,
      })
      .catch((error: unknown) => log.debug({ err: error, job, destination }, 'a delivery runs already'));
  }
  await alertWatch(client, host.config.host);
  await sweepSpool(host, (run) => host.history.isOwed(run));
  await sweepDrills(host);
  await sweepScratchDatabases(host);
  await sweepRestores(host);
}

/** Workflow tasks wait for the worker that had the workflow in its cache; that one is dead. */
async function forgetStickyQueue(client: Client, workflowId: string): Promise<void> {
  const { namespace } = client.options;
  await client.workflowService.resetStickyTaskQueue({ namespace, execution: { workflowId } });
}

/** Temporal's list can be some moments old and the history knows no run that waits, so both are asked. */
async function openRuns(host: Host, client: Client): Promise<Set<string>> {
  const runs = new Set<string>();
  for (const document of host.history.list({ limit: 100 })) {
    if (document.status === 'running' || document.status === 'queued' || document.status === 'paused')
      runs.add(document.run);
  }
  for (const [job, destination] of host.history.debtors()) runs.add(deliverId(host.config.host, job, destination));
  const prefix = backupIdPrefix(host.config.host, '').replaceAll("'", "''");
  const query = `WorkflowType = 'backup' AND ExecutionStatus = 'Running' AND WorkflowId STARTS_WITH '${prefix}'`;
  for await (const { workflowId } of client.workflow.list({ query })) runs.add(workflowId);
  for (const type of ['prune', 'check', 'drill']) {
    const own = `${type}/${host.config.host}/`.replaceAll("'", "''");
    const open = `WorkflowType = '${type}' AND ExecutionStatus = 'Running' AND WorkflowId STARTS_WITH '${own}'`;
    for await (const { workflowId } of client.workflow.list({ query: open })) runs.add(workflowId);
  }
  return runs;
}
