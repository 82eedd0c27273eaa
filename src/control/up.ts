import type { Logger } from 'pino';
import type { LoadedConfig } from '../config/load.js';
import { HoldfastError } from '../errors.js';
import type { Lock, LockHolder } from '../worker/locks.js';
import { takeUpLock } from '../worker/temporal/share.js';
import { freePort } from '../worker/temporal/state.js';
import { applyConfig } from './apply.js';
import type { WorkerRole } from './hosted-worker.js';
import { listSchedules, type ScheduleChange, type ScheduleInfo } from './schedules.js';
import { serveUp, type UpServer } from './serve-up.js';
import { openSession, runningServer, type Session, type SessionOptions, temporalOf } from './session.js';

export interface Up {
  session: Session;
  changes: ScheduleChange[];
  schedules: ScheduleInfo[];
  /** Drains the worker, stops the server unless others use it, gives the lock back. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Brings up server and worker and applies the schedules. Only one process per state folder may.
 *
 * @param log gets what happens from now on.
 * @throws HoldfastError `AlreadyRunning`; what `openSession` throws.
 */
export async function startUp(loaded: LoadedConfig, log: Logger): Promise<Up> {
  const lock = takeUpLock(loaded.config.state);
  let session: Session | undefined;
  let server: UpServer | undefined;
  const stop = once(async () => {
    await server?.close();
    await session?.close();
    lock.release();
  });
  try {
    session = await openStanding(loaded, { ...workerOptions(log), command: 'holdfast up' }, log);
    describe(lock, session);
    for (const warning of session.embedded?.warnings ?? []) log.warn(warning);
    const changes = await applyConfig(session);
    server = await serveUp(session, log);
    const jobs = Object.keys(loaded.config.jobs);
    const schedules = await listSchedules(session.temporal.client, loaded.config.host, jobs);
    return { session, changes, schedules, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Brings up the worker alone, with the configured Temporal or the embedded server that runs.
 *
 * @throws HoldfastError `TemporalUnavailable`; what `openSession` throws.
 */
export async function startWorkerAlone(loaded: LoadedConfig, roles: WorkerRole[], log: Logger): Promise<Session> {
  const embedded = (await temporalOf(loaded)) === undefined;
  if (embedded && (await runningServer(loaded.config.state)) === undefined) {
    throw new HoldfastError('TemporalUnavailable', 'no Temporal is configured and the embedded server does not run', {
      hint: '`holdfast up` starts it, with a worker; `holdfast worker` is for a configured `temporal:`.',
    });
  }
  return openStanding(loaded, { ...workerOptions(log), roles, command: 'holdfast worker' }, log);
}

/** Opens a session that stays, with the metrics that are configured; closing it ends both. */
async function openStanding(loaded: LoadedConfig, options: SessionOptions, log: Logger): Promise<Session> {
  const { metrics } = loaded.config;
  if (metrics === undefined) return openSession(loaded, options);
  const { startMetrics } = await import('./metrics.js');
  const sdk = `127.0.0.1:${await freePort()}`;
  const session = await openSession(loaded, { ...options, sdkMetrics: sdk });
  try {
    const served = await startMetrics({ loaded, metrics, session, sdk, log });
    const close = once(async () => {
      await served.close();
      await session.close();
    });
    return { ...session, close };
  } catch (error) {
    await session.close();
    throw error;
  }
}

function workerOptions(log: Logger) {
  return {
    worker: true,
    standing: true,
    log,
    workerLog: log,
    onWaiting: (holder: LockHolder | undefined) =>
      log.info(
        `${holder === undefined ? 'another process' : describeHolder(holder)} hosts the worker; waiting for its end`,
      ),
    onReady: () => log.info('the worker is ready'),
  };
}

function describeHolder({ command, pid }: LockHolder): string {
  return `\`${command}\` (process ${pid})`;
}

function describe(lock: Lock, { embedded }: Session): void {
  if (embedded !== undefined) lock.describe(embedded.ui);
}

function once(action: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= action();
    return done;
  };
}
