import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Logger } from 'pino';
import type { LoadedConfig } from '../config/load.js';
import type { Tracing } from '../tracing/tracing.js';
import { type Lock, type LockHolder, readHolder, tryExclusive, tryShared } from '../worker/locks.js';
import { connectNative, type TemporalConfig } from './connection.js';

export type WorkerRole = 'control' | 'host';

export interface HostedWorkerOptions {
  loaded: LoadedConfig;
  client: Client;
  /** As given to `connect`. */
  temporal: TemporalConfig | undefined;
  embedded: { address: string } | undefined;
  roles: WorkerRole[];
  /** How this process calls itself to others that wait for the lock. */
  command: string;
  log: () => Promise<Logger>;
  /** Told once when another process turns out to host the worker. */
  onWaiting?: (holder: LockHolder | undefined) => void;
  onReady?: () => void;
  /** The worker stays beyond one command. */
  standing?: boolean;
  /** HOST:PORT for the SDK's own metrics. */
  sdkMetrics?: string;
  tracing?: Tracing | undefined;
}

/** A worker that this process hosts, or will as soon as the process that does is gone. */
export interface HostedWorker {
  /** Whether this process hosts the worker now. */
  readonly hosting: boolean;
  /** Rejects when the first worker this process hosts can't start. Never resolves. */
  readonly failure: Promise<never>;
  /** Drains the worker, gives the lock back. Idempotent. */
  stop(): Promise<void>;
}

const retryMs = 1000;

export function workerLockPath(stateDir: string): string {
  return join(stateDir, 'run', 'worker.lock');
}

/** Who hosts this host's worker; undefined when nobody does. */
export function workerHolder(stateDir: string): LockHolder | 'unknown' | undefined {
  const path = workerLockPath(stateDir);
  const lock = tryShared(path);
  if (lock === undefined) return readHolder(path) ?? 'unknown';
  lock.release();
  return undefined;
}

/**
 * Hosts the worker now, or once the lock is free; starts it again when it ends by itself. Of several workers on one state
 * folder only one may serve the host's own queue, so that role needs the lock; `control` alone doesn't.
 */
export function hostWorker(options: HostedWorkerOptions): HostedWorker {
  const stop = new AbortController();
  const { signal } = stop;
  let hosting = false;
  let fail: (error: unknown) => void = () => undefined;
  const failure = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failure.catch(() => undefined);
  const pause = (ms: number) => sleep(ms, undefined, { signal }).catch(() => undefined);

  async function takeLock(): Promise<Lock | undefined> {
    const path = workerLockPath(options.loaded.config.state);
    for (let tries = 0; !signal.aborted; tries++) {
      const lock = tryExclusive(path, { command: options.command });
      if (lock !== undefined) return lock;
      if (tries === 0) options.onWaiting?.(readHolder(path));
      await pause(retryMs);
    }
    return undefined;
  }

  async function serve(first: boolean): Promise<void> {
    const { installRuntime, startHostWorker } = await import('../worker/worker.js');
    const { loaded, client, roles, standing, tracing } = options;
    const log = await options.log();
    // The native connection makes the runtime, which takes its logger only once.
    installRuntime(log, options.sdkMetrics);
    const native = await connectNative(options.temporal, options.embedded);
    try {
      if (signal.aborted) return;
      const worker = await startHostWorker({
        loaded,
        client,
        native: native.connection,
        roles,
        log,
        standing,
        tracing,
      });
      hosting = true;
      if (first) options.onReady?.();
      const shutdown = () => void worker.shutdown();
      signal.addEventListener('abort', shutdown, { once: true });
      if (signal.aborted) shutdown();
      await worker.finished;
      signal.removeEventListener('abort', shutdown);
    } finally {
      hosting = false;
      await native.connection.close().catch(() => undefined);
    }
  }

  async function run(): Promise<void> {
    const lock = options.roles.includes('host') ? await takeLock() : undefined;
    try {
      for (let starts = 0; !signal.aborted; starts++) {
        try {
          await serve(starts === 0);
        } catch (error) {
          if (starts === 0 && !signal.aborted) return fail(error);
          (await options.log()).warn({ err: error }, 'the worker ended; it is started again');
        }
        await pause(retryMs);
      }
    } finally {
      lock?.release();
    }
  }

  const running = run();
  running.catch(fail);
  return {
    get hosting() {
      return hosting;
    },
    failure,
    async stop() {
      stop.abort();
      await running.catch(() => undefined);
    },
  };
}
