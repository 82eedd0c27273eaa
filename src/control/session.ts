import type { Logger } from 'pino';
import { type LoadedConfig, usesEmbeddedServer } from '../config/load.js';
import { resolveSecrets } from '../config/secrets.js';
import type { Tracing } from '../tracing/tracing.js';
import type { LockHolder } from '../worker/locks.js';
import { isAlive, type ServerLog } from '../worker/temporal/server.js';
import { acquireServer, type ServerHandle } from '../worker/temporal/share.js';
import { readRecord, serverPaths } from '../worker/temporal/state.js';
import { connect, type TemporalClient, type TemporalConfig } from './connection.js';
import { type HostedWorker, hostWorker, type WorkerRole, workerHolder } from './hosted-worker.js';
import { openLog } from './log.js';

export interface SessionOptions {
  /** Host this host's worker for as long as nobody else does. */
  worker: boolean;
  /** How this process calls itself to others. */
  command: string;
  /** Told what takes its time, such as getting the Temporal server. */
  log: ServerLog;
  /** Shows the worker's log on stderr too. */
  verbose?: boolean;
  /** The worker stays beyond one command. */
  standing?: boolean;
  /** HOST:PORT for the SDK's own metrics. */
  sdkMetrics?: string;
  /** What the worker does; default: everything. */
  roles?: WorkerRole[];
  /** The worker's log; default: one that is opened when it is needed. */
  workerLog?: Logger;
  /** Told once when another process turns out to host the worker. */
  onWaiting?: (holder: LockHolder | undefined) => void;
  /** Told when this process hosts the worker. */
  onReady?: () => void;
}

/** A command's connection to Temporal, with what had to be brought up for it. */
export interface Session {
  readonly loaded: LoadedConfig;
  readonly temporal: TemporalClient;
  /** The share in the embedded server; undefined with a configured Temporal. */
  readonly embedded: ServerHandle | undefined;
  readonly worker: HostedWorker | undefined;
  /** Where traces are configured; its workers take part in them. */
  readonly tracing: Tracing | undefined;
  /** Whether somebody, this process or another, hosts this host's worker. Of other machines it knows nothing. */
  hosted(): boolean;
  /** Stops what this session brought up and nobody else uses. Idempotent. */
  close(): Promise<void>;
}

/**
 * Connects to the configured Temporal, or joins or starts the embedded server; with `worker` this process also becomes the
 * host's worker as soon as no other is.
 *
 * @throws HoldfastError `TemporalUnavailable`, `TemporalMissing`, `AuthDenied`, `SecretMissing`.
 */
export async function openSession(loaded: LoadedConfig, options: SessionOptions): Promise<Session> {
  const { config } = loaded;
  const temporalConfig = await temporalOf(loaded);
  const embedded =
    temporalConfig === undefined
      ? await acquireServer({
          stateDir: config.state,
          log: options.log,
          command: options.command,
          ...(config.temporal?.ui === undefined ? {} : { uiPort: config.temporal.ui }),
        })
      : undefined;
  let tracing: Tracing | undefined;
  try {
    tracing = await tracingOf(loaded, options);
    const temporal = await connect(temporalConfig, embedded, tracing?.client);
    return makeSession(loaded, options, { temporalConfig, temporal, embedded, tracing });
  } catch (error) {
    await tracing?.close();
    await embedded?.release();
    throw error;
  }
}

/**
 * The same without bringing anything up: for commands that only look.
 *
 * @returns undefined where the embedded server would have to be started first.
 */
export async function openIfUp(loaded: LoadedConfig): Promise<Session | undefined> {
  const temporalConfig = await temporalOf(loaded);
  const record = temporalConfig === undefined ? await runningServer(loaded.config.state) : undefined;
  if (temporalConfig === undefined && record === undefined) return undefined;
  const silent = { info: () => undefined, warn: () => undefined };
  const temporal = await connect(temporalConfig, record);
  const options = { worker: false, command: 'holdfast', log: silent };
  return makeSession(loaded, options, { temporalConfig, temporal, embedded: undefined, tracing: undefined });
}

/** Loads what traces take only where they are configured. */
async function tracingOf({ config }: LoadedConfig, options: SessionOptions): Promise<Tracing | undefined> {
  if (config.traces === undefined) return undefined;
  const { startTracing } = await import('../tracing/tracing.js');
  const { command, standing, log } = options;
  return startTracing(config.traces, { host: config.host, log, ...(standing ? {} : { command }) });
}

/** The embedded server that runs on this state folder, whoever started it. */
export async function runningServer(stateDir: string): Promise<{ address: string; ui: string } | undefined> {
  const record = await readRecord(serverPaths(stateDir).record);
  return record !== undefined && (await isAlive(record)) ? record : undefined;
}

/** `temporal:` with its secrets; undefined when the embedded server serves. */
export async function temporalOf({ config }: LoadedConfig): Promise<TemporalConfig | undefined> {
  if (usesEmbeddedServer(config) || config.temporal === undefined) return undefined;
  return resolveSecrets(config.temporal, 'temporal');
}

interface Parts {
  temporalConfig: TemporalConfig | undefined;
  temporal: TemporalClient;
  embedded: ServerHandle | undefined;
  tracing: Tracing | undefined;
}

function makeSession(
  loaded: LoadedConfig,
  options: SessionOptions,
  { temporalConfig, temporal, embedded, tracing }: Parts,
): Session {
  let log = options.workerLog === undefined ? undefined : Promise.resolve(options.workerLog);
  const openOnce = () => {
    log ??= openLog(loaded.config, {
      stderr: options.verbose ? 'info' : 'silent',
      debug: options.verbose ?? false,
    });
    return log;
  };
  const worker = options.worker
    ? hostWorker({
        loaded,
        client: temporal.client,
        temporal: temporalConfig,
        embedded,
        roles: options.roles ?? ['control', 'host'],
        command: options.command,
        standing: options.standing,
        tracing,
        ...(options.sdkMetrics === undefined ? {} : { sdkMetrics: options.sdkMetrics }),
        log: openOnce,
        ...(options.onWaiting === undefined ? {} : { onWaiting: options.onWaiting }),
        ...(options.onReady === undefined ? {} : { onReady: options.onReady }),
      })
    : undefined;
  let closed: Promise<void> | undefined;
  const close = async () => {
    await worker?.stop();
    await Promise.all([temporal.close(), tracing?.close()]);
    await embedded?.release();
  };
  return {
    loaded,
    temporal,
    embedded,
    worker,
    tracing,
    hosted: () => worker?.hosting === true || workerHolder(loaded.config.state) !== undefined,
    close() {
      closed ??= close();
      return closed;
    },
  };
}
