import { ActivityCancellationType, proxyActivities, setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import type { ExportActivities } from '../activities/export.js';
import type { ExportDocument, ExportInput } from './export-types.js';
import { controlQueue, hostQueue } from './types.js';

/**
 * Writes a snapshot, or paths of it, as one plain archive; in the worker of the command that started it, or in the host's own.
 * In the command's there is one attempt: what went to a pipe can't be taken back, and the process that writes is the one
 * that asked. The host's begins anew where it was stopped.
 */
export async function exportArchive(input: ExportInput): Promise<ExportDocument> {
  const { taskQueue, workflowId: run, startTime } = workflowInfo();
  const own = taskQueue !== controlQueue;
  const activities = proxyActivities<ExportActivities>({
    taskQueue: own ? taskQueue : hostQueue(input.host),
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    startToCloseTimeout: '7d',
    // Whoever reads the other end of a pipe may pause.
    heartbeatTimeout: own ? '30m' : '20s',
    retry: own
      ? { maximumAttempts: 1 }
      : { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s', maximumAttempts: 100 },
  });
  setCurrentDetails(`snapshot ${input.snapshot} of ${input.job} to \`${input.file}\` (${input.format})`);
  const document = await activities.exportArchive({ input, run, startedAt: startTime.toISOString() });
  setCurrentDetails(
    `**${document.status}**: ${document.files.exported} files, ${document.files.failed} failed, to \`${input.file}\``,
  );
  return document;
}
