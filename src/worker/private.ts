import type { Client } from '@temporalio/client';
import { type NativeConnection, Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import { verifyInput } from '../activities/auth.js';
import { type CopyActivities, createCopyActivities } from '../activities/copy.js';
import { createExportActivities, type ExportActivities } from '../activities/export.js';
import { asFailure } from '../activities/failures.js';
import { Host } from '../activities/host.js';
import { openRepository } from '../activities/open-repository.js';
import type { RestoreActivities } from '../activities/restore.js';
import type { TargetServer } from '../activities/restore-database.js';
import { closePool, collectGarbage } from '../activities/threads/pool.js';
import type { LoadedConfig } from '../config/load.js';
import type { Tracing } from '../tracing/tracing.js';
import { restoreActivitiesOf } from './restore-activities.js';
import { sweepRestores } from './sweep-restores.js';
import { installRuntime, type RunningWorker, workflowSource } from './worker.js';

export interface PrivateWorkerOptions {
  loaded: LoadedConfig;
  client: Client;
  native: NativeConnection;
  /** A queue that only this command's run uses. */
  queue: string;
  log: Logger;
  tracing?: Tracing | undefined;
  /** The process has another worker, which goes on with the same threads. */
  sharesThreads?: boolean;
  /** The server to restore a database to. */
  targetServer?: TargetServer | undefined;
  /** The password of an archive to export; never written down. */
  archivePassword?: string | undefined;
}

/** Starts a worker for one command's restore, copy or export: workflow and activities on one private queue, never the host's own. */
export async function startPrivateWorker(options: PrivateWorkerOptions): Promise<RunningWorker> {
  const { loaded, client, native, queue, log } = options;
  installRuntime(log);
  const tidy = (): void =>
    void collectGarbage().catch((error: unknown) => log.debug({ err: error }, 'giving memory back failed'));
  if (options.sharesThreads === true) tidy();
  const host = new Host(loaded, client, log);
  void sweepRestores(host).catch((error: unknown) => log.debug({ err: error }, 'looking for killed restores failed'));
  const worker = await Worker.create({
    connection: native,
    namespace: client.options.namespace,
    identity: `holdfast command ${process.pid}@${loaded.config.host}`,
    ...workflowSource(options.tracing),
    activities: guarded({
      ...restoreActivitiesOf(host, options.targetServer),
      ...createCopyActivities(host),
      ...createExportActivities({
        verify: (input) => verifyInput(host.state, 'export', input),
        open: (input, signal) =>
          openRepository(host, input.job, { sync: true, signal, destination: input.destination }),
        password: options.archivePassword,
        output: process.stdout,
      }),
    }),
    taskQueue: queue,
    shutdownGraceTime: '1s',
    shutdownForceTime: '30s',
    maxHeartbeatThrottleInterval: '1s',
    defaultHeartbeatThrottleInterval: '1s',
    maxCachedWorkflows: 2,
    workflowThreadPoolSize: 1,
    reuseV8Context: true,
  });
  const finished = worker.run().finally(async () => {
    await host.close();
    if (options.sharesThreads === true) tidy();
    else await closePool();
  });
  finished.catch(() => undefined);
  return {
    finished,
    async shutdown() {
      if (worker.getState() === 'RUNNING') worker.shutdown();
      await finished.catch(() => undefined);
    },
  };
}

type PrivateActivities = RestoreActivities & CopyActivities & ExportActivities;

/** Every error leaves as a typed, redacted failure. */
function guarded(activities: PrivateActivities): PrivateActivities {
  const typed =
    <Ref, Answer>(run: (ref: Ref) => Promise<Answer>) =>
    async (ref: Ref): Promise<Answer> => {
      try {
        return await run(ref);
      } catch (error) {
        throw asFailure(error);
      }
    };
  return {
    restorePlan: typed(activities.restorePlan),
    restorePacks: typed(activities.restorePacks),
    restoreFinish: typed(activities.restoreFinish),
    restoreDatabase: typed(activities.restoreDatabase),
    restoreCleanUp: typed(activities.restoreCleanUp),
    copyPlan: typed(activities.copyPlan),
    copyPacks: typed(activities.copyPacks),
    copyFinish: typed(activities.copyFinish),
    exportArchive: typed(activities.exportArchive),
  };
}
