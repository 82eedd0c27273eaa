import type { Duplex } from 'node:stream';
import type { Client, SFTPWrapper } from 'ssh2';
import { HoldfastError } from '../errors.js';
import { isAbort } from './cancelled.js';
import type { SftpDestinationConfig } from './config.js';
import { ConnectionLost, SftpConnection } from './sftp-connection.js';
import { login } from './ssh-login.js';

const longestLoginMs = 30_000;

/** Whether a piece of work fills a connection, or is a few requests that may go beside others: a login takes ten round trips. */
export type Weight = 'heavy' | 'light';

/** So many pieces of light work share a connection before they take another. */
const mostLight = 64;

/** The connections to one server: opened when they are needed, shared when there are enough of them. */
export class SftpPool {
  private readonly open = new Set<SftpConnection>();
  private readonly opening = new Set<Promise<SftpConnection>>();
  private closed = false;

  constructor(
    private readonly label: string,
    private readonly config: SftpDestinationConfig,
  ) {}

  /**
   * Lets `work` use a connection: an idle one, for heavy work a new one while there may be more, else the least busy one.
   */
  async use<T>(
    work: (connection: SftpConnection) => Promise<T>,
    signal?: AbortSignal,
    weight: Weight = 'heavy',
  ): Promise<T> {
    const connection = await this.take(signal, weight);
    try {
      return await work(connection);
    } finally {
      this.give(connection, weight);
    }
  }

  /** Like `use`, for users that outlive a call: they `give` it back. */
  async take(signal?: AbortSignal, weight: Weight = 'heavy'): Promise<SftpConnection> {
    const heavy = weight === 'heavy' ? 1 : 0;
    for (;;) {
      signal?.throwIfAborted();
      const usable = [...this.open].filter(({ closed }) => !closed).sort((a, b) => a.load - b.load);
      // Light work that comes together stays together: one server process works it off in its order.
      const shared =
        weight === 'light' ? usable.findLast(({ load, heavy }) => heavy === 0 && load < mostLight) : undefined;
      const best = shared ?? usable[0];
      const most = weight === 'light' ? 1 : this.config.connections;
      if (best !== undefined && (best === shared || best.load === 0 || usable.length + this.opening.size >= most)) {
        best.load += 1;
        best.heavy += heavy;
        return best;
      }
      if (usable.length + this.opening.size < most) {
        const connection = await this.connect(signal);
        connection.load += 1;
        connection.heavy += heavy;
        return connection;
      }
      // All of them are being opened by others.
      await Promise.race(this.opening).catch(() => {});
    }
  }

  give(connection: SftpConnection, weight: Weight = 'heavy'): void {
    connection.load -= 1;
    if (weight === 'heavy') connection.heavy -= 1;
  }

  /** Opens all connections there may be, in the background; whoever needs one meets what goes wrong. */
  warm(): void {
    for (let count = this.open.size + this.opening.size; count < this.config.connections; count++) {
      this.connect().catch(() => {});
    }
  }

  close(): void {
    this.closed = true;
    for (const connection of this.open) connection.close();
    this.open.clear();
  }

  private connect(signal?: AbortSignal): Promise<SftpConnection> {
    const opening = this.establish(signal);
    this.opening.add(opening);
    return opening.finally(() => this.opening.delete(opening));
  }

  private async establish(signal?: AbortSignal): Promise<SftpConnection> {
    const { label, config } = this;
    const timeoutMs = Math.min(config.timeout, longestLoginMs);
    const { jump, knownHosts } = config;
    const clients: Client[] = [];
    try {
      let through: (() => Promise<Duplex>) | undefined;
      if (jump !== undefined) {
        const bastion = await login({ label: `${label}, jump host`, server: jump, knownHosts, timeoutMs, signal });
        clients.unshift(bastion);
        through = () => forward(bastion, config.host, config.port);
      }
      clients.unshift(await login({ label, server: config, knownHosts, timeoutMs, through, signal }));
      const [client] = clients;
      if (client === undefined || this.closed) throw new Error('the destination was closed');
      const sftp = await session(client, timeoutMs);
      const connection: SftpConnection = new SftpConnection(sftp, clients, config.timeout, () =>
        this.open.delete(connection),
      );
      this.open.add(connection);
      return connection;
    } catch (error) {
      for (const client of clients) client.on('error', () => {}).destroy();
      if (error instanceof HoldfastError || isAbort(error) || (signal?.aborted && error === signal.reason)) throw error;
      // ssh2 gives some of these numbers as codes, which must not be taken for an SFTP status.
      throw new ConnectionLost(error instanceof Error ? error.message : String(error), error);
    }
  }
}

function forward(bastion: Client, host: string, port: number): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    bastion.forwardOut('127.0.0.1', 0, host, port, (error, channel) => (error ? reject(error) : resolve(channel)));
  });
}

function session(client: Client, timeoutMs: number): Promise<SFTPWrapper> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the server does not start SFTP')), timeoutMs);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
    };
    client.once('error', fail).once('close', () => fail(new Error('the connection was closed')));
    client.sftp((error, sftp) => {
      clearTimeout(timer);
      client.removeListener('error', fail);
      if (error) reject(error);
      else resolve(sftp);
    });
  });
}
