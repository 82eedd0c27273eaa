import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Logger } from 'pino';
import { HoldfastError } from '../errors.js';
import { version } from '../version.js';
import { type StartedRun, startBackup } from './backup.js';
import { followRun } from './follow.js';
import type { Session } from './session.js';
import { requestLimit, type UpAnswer, type UpRequest, upSocketPath } from './up-socket.js';

/** What takes orders for `holdfast up`. */
export interface UpServer {
  /** Takes no more orders and drops those who wait for answers: they go on by themselves. */
  close(): Promise<void>;
}

/**
 * Starts and follows backups for commands on the same machine, which are spared connecting to Temporal themselves: three quarters
 * of the time that such a command takes. The caller holds the state folder's lock. Commands do without where this can't listen.
 */
export async function serveUp(session: Session, log: Logger): Promise<UpServer> {
  const path = upSocketPath(session.loaded.config.state);
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    void serve(session, socket).catch((error: unknown) => log.debug({ err: error }, 'a command went away'));
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
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      await new Promise((done) => server.close(done));
    },
  };
}

async function serve(session: Session, socket: Socket): Promise<void> {
  const end = new AbortController();
  socket.on('error', () => socket.destroy());
  for (const over of ['end', 'close']) socket.on(over, () => end.abort());
  const tell = (answer: UpAnswer): void => void (socket.writable && socket.write(`${JSON.stringify(answer)}\n`));
  try {
    const request = parse(await firstLine(socket));
    const { hash } = session.loaded;
    if (request?.version !== version || request.hash !== hash) {
      tell({ refused: 'another version, or another config' });
      return;
    }
    const started = await Promise.all(request.jobs.map((job) => startBackup(session, job, request.options)));
    tell({ started });
    await Promise.all(started.map((run) => follow(session, run, request.intervalMs, end.signal, tell)));
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const { code, message, hint } = error;
    tell({ error: { code, message, ...(hint === undefined ? {} : { hint }) } });
  } finally {
    socket.end();
  }
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

async function firstLine(socket: Socket): Promise<string> {
  let length = 0;
  socket.on('data', (data) => {
    length += data.length;
    if (length > requestLimit) socket.destroy();
  });
  for await (const line of createInterface({ input: socket })) return line;
  return '';
}

/** The request, or undefined for what is none. */
function parse(line: string): UpRequest | undefined {
  try {
    const value = JSON.parse(line) as Partial<UpRequest> | null;
    const isRequest =
      typeof value === 'object' && Array.isArray(value?.jobs) && typeof value.options === 'object' && value.options;
    return isRequest ? (value as UpRequest) : undefined;
  } catch {
    return undefined;
  }
}
