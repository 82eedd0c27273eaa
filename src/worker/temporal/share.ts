import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../errors.js';
import { type Lock, type LockHolder, readHolder, tryExclusive, tryShared } from '../locks.js';
import { findTemporal } from './find.js';
import {
  type EmbeddedOptions,
  type EmbeddedServer,
  isAlive,
  maxLogBytes,
  startEmbedded,
  stopEmbedded,
} from './server.js';
import { readRecord, rotateLog, serverPaths } from './state.js';

export interface AcquireOptions extends Omit<EmbeddedOptions, 'keepPorts' | 'signal'> {
  /** How this process calls itself in other processes' messages. */
  command?: string;
}

/** A share in the state folder's Temporal server. While it is held, the server is started again whenever it dies. */
export interface ServerHandle {
  readonly address: string;
  /** URL of the Web UI. */
  readonly ui: string;
  /** Changes when the server was started again; the address does not. */
  readonly pid: number;
  /** It ran already. */
  readonly adopted: boolean;
  readonly warnings: string[];
  /** Gives the share back; the last one out stops the server. Idempotent. */
  release(): Promise<void>;
}

const watchMs = 500;
const rotateEveryMs = 60_000;
const maxBackoffMs = 30_000;
const lockPatienceMs = 150_000;

/**
 * Starts the embedded server or joins the users of the one that runs.
 *
 * @throws HoldfastError `TemporalMissing` or `TemporalUnavailable`.
 */
export async function acquireServer(options: AcquireOptions): Promise<ServerHandle> {
  const paths = serverPaths(options.stateDir);
  const start = () => takeStartLock(paths.startLock, options.command);
  // Getting the program can take minutes, so that comes before the lock that others wait for.
  const binary =
    options.binary ??
    ((await isRunning(paths.record)) ? undefined : await findTemporal((message) => options.log.info(message)));
  const settled: EmbeddedOptions = binary === undefined ? options : { ...options, binary };
  const startLock = await start();
  let users: Lock | undefined;
  let server: EmbeddedServer;
  try {
    users = tryShared(paths.usersLock, options.command === undefined ? {} : { command: options.command });
    if (users === undefined) throw new Error(`${paths.usersLock} is locked although ${paths.startLock} is ours`);
    server = await startEmbedded(settled);
  } catch (error) {
    users?.release();
    throw error;
  } finally {
    startLock.release();
  }
  const shared: Lock = users;
  const supervision = superviseEmbedded(settled, server);
  let released: Promise<void> | undefined;

  // Such as one that waits for a disk that does not answer: what was done with it is done all the same.
  const tellLeft = (error: unknown): void =>
    options.log.warn(`the Temporal server was not stopped: ${error instanceof Error ? error.message : String(error)}`);

  const release = async (): Promise<void> => {
    await supervision.stop();
    // Under the start lock nobody comes or goes, so exactly one of several leavers is the last.
    const lock = await start().catch(() => undefined);
    try {
      if (lock === undefined)
        options.log.warn('the Temporal server was left running: its start lock is held by another process');
      else if (shared.tryUpgrade()) await stopEmbedded(options.stateDir).catch(tellLeft);
    } finally {
      shared.release();
      lock?.release();
    }
  };
  return {
    address: server.address,
    ui: server.ui,
    adopted: server.adopted,
    warnings: server.warnings,
    get pid() {
      return supervision.current().pid;
    },
    release() {
      released ??= release();
      return released;
    },
  };
}

export interface Supervision {
  /** The server as of the last look. */
  current(): EmbeddedServer;
  /** Ends the watching, not the server. */
  stop(): Promise<void>;
}

/** Starts the server again, on the same ports and with growing pauses, whenever it dies; keeps its log small. */
export function superviseEmbedded(options: EmbeddedOptions, first: EmbeddedServer): Supervision {
  const paths = serverPaths(options.stateDir);
  const controller = new AbortController();
  const { signal } = controller;
  let server = first;
  let backoffMs = 250;
  let upSince = Date.now();
  let rotatedAt = Date.now();

  const pause = (ms: number) => sleep(ms, undefined, { signal, ref: false }).catch(() => undefined);

  async function restart(): Promise<void> {
    const lock = await takeStartLock(paths.startLock, undefined, signal);
    try {
      // Where another user of the same server was quicker, this adopts it.
      server = await startEmbedded({ ...options, keepPorts: true, signal });
    } finally {
      lock.release();
    }
    upSince = Date.now();
  }

  async function watch(): Promise<void> {
    while (!signal.aborted) {
      await pause(watchMs);
      if (signal.aborted) return;
      if (await server.isAlive()) {
        if (Date.now() - upSince > 60_000) backoffMs = 250;
        if (Date.now() - rotatedAt > rotateEveryMs) {
          rotatedAt = Date.now();
          await rotateLog(paths.log, maxLogBytes).catch(() => undefined);
        }
        continue;
      }
      options.log.warn(`the Temporal server (process ${server.pid}) died; starting it again in ${backoffMs} ms`);
      await pause(backoffMs);
      if (signal.aborted) return;
      backoffMs = Math.min(backoffMs * 2, maxBackoffMs);
      try {
        await restart();
      } catch (error) {
        if (!signal.aborted) options.log.warn(error instanceof Error ? error.message : String(error));
      }
    }
  }

  const watching = watch();
  return {
    current: () => server,
    async stop() {
      controller.abort();
      await watching;
    },
  };
}

/**
 * The lock that makes `up` the only one on its state folder. Its holder calls `describe(webUiUrl)` once that is known.
 *
 * @throws HoldfastError `AlreadyRunning`, naming the holder's pid, start and Web UI.
 */
export function takeUpLock(stateDir: string, command = 'holdfast up'): Lock {
  const path = serverPaths(stateDir).upLock;
  const lock = tryExclusive(path, { command });
  if (lock !== undefined) return lock;
  const holder = readHolder(path);
  throw new HoldfastError('AlreadyRunning', `\`${command}\` already runs on ${stateDir}${describeHolder(holder)}`, {
    hint:
      holder === undefined
        ? 'End it first, or use another state folder.'
        : `Use it, or end it with \`kill ${holder.pid}\`.`,
  });
}

/** Who runs `up` on the state folder; undefined when nobody does. */
export function upHolder(stateDir: string): LockHolder | 'unknown' | undefined {
  const path = serverPaths(stateDir).upLock;
  const lock = tryShared(path);
  if (lock === undefined) return readHolder(path) ?? 'unknown';
  lock.release();
  return undefined;
}

function describeHolder(holder: LockHolder | undefined): string {
  if (holder === undefined) return '';
  return ` (process ${holder.pid}, since ${holder.since}${holder.note === undefined ? '' : `, Web UI ${holder.note}`})`;
}

async function isRunning(recordPath: string): Promise<boolean> {
  const record = await readRecord(recordPath);
  return record !== undefined && (await isAlive(record));
}

async function takeStartLock(path: string, command: string | undefined, signal?: AbortSignal): Promise<Lock> {
  const started = Date.now();
  for (;;) {
    signal?.throwIfAborted();
    const lock = tryExclusive(path, command === undefined ? {} : { command });
    if (lock !== undefined) return lock;
    if (Date.now() - started > lockPatienceMs) {
      const holder = readHolder(path);
      throw new HoldfastError(
        'TemporalUnavailable',
        `another process has been starting the Temporal server for too long${describeHolder(holder)}`,
        {
          hint: `It holds ${path}; end it and try again.`,
        },
      );
    }
    await sleep(20);
  }
}
