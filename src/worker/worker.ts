import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Client } from '@temporalio/client';
import { type NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Logger } from 'pino';
import { createBackupActivities } from '../activities/backup.js';
import { createCareActivities } from '../activities/care.js';
import { endAbandonedDrills } from '../activities/drill-run.js';
import { clearAbandonedDumps } from '../activities/dump.js';
import { guarded } from '../activities/guarded.js';
import { Host } from '../activities/host.js';
import { clearPrivateContexts } from '../activities/private-context.js';
import { clearAbandonedRestores } from '../activities/restore-database.js';
import { closePool, rehearse, warmPool } from '../activities/threads/pool.js';
import { createControlActivities } from '../activities/watch-activities.js';
import type { LoadedConfig } from '../config/load.js';
import { tuneAllocator } from '../platform/allocator.js';
import { collectAlone } from '../platform/collect.js';
import type { Tracing } from '../tracing/tracing.js';
import { controlQueue, hostQueue } from '../workflows/types.js';
import { exportActivitiesOf } from './export-activities.js';
import { restoreActivitiesOf } from './restore-activities.js';
import { reviveRuns } from './revive.js';
import { temporalLogger } from './temporal-log.js';

export interface HostWorkerOptions {
  loaded: LoadedConfig;
  client: Client;
  native: NativeConnection;
  /** `control` runs workflows, `host` works on this host's disks. */
  roles: ('control' | 'host')[];
  log: Logger;
  /** The worker stays: it prepares itself while there is nothing to do. */
  standing?: boolean;
  tracing?: Tracing | undefined;
}

export interface RunningWorker {
  /** Resolves when every part has stopped; rejects when one failed. */
  finished: Promise<void>;
  /** Drains: activities get the cancellation, run on for a moment, and are taken up by the next worker. */
  shutdown(): Promise<void>;
}

const pathOf = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** Where the worker takes its workflows from: bundled at build time, else from source. Traced ones are another bundle. */
export function workflowSource(
  tracing: Tracing | undefined,
): Pick<WorkerOptions, 'workflowBundle' | 'workflowsPath' | 'interceptors' | 'sinks'> {
  const codePath = pathOf(tracing === undefined ? '../workflow-bundle.js' : '../workflow-bundle-traced.js');
  if (existsSync(codePath)) return { workflowBundle: { codePath }, ...tracing?.worker };
  const workflowModules = tracing === undefined ? [] : [pathOf('../workflows/trace-interceptors.js')];
  return {
    workflowsPath: pathOf('../workflows/index.js'),
    ...tracing?.worker,
    interceptors: { ...tracing?.worker.interceptors, workflowModules },
  };
}

let installed = false;

/**
 * Sends the SDK's own log lines to ours; once per process.
 *
 * @param metrics HOST:PORT where the SDK serves its own metrics (Prometheus, no token); left out where it can't.
 */
export function installRuntime(log: Logger, metrics?: string): void {
  if (installed) return;
  installed = true;
  tuneAllocator();
  collectAlone();
  const install = (bindAddress?: string) =>
    Runtime.install({
      logger: temporalLogger(log),
      shutdownSignals: [],
      telemetryOptions: {
        logging: { filter: { core: 'WARN', other: 'ERROR' }, forward: {} },
        ...(bindAddress === undefined
          ? {}
          : {
              metrics: {
                prometheus: { bindAddress, countersTotalSuffix: true, useSecondsForDurations: true, unitSuffix: true },
              },
            }),
      },
    });
  try {
    install(metrics);
  } catch (error) {
    // Another process may have taken the port; backups don't depend on it.
    if (metrics === undefined) throw error;
    log.warn({ err: error }, "the Temporal SDK's own metrics are not available");
    install();
  }
}

const namespaceOf = (client: Client): string => client.options.namespace;

/**
 * Starts this host's worker. With the role `host` the caller holds the worker lock of the state folder, so that whatever an
 * earlier worker of this host had in hand is dead and is handed out again at once.
 */
export async function startHostWorker(options: HostWorkerOptions): Promise<RunningWorker> {
  const { loaded, client, native, roles, log, tracing } = options;
  installRuntime(log);
  const host = new Host(loaded, client, log);
  const common: Partial<WorkerOptions> = {
    connection: native,
    namespace: namespaceOf(client),
    identity: `holdfast ${process.pid}@${loaded.config.host}`,
    shutdownGraceTime: '5s',
    shutdownForceTime: '30s',
    maxHeartbeatThrottleInterval: '2s',
    defaultHeartbeatThrottleInterval: '2s',
  };
  if (roles.includes('host')) {
    await clearAbandonedDumps(loaded.config.spool.path);
    await clearAbandonedRestores(path.join(loaded.config.spool.path, 'restore'));
    await endAbandonedDrills(loaded.config.spool.path);
    await clearPrivateContexts(loaded.config.state);
  }
  const workers: Worker[] = [];
  if (roles.includes('control')) {
    workers.push(
      await Worker.create({
        ...common,
        ...workflowSource(tracing),
        activities: createControlActivities(host),
        maxConcurrentActivityTaskExecutions: 4,
        taskQueue: controlQueue,
        maxCachedWorkflows: 50,
        // After a crash, what the dead worker's cache was to answer waits this long.
        stickyQueueScheduleToStartTimeout: '2s',
        maxConcurrentWorkflowTaskExecutions: 4,
        workflowThreadPoolSize: 1,
        reuseV8Context: true,
      }),
    );
  }
  if (roles.includes('host')) {
    workers.push(
      await Worker.create({
        ...common,
        ...(tracing === undefined ? {} : { interceptors: tracing.worker.interceptors }),
        activities: {
          ...createBackupActivities(host),
          ...createCareActivities(host),
          ...guarded(host, restoreActivitiesOf(host)),
          ...guarded(host, exportActivitiesOf(host)),
        },
        taskQueue: hostQueue(loaded.config.host),
        maxConcurrentActivityTaskExecutions: 32,
      }),
    );
  }
  const running = workers.map((worker) => worker.run());
  if (roles.includes('host')) {
    void warmPool()
      .then(() =>
        options.standing === true ? rehearse(path.join(loaded.config.state, 'run', 'rehearsal')) : undefined,
      )
      .catch((error: unknown) => log.debug({ err: error }, 'warming up failed'));
    void reviveRuns(host, client, log).catch((error: unknown) =>
      log.warn({ err: error }, 'looking after earlier runs failed'),
    );
  }
  const stop = (): void => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  const finished = Promise.all(running.map((run) => run.finally(stop))).then(async () => {
    await host.close();
    if (roles.includes('host')) await closePool();
  });
  return {
    finished,
    async shutdown() {
      stop();
      await finished.catch(() => undefined);
    },
  };
}
