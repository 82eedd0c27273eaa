import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Logger } from 'pino';
import { HoldfastError } from '../errors.js';
import { processRights } from '../platform/rights.js';
import { version } from '../version.js';
import { type StartedRun, startBackup } from './backup.js';
import { followRun } from './follow.js';
import { isObjectWith } from './private-run.js';
import { restore } from './restore.js';
import type { Session } from './session.js';
import { requestLimit, type UpAnswer, type UpRequest, upSocketPath } from './up-socket.js';

/** What takes orders for `holdfast up`. */
export interface UpServer {
  /** Takes no more orders and drops those who wait for answers: they go on by themselves. Ends restores first. */
  close(): Promise<void>;
}

/** An order in progress. */
interface Served {
  /** Fires when its command is gone. */
  end: AbortController;
  done: Promise<void>;
}

/**
 * Starts and follows backups, and restores, for commands on the same machine: they are spared connecting to Temporal, loading a
 * worker and compiling its code. The caller holds the state folder's lock. Commands do without where this can't listen.
 */
export async function serveUp(session: Session, log: Logger): Promise<UpServer> {
  const path = upSocketPath(session.loaded.config.state);
  const serving = new Map<Socket, Served>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const end = new AbortController();
    const done = serve(session, log, socket, end, () => leaving(serving))
      .catch((error: unknown) => log.debug({ err: error }, 'a command went away'))
      .finally(() => serving.delete(socket));
    serving.set(socket, { end, done });
  });
  try {
    rmSync(path, { force: true });
    server.listen(path);
    await once(server, 'listening');
    chmodSync(path, 0o600);
    // Nothing that befalls the socket may end `up`.
    server.on('error', (error) => log.warn({ err: error }, 'commands connect to Temporal themselves'));
  } catch (error) {
    log.debug({ err: error }, 'commands connect to Temporal themselves');
  }
  return {
    async close() {
      const closed = server.listening ? new Promise((done) => server.close(done)) : undefined;
      for (const { end } of serving.values()) end.abort();
      await leaving(serving);
      await closed;
    },
  };
}

/** Waits for what is still being ended for commands that are gone. */
async function leaving(serving: ReadonlyMap<Socket, Served>): Promise<void> {
  await Promise.all([...serving.values()].filter(({ end }) => end.signal.aborted).map(({ done }) => done));
}

async function serve(
  session: Session,
  log: Logger,
  socket: Socket,
  end: AbortController,
  left: () => Promise<void>,
): Promise<void> {
  socket.on('error', () => socket.destroy());
  for (const over of ['end', 'close']) socket.on(over, () => end.abort());
  const tell = (answer: UpAnswer): void => void (socket.writable && socket.write(`${JSON.stringify(answer)}\n`));
  try {
    const request = parse(await firstLine(socket, end.signal));
    const { hash } = session.loaded;
    if (request?.version !== version || request.hash !== hash) {
      tell({ refused: 'another version, or another config' });
    } else if ('jobs' in request) {
      const started = await Promise.all(request.jobs.map((job) => startBackup(session, job, request.options)));
      tell({ started });
      await Promise.all(started.map((run) => follow(session, run, request.intervalMs, end.signal, tell)));
    } else if (request.rights !== processRights()) {
      tell({ refused: 'other rights' });
    } else {
      await left();
      await restoreFor(session, log, request, end.signal, tell);
    }
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const { code, message, hint } = error;
    if (!end.signal.aborted) tell({ error: { code, message, ...(hint === undefined ? {} : { hint }) } });
  } finally {
    // A command that never hangs up must not hold up the end of `up`.
    if (end.signal.aborted) socket.destroySoon();
    else socket.end();
  }
}

/** As the command would do it itself: on a queue of its own, and it stops when the command is gone. */
async function restoreFor(
  session: Session,
  log: Logger,
  { restore: request, intervalMs }: Extract<UpRequest, { restore: unknown }>,
  signal: AbortSignal,
  tell: (answer: UpAnswer) => void,
): Promise<void> {
  let run = '';
  const document = await restore(session, request, {
    log,
    signal,
    ...(intervalMs === undefined ? {} : { intervalMs }),
    onStart: (id, resumed) => {
      run = id;
      log.info({ run, job: request.job }, 'restoring for a command');
      tell({ started: [{ run, job: request.job, status: 'running', joined: resumed }] });
    },
    onUpdate: (update) => tell({ run, update }),
  });
  tell({ run, document });
}

async function follow(
  session: Session,
  { run }: StartedRun,
  intervalMs: number | undefined,
  signal: AbortSignal,
  tell: (answer: UpAnswer) => void,
): Promise<void> {
  const updates = followRun(session, run, { intervalMs, signal });
  for (;;) {
    const next = await updates.next();
    if (next.done) return tell({ run, document: next.value });
    tell({ run, update: next.value });
  }
}

/** What the command says; '' where it goes away first, says more than any order is, or nothing until `signal` fires. */
function firstLine(socket: Socket, signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(''), { once: true });
    let length = 0;
    socket.on('data', (data) => {
      length += data.length;
      if (length > requestLimit) socket.destroy();
    });
    const lines = createInterface({ input: socket });
    lines.once('line', resolve);
    for (const end of [socket, lines]) end.once('close', () => resolve(''));
    lines.on('error', () => socket.destroy());
  });
}

/** The request, or undefined for what is none. */
function parse(line: string): UpRequest | undefined {
  try {
    const value: unknown = JSON.parse(line);
    const { jobs, options, restore: asked } = value as Partial<Record<'jobs' | 'options' | 'restore', unknown>>;
    const isRequest = (Array.isArray(jobs) && isObjectWith(options)) || isObjectWith(asked, 'job', 'target');
    return isRequest ? (value as UpRequest) : undefined;
  } catch {
    return undefined;
  }
}
