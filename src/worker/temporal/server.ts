import { spawn } from 'node:child_process';
import { closeSync, openSync, statSync } from 'node:fs';
import { HoldfastError } from '../../errors.js';
import { findTemporal, type TemporalBinary } from './find.js';
import { findByArgument, processIdentity, terminate } from './process.js';
import { waitUntilReady } from './ready.js';
import {
  freePort,
  isFree,
  logExcerpt,
  prepareFolders,
  readPorts,
  readRecord,
  removeRecord,
  rotateLog,
  type ServerPorts,
  type ServerRecord,
  serverPaths,
  writeJson,
} from './state.js';

/** What this module tells; a pino logger fits. */
export interface ServerLog {
  info(message: string): void;
  warn(message: string): void;
}

export interface EmbeddedOptions {
  /** Holdfast's state folder. */
  stateDir: string;
  log: ServerLog;
  /** The Web UI's port; default: the one used last, else a free one. */
  uiPort?: number;
  /** Default: whatever {@link findTemporal} finds. */
  binary?: TemporalBinary;
  /** Insist on the ports used last, where clients and workers are trying to reconnect. */
  keepPorts?: boolean;
  /** How long the server may take to answer, milliseconds. */
  deadlineMs?: number;
  signal?: AbortSignal;
}

export interface EmbeddedServer extends ServerRecord {
  /** It ran already. */
  adopted: boolean;
  /** For people, such as that the server asks nobody for a password. */
  warnings: string[];
  isAlive(): Promise<boolean>;
  stop(): Promise<void>;
}

export const maxLogBytes = 10 << 20;
const stopGraceMs = 10_000;
const defaultDeadlineMs = 90_000;

/** With the defaults an activity takes about 106 ms, with these 12: the history queues poll 20 times a second otherwise. */
const tuning = [
  '--dynamic-config-value=history.transferProcessorMaxPollRPS=2000',
  '--dynamic-config-value=history.timerProcessorMaxPollRPS=2000',
  '--dynamic-config-value=system.enableActivityEagerExecution=true',
  '--sqlite-pragma=journal_mode=WAL',
  '--sqlite-pragma=synchronous=NORMAL',
];
const searchAttributes = ['HoldfastJob', 'HoldfastHost', 'HoldfastOutcome'];

/**
 * Adopts the state folder's server if it runs, else starts one. It listens on loopback only and outlives this process.
 * Callers hold `run/start.lock`: two servers on one database would ruin it.
 *
 * @throws HoldfastError `TemporalMissing`, or `TemporalUnavailable` with the end of the server's log.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  await prepareFolders(options.stateDir);
  const adopted = await adoptEmbedded(options);
  if (adopted !== undefined) return adopted;
  const binary = options.binary ?? (await findTemporal((message) => options.log.info(message)));
  for (let attempt = 1, newPorts = false; ; attempt++) {
    const ports = await choosePorts(options, newPorts);
    try {
      return await launch(options, binary, ports);
    } catch (error) {
      // A start that ends early gets a second chance: somebody else may have taken a port between its choice and its use.
      if (!(error instanceof HoldfastError) || !error.message.includes('it ended with') || attempt >= 3) throw error;
      newPorts = error.message.includes('address already in use') && !options.keepPorts;
      options.log.warn(`${error.message}\nTrying again.`);
    }
  }
}

/** The state folder's server if it runs and answers. One that runs and doesn't answer, or that is not on record, is ended. */
export async function adoptEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer | undefined> {
  const paths = serverPaths(options.stateDir);
  const record = await readRecord(paths.record);
  if (record !== undefined && (await isAlive(record))) {
    try {
      await waitUntilReady(record.address, {
        deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
        ...(options.signal ? { signal: options.signal } : {}),
      });
      return toServer(options, record, true);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      options.log.warn(
        `ending the Temporal server (process ${record.pid}), which does not answer at ${record.address}`,
      );
      await terminate(record.pid, record.identity, stopGraceMs);
    }
  }
  await removeRecord(paths.record);
  for (const pid of await findByArgument(databaseFlag(options.stateDir))) {
    const identity = await processIdentity(pid);
    if (identity === undefined) continue;
    options.log.warn(`ending a Temporal server (process ${pid}) that uses ${paths.database} but is not on record`);
    await terminate(pid, identity, stopGraceMs);
  }
  return undefined;
}

/** Ends the state folder's server, if one is on record: SIGTERM, after 10 s SIGKILL. Removes `run/server.json`. */
export async function stopEmbedded(stateDir: string): Promise<void> {
  const path = serverPaths(stateDir).record;
  const record = await readRecord(path);
  if (record !== undefined && (await isAlive(record))) await terminate(record.pid, record.identity, stopGraceMs);
  await removeRecord(path);
}

