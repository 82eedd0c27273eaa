import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { LoadedConfig } from '../config/load.js';
import { HoldfastError } from '../errors.js';
import { version } from '../version.js';
import type { StartedRun } from './backup.js';
import { requestLimit, type UpAnswer, type UpOrder, type UpRequest, upSocketPath } from './up-socket.js';

/** Runs that `holdfast up` started and follows for a command. */
export interface AskedRuns<Update, Document> {
  started: StartedRun[];
  /** Updates of one of them, and its document at the end. @throws UpGone; what following throws. */
  follow(run: string): AsyncGenerator<Update, Document>;
  /** Lets `up` end what it does for this command alone, and waits for that. */
  leave(): Promise<void>;
  close(): void;
}

/** `holdfast up` went away before a run's end. */
export class UpGone extends Error {}

/**
 * Asks the `holdfast up` of this state folder to start backups, or to restore.
 *
 * @returns undefined where none is up or it can't, or this process has a private key, or traces begin in it: the caller has to do
 * it itself.
 * @throws HoldfastError what starting throws.
 */
export async function askUp<Update, Document>(
  { config, hash, keyPair }: LoadedConfig,
  order: UpOrder,
  intervalMs: number | undefined,
): Promise<AskedRuns<Update, Document> | undefined> {
  const path = upSocketPath(config.state);
  if (keyPair !== undefined || config.traces !== undefined || !existsSync(path)) return undefined;
  const request: UpRequest = { ...order, version, hash, ...(intervalMs === undefined ? {} : { intervalMs }) };
  const line = `${JSON.stringify(request)}\n`;
  if (Buffer.byteLength(line) > requestLimit) return undefined;
  const answers = new Answers<Update, Document>(connect(path), line);
  try {
    const first = await answers.next('');
    if ('started' in first) return answers.asked(first.started);
  } catch (error) {
    if (!(error instanceof UpGone)) throw error;
  }
  answers.close();
  return undefined;
}

/** The answers by the run they are about; those about none under ''. */
class Answers<Update, Document> {
  private readonly waiting = new Map<string, UpAnswer<Update, Document>[]>();
  private wake: (() => void)[] = [];
  private gone = false;
  private error: HoldfastError | undefined;

  constructor(
    private readonly socket: Socket,
    request: string,
  ) {
    const lines = createInterface({ input: socket });
    lines.on('line', (line) => this.take(JSON.parse(line) as UpAnswer<Update, Document>));
    // Nobody listens behind a socket that a killed `up` left; readline passes the error on.
    for (const end of [socket, lines]) end.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.gone = true;
      this.wakeAll();
    });
    socket.write(request);
  }

  asked(started: StartedRun[]): AskedRuns<Update, Document> {
    return { started, follow: (run) => this.follow(run), leave: () => this.leave(), close: () => this.close() };
  }

  private async leave(): Promise<void> {
    this.socket.end();
    while (!this.gone) await new Promise<void>((resolve) => this.wake.push(resolve));
  }

  close(): void {
    this.socket.destroy();
  }

  async next(run: string): Promise<UpAnswer<Update, Document>> {
    for (;;) {
      const answer = this.waiting.get(run)?.shift();
      if (answer !== undefined) return answer;
      if (this.error !== undefined) throw this.error;
      if (this.gone) throw new UpGone();
      await new Promise<void>((resolve) => this.wake.push(resolve));
    }
  }

  private async *follow(run: string): AsyncGenerator<Update, Document> {
    for (;;) {
      const answer = await this.next(run);
      if ('document' in answer) return answer.document;
      if ('update' in answer) yield answer.update;
    }
  }

  private take(answer: UpAnswer<Update, Document>): void {
    if ('error' in answer) {
      const { code, message, hint } = answer.error;
      this.error = new HoldfastError(code, message, hint === undefined ? {} : { hint });
    } else {
      const run = 'run' in answer ? answer.run : '';
      this.waiting.set(run, [...(this.waiting.get(run) ?? []), answer]);
    }
    this.wakeAll();
  }

  private wakeAll(): void {
    for (const wake of this.wake.splice(0)) wake();
  }
}
