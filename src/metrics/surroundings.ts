import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Client } from '@temporalio/client';
import { errnoOf } from '../errors.js';
import type { Surroundings } from './exposition.js';

const answerMs = 2000;
/** temporal.api.enums.v1.TaskQueueType */
const activityQueue = 2;

/** Bytes of the files below `folder`; what vanishes meanwhile counts nothing. */
export async function bytesBelow(folder: string): Promise<number> {
  const entries = await unlessGone(readdir(folder, { withFileTypes: true }));
  let bytes = 0;
  for (const entry of entries ?? []) {
    const file = path.join(folder, entry.name);
    bytes += entry.isDirectory() ? await bytesBelow(file) : ((await unlessGone(lstat(file)))?.size ?? 0);
  }
  return bytes;
}

async function unlessGone<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

/** How many activities wait in these queues and for how long; nothing of a server that does not answer or does not know. */
export async function queuesOf(client: Client, names: string[]): Promise<Surroundings['queues']> {
  const asked = await Promise.all(
    names.map(async (queue) => {
      try {
        const { stats } = await client.withDeadline(Date.now() + answerMs, () =>
          client.workflowService.describeTaskQueue({
            namespace: client.options.namespace,
            taskQueue: { name: queue },
            taskQueueType: activityQueue,
            reportStats: true,
          }),
        );
        if (!stats) return [];
        const { seconds, nanos } = stats.approximateBacklogAge ?? {};
        const ageSeconds = Number(seconds ?? 0) + (nanos ?? 0) / 1e9;
        return [{ queue, tasks: Number(stats.approximateBacklogCount ?? 0), ageSeconds }];
      } catch {
        // A scrape tells what it can; that the server is away shows in the SDK's metrics.
        return [];
      }
    }),
  );
  return asked.flat();
}

/** The Temporal SDK's own metrics as it serves them; empty where it does not, as before its worker has started. */
export async function sdkMetrics(address: string): Promise<string> {
  try {
    const response = await fetch(`http://${address}/metrics`, { signal: AbortSignal.timeout(answerMs) });
    return response.ok ? await response.text() : '';
  } catch {
    return '';
  }
}
