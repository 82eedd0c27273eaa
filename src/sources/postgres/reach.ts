import path from 'node:path';
import type { Client } from 'pg';
import type { PostgresSourceConfig } from '../../config/schema.js';
import type { DatabaseContext } from '../database.js';
import { runTool, type ToolOptions, type ToolResult } from '../exec/run-tool.js';
import { writeSecretFile } from '../exec/secret-file.js';
import { openTunnel, type Tunnel } from '../exec/ssh-tunnel.js';
import { connected, sqlState } from './client.js';
import { passwordFile, type Server, serverOf, toolEnvironment } from './server.js';

/** The way to one server: directly, or through an SSH host. Opened at the first use, kept until it is closed. */
export class Reach {
  readonly server: Server;
  private opening: Promise<{ server: Server; tunnel?: Tunnel }> | undefined;

  constructor(private readonly config: PostgresSourceConfig) {
    this.server = serverOf(config);
  }

  /** The server as connections find it. */
  async near(signal: AbortSignal): Promise<Server> {
    this.opening ??= this.open(signal);
    try {
      return (await this.opening).server;
    } catch (error) {
      this.opening = undefined;
      throw error;
    }
  }

  /** Runs `work` with a connection to one database. */
  async connect<T>(database: string, signal: AbortSignal, work: (client: Client) => Promise<T>): Promise<T> {
    return connected(await this.near(signal), database, signal, work);
  }

  /** Runs `work` with a connection to a database that every server has. */
  async maintenance<T>(signal: AbortSignal, work: (client: Client) => Promise<T>): Promise<T> {
    const { database } = this.server;
    if (database !== undefined) return this.connect(database, signal, work);
    try {
      return await this.connect('postgres', signal, work);
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (sqlState(cause) !== '3D000') throw error;
      return this.connect('template1', signal, work);
    }
  }

  /** Runs one of PostgreSQL's programs with this server in its environment; the password is in a file while it runs. */
  async run(
    argv: readonly string[],
    context: DatabaseContext,
    more: Pick<ToolOptions, 'stdin' | 'stdout' | 'env'> = {},
  ): Promise<ToolResult> {
    const server = await this.near(context.signal);
    const { tempDir, processes, signal } = context;
    // Also without a password: no other file of this user's is to be found.
    const password = writeSecretFile(tempDir, 'pgpass', server.password === undefined ? '' : passwordFile(server.password));
    try {
      const env = { ...toolEnvironment(server), PGPASSFILE: password.path, ...more.env };
      return await runTool({ ...more, argv, env, processes, signal });
    } finally {
      password.remove();
    }
  }

  async close(): Promise<void> {
    const opened = await this.opening?.catch(() => undefined);
    this.opening = undefined;
    await opened?.tunnel?.close();
  }

  private async open(signal: AbortSignal): Promise<{ server: Server; tunnel?: Tunnel }> {
    const { server } = this;
    const { ssh } = this.config;
    if (ssh === undefined) return { server };
    const isSocket = server.host.startsWith('/');
    const file = `.s.PGSQL.${server.port}`;
    const target = isSocket ? { socket: path.posix.join(server.host, file) } : { host: server.host, port: server.port };
    const tunnel = await openTunnel(ssh, target, isSocket ? { socketName: file } : 'port', signal);
    const { near } = tunnel;
    return 'folder' in near
      ? { server: { ...server, host: near.folder }, tunnel }
      : { server: { ...server, via: { address: near.host, port: near.port } }, tunnel };
  }
}
