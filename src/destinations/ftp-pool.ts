import { performance } from 'node:perf_hooks';
import type { FtpDestinationConfig } from './config.js';
import { connect, type FtpConnection, type FtpServer } from './ftp-connection.js';
import { replyOf } from './ftp-errors.js';

/** Servers end idle connections after some minutes, firewalls forget them sooner. */
const checkAfterMs = 5000;
const closeAfterMs = 60_000;

/** The connections to one server: one user at a time each, opened when they are needed, closed when idle. */
export class FtpPool {
  private readonly idle: FtpConnection[] = [];
  private readonly all = new Set<FtpConnection>();
  private readonly waiting: (() => void)[] = [];
  private count = 0;
  private most: number;
  private closed = false;
  /** What the first connection was told holds for the others. */
  private known: FtpServer | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly label: string,
    private readonly config: FtpDestinationConfig,
  ) {
    this.most = config.connections;
  }

  /** Lets `work` have a connection of its own. One that broke, or where a transfer may still be under way, is not used again. */
  async use<T>(work: (connection: FtpConnection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const connection = await this.take(signal);
    const stop = (): void => connection.client.close();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      return await work(connection);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
      this.give(connection);
    }
  }

  /** For users that outlive a call; they `give` it back. */
  async take(signal?: AbortSignal): Promise<FtpConnection> {
    for (;;) {
      signal?.throwIfAborted();
      if (this.closed) throw new Error('the destination was closed');
      const idle = this.idle.pop();
      if (idle !== undefined) {
        if (await isAlive(idle)) return idle;
        this.drop(idle);
        continue;
      }
      if (this.count < this.most) {
        const made = await this.open(signal);
        if (made !== undefined) return made;
        continue;
      }
      await this.turn(signal);
    }
  }

  give(connection: FtpConnection): void {
    if (connection.client.closed || this.closed) {
      this.drop(connection);
      return;
    }
    connection.usedAt = performance.now();
    this.idle.push(connection);
    this.timer ??= setInterval(() => this.closeIdle(), closeAfterMs / 4).unref();
    this.waiting.shift()?.();
  }

  /** Opens all connections there may be, in the background; whoever needs one meets what goes wrong. */
  warm(): void {
    for (let left = this.most - this.count; left > 0; left--) {
      this.open()
        .then((made) => made && this.give(made))
        .catch(() => {});
    }
  }

  close(): void {
    this.closed = true;
    clearInterval(this.timer);
    for (const { client } of this.all) client.close();
    this.idle.length = 0;
    for (const wake of this.waiting.splice(0)) wake();
  }

  /** Undefined when the server wants no more connections while there are some. */
  private async open(signal?: AbortSignal): Promise<FtpConnection | undefined> {
    this.count += 1;
    try {
      const connection = await connect(this.label, this.config, signal, this.known);
      this.known ??= { features: connection.features, root: connection.root, pipelines: connection.pipelines };
      this.all.add(connection);
      return connection;
    } catch (error) {
      this.count -= 1;
      this.waiting.shift()?.();
      if (replyOf(error) !== 421 || this.count === 0) throw error;
      this.most = this.count;
      return undefined;
    }
  }

  private drop(connection: FtpConnection): void {
    connection.client.close();
    if (!this.all.delete(connection)) return;
    this.count -= 1;
    if (this.count === 0) {
      this.most = this.config.connections;
      this.known = undefined;
    }
    this.waiting.shift()?.();
  }

  private turn(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        const at = this.waiting.indexOf(wake);
        if (at >= 0) this.waiting.splice(at, 1);
        reject(signal?.reason);
      };
      const wake = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      this.waiting.push(wake);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  private closeIdle(): void {
    const now = performance.now();
    const old = this.idle.filter(({ usedAt }) => now - usedAt > closeAfterMs);
    for (const connection of old) {
      this.idle.splice(this.idle.indexOf(connection), 1);
      connection.client.sendIgnoringError('QUIT').catch(() => {});
      this.drop(connection);
    }
    if (this.idle.length > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}

async function isAlive({ client, usedAt }: FtpConnection): Promise<boolean> {
  if (client.closed) return false;
  if (performance.now() - usedAt < checkAfterMs) return true;
  return client.send('NOOP').then(
    () => true,
    () => false,
  );
}
