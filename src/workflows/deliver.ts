import {
  ActivityFailure,
  ApplicationFailure,
  TimeoutFailure,
  WorkflowExecutionAlreadyStartedError,
} from '@temporalio/common';
import {
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  getExternalWorkflowHandle,
  isCancellation,
  ParentClosePolicy,
  patched,
  setCurrentDetails,
  setHandler,
  sleep,
  startChild,
  WorkflowIdReusePolicy,
} from '@temporalio/workflow';
import type { DeliverInput } from '../activities/backup.js';
import { activitiesOf } from './activities.js';
import { type DeliveryStatus, deliverId, signalNames, statusQuery, workerGone } from './types.js';

export const moreSignal = defineSignal(signalNames.more);
export const deliveryStatus = defineQuery<DeliveryStatus>(statusQuery);

const longestWaitMs = 5 * 60_000;
/** Somebody may be renewing the credentials right now. */
const expiredWaitMs = 60_000;
const attemptsPerExecution = 200;

/** Goes on trying until one destination holds every snapshot it missed, across runs. */
export async function deliver(input: DeliverInput): Promise<void> {
  const activities = activitiesOf(input.host);
  let more = false;
  let told = false;
  setHandler(moreSignal, () => {
    more = true;
  });
  const status: DeliveryStatus = { left: null, error: null, nextTry: null };
  setHandler(deliveryStatus, () => status);
  for (let attempt = 0; attempt < attemptsPerExecution; attempt++) {
    more = false;
    status.nextTry = null;
    try {
      const { left } = await activities.deliver(input);
      Object.assign(status, { left, error: null });
      setCurrentDetails(left === 0 ? 'delivered' : `${left} snapshots left`);
      if (left === 0 && !more) return;
    } catch (error) {
      if (isCancellation(error)) throw error;
      if (isWorkerLost(error)) continue;
      const cause = error instanceof ActivityFailure ? error.cause : undefined;
      const reason = cause ? cause.message : String(error);
      setCurrentDetails(`waiting for **${input.destination}**: ${reason}`);
      const expired = cause instanceof ApplicationFailure && cause.type === 'AuthExpired';
      const wait = Math.min(2000 * 2 ** Math.min(attempt, 10), expired ? expiredWaitMs : longestWaitMs);
      status.error = expired ? `token expired: ${reason}` : reason;
      status.nextTry = new Date(Date.now() + wait).toISOString();
      if (expired && !told && patched('tell-of-expired')) {
        told = true;
        await activities.noteDeliveryWaiting({ ...input, reason: reason.slice(0, 500) }).catch(() => undefined);
      }
      await condition(() => more, wait);
    }
  }
  await sleep(0);
  await continueAsNew<typeof deliver>(input);
}

/** The worker died or was stopped: the destination has not been tried. */
function isWorkerLost(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return (
    cause instanceof TimeoutFailure || (cause instanceof ApplicationFailure && workerGone.includes(cause.type ?? ''))
  );
}

/** Starts the delivery to a destination, or tells the one that runs that there is more. */
export async function startDelivery(input: DeliverInput): Promise<void> {
  const workflowId = deliverId(input.host, input.job, input.destination);
  try {
    await startChild(deliver, {
      args: [input],
      workflowId,
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `bringing ${input.destination} what it missed of ${input.job} on ${input.host}`,
    });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    await getExternalWorkflowHandle(workflowId)
      .signal(moreSignal)
      .catch(() => undefined);
  }
}
