import { ActivityCancellationType, proxyActivities, setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import type { ExportActivities } from '../activities/export.js';
import type { ExportDocument, ExportInput } from './export-types.js';

/**
 * Writes a snapshot, or paths of it, as one plain archive; on the queue it was started on. There is one attempt: what went
 * to a pipe can't be taken back, and the process that writes is the one that asked.
 */
export async function exportArchive(input: ExportInput): Promise<ExportDocument> {
  const { taskQueue, workflowId: run, startTime } = workflowInfo();
  const activities = proxyActivities<ExportActivities>({
    taskQueue,
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    startToCloseTimeout: '7d',
    // Whoever reads the other end of a pipe may pause.
    heartbeatTimeout: '30m',
    retry: { maximumAttempts: 1 },
  });
  setCurrentDetails(`snapshot ${input.snapshot} of ${input.job} to \`${input.file}\` (${input.format})`);
  const document = await activities.exportArchive({ input, run, startedAt: startTime.toISOString() });
  setCurrentDetails(
    `**${document.status}**: ${document.files.exported} files, ${document.files.failed} failed, to \`${input.file}\``,
  );
  return document;
}