/** Whether the process on record, and not another with its pid, still runs. */
export async function isAlive(record: ServerRecord): Promise<boolean> {
  return (await processIdentity(record.pid)) === record.identity;
}

async function launch(options: EmbeddedOptions, binary: TemporalBinary, ports: ServerPorts): Promise<EmbeddedServer> {
  const paths = serverPaths(options.stateDir);
  await writeJson(paths.ports, ports);
  await rotateLog(paths.log, maxLogBytes);
  const log = openSync(paths.log, 'a', 0o600);
  let exited: string | undefined;
  let logStart = 0;
  let pid: number | undefined;
  try {
    logStart = statSync(paths.log).size;
    // A group of its own: Ctrl-C in the terminal must reach the worker, not its server.
    const child = spawn(binary.path, serverArguments(options.stateDir, ports), {
      stdio: ['ignore', log, log],
      env: serverEnvironment(),
      detached: true,
      windowsHide: true,
    });
    child.on('error', (error) => {
      exited = error.message;
    });
    child.on('exit', (code, signal) => {
      exited = `it ended with ${signal ?? `exit code ${code}`}`;
    });
    child.unref();
    pid = child.pid;
  } finally {
    closeSync(log);
  }
  const identity = pid === undefined ? undefined : await processIdentity(pid);
  const record: ServerRecord = {
    pid: pid ?? 0,
    identity: identity ?? '',
    address: `127.0.0.1:${ports.port}`,
    ui: `http://127.0.0.1:${ports.uiPort}`,
    startedAt: new Date().toISOString(),
    binary: binary.path,
  };
  if (identity !== undefined) await writeJson(paths.record, record);
  try {
    await waitUntilReady(record.address, {
      deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
      failure: () => (identity === undefined ? (exited ?? 'it ended at once') : exited),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (identity !== undefined) await terminate(record.pid, identity, stopGraceMs);
    await removeRecord(paths.record);
    const reason = error instanceof Error ? error.message : String(error);
    const tail = await logExcerpt(paths.log, logStart);
    throw new HoldfastError(
      'TemporalUnavailable',
      `the embedded Temporal server at ${record.address} did not start: ${reason}${tail === '' ? '' : `\n${tail}`}`,
      { hint: `Its log is ${paths.log}; the program is ${binary.path} (${binary.version}).`, cause: error },
    );
  }
  options.log.info(`Temporal server started at ${record.address} (process ${record.pid}), Web UI ${record.ui}`);
  return toServer(options, record, false);
}

function toServer(options: EmbeddedOptions, record: ServerRecord, adopted: boolean): EmbeddedServer {
  return {
    ...record,
    adopted,
    warnings: warnings(),
    isAlive: () => isAlive(record),
    stop: () => stopEmbedded(options.stateDir),
  };
}

async function choosePorts(options: EmbeddedOptions, afresh: boolean): Promise<ServerPorts> {
  const last = await readPorts(serverPaths(options.stateDir).ports);
  const choose = async (port: number | undefined): Promise<number> => {
    if (port === undefined) return freePort();
    if (await isFree(port)) return afresh ? freePort() : port;
    if (options.keepPorts) throw unavailable(`port ${port} is taken`, 'It is tried again until it is free.');
    return freePort();
  };
  if (options.uiPort !== undefined && !(await isFree(options.uiPort))) {
    throw unavailable(
      `the Web UI's port ${options.uiPort} is taken`,
      'Choose another port, or end what listens there.',
    );
  }
  const port = await choose(last?.port);
  let uiPort = options.uiPort ?? (await choose(last?.uiPort));
  while (uiPort === port) uiPort = await freePort();
  return { port, uiPort };
}

function serverArguments(stateDir: string, ports: ServerPorts): string[] {
  return [
    'server',
    'start-dev',
    '--ip=127.0.0.1',
    '--ui-ip=127.0.0.1',
    `--port=${ports.port}`,
    `--ui-port=${ports.uiPort}`,
    databaseFlag(stateDir),
    '--log-level=warn',
    '--color=never',
    ...searchAttributes.map((name) => `--search-attribute=${name}=Keyword`),
    ...tuning,
  ];
}

/** One argument, so that a process table shows which state folder a server belongs to. */
function databaseFlag(stateDir: string): string {
  return `--db-filename=${serverPaths(stateDir).database}`;
}

/** Without TEMPORAL_*: the client settings of whoever starts it must not reach the server's command line parser. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TEMPORAL_')));
}

function warnings(): string[] {
  return process.getuid?.() === 0
    ? ['the embedded Temporal server has no authentication: on a shared machine, configure a real Temporal with mTLS']
    : [];
}

function unavailable(message: string, hint: string): HoldfastError {
  return new HoldfastError('TemporalUnavailable', `the embedded Temporal server can't start: ${message}`, { hint });
}
