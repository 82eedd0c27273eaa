import path from 'node:path';
import type { PostgresSourceConfig } from '../../config/schema.js';
import { HoldfastError } from '../../errors.js';
import type { DatabaseContext } from '../database.js';
import { secretAsFile, splitWords, withPrefix } from '../exec/command-prefix.js';
import { runTool, type ToolOptions, type ToolResult } from '../exec/run-tool.js';
import { writeSecretFile } from '../exec/secret-file.js';
import { openTunnel, type Tunnel } from '../exec/ssh-tunnel.js';
import { connected, explained, sqlState } from './client.js';
import { overPsql, type Queries } from './queries.js';
import { databaseArgument, passwordFile, type Server, serverOf, toolEnvironment } from './server.js';
import { findTools, majorOf, type Tools } from './tools.js';

/** The way to one server: directly, or through an SSH host. Opened at the first use, kept until it is closed. */
export class Reach {
  readonly server: Server;
  private readonly prefix: readonly string[];
  private opening: Promise<{ server: Server; tunnel?: Tunnel }> | undefined;

  constructor(private readonly config: PostgresSourceConfig) {
    this.prefix = splitWords(config.command ?? '') ?? [];
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

  /** The programs run where they see no file of this machine. */
  get isElsewhere(): boolean {
    return this.prefix.length > 0;
  }

  /** Runs `work` with a connection to one database; through its own psql where only that gets there. */
  async connect<T>(database: string, context: DatabaseContext, work: (client: Queries) => Promise<T>): Promise<T> {
    if (!this.isElsewhere) return connected(await this.near(context.signal), database, context.signal, work);
    const psql = (args: string[], text: string): Promise<ToolResult> =>
      this.run(['psql', '-w', databaseArgument(database), ...args], context, { stdin: { text } });
    try {
      return await work(overPsql(psql));
    } catch (error) {
      throw explained(error, this.server, database);
    }
  }

  /** Runs `work` with a connection to a database that every server has. */
  async maintenance<T>(context: DatabaseContext, work: (client: Queries) => Promise<T>): Promise<T> {
    const { database } = this.server;
    if (database !== undefined) return this.connect(database, context, work);
    try {
      return await this.connect('postgres', context, work);
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (sqlState(cause) !== '3D000') throw error;
      return this.connect('template1', context, work);
    }
  }

  /** Client programs for this version or a newer one. */
  async tools(major: number, context: DatabaseContext): Promise<Tools> {
    if (!this.isElsewhere) return findTools(major, context);
    const { exitCode, stdout, stderr } = await this.run(['pg_dump', '--version'], context);
    const found = exitCode === 0 ? majorOf(stdout) : undefined;
    if (found !== undefined && found >= major) return { folder: '', major: found, version: stdout.trim() };
    const there = found === undefined ? stderr || 'it could not be started' : `there is ${found}`;
    throw new HoldfastError('ToolMissing', `pg_dump ${major} or newer is needed where \`command\` runs it; ${there}`, {
      hint: 'Install PostgreSQL’s client programs there.',
    });
  }

  /** Runs one of PostgreSQL's programs with this server in its environment; the password is in a file while it runs. */
  async run(
    argv: readonly string[],
    context: DatabaseContext,
    more: Pick<ToolOptions, 'stdin' | 'stdout' | 'onProgress'> = {},
  ): Promise<ToolResult> {
    const server = await this.near(context.signal);
    const { tempDir, processes, signal } = context;
    if (this.isElsewhere) return this.runElsewhere(argv, context, more);
    // Also without a password: no other file of this user's is to be found.
    const password = writeSecretFile(
      tempDir,
      'pgpass',
      server.password === undefined ? '' : passwordFile(server.password),
    );
    try {
      const env = { ...toolEnvironment(server), PGPASSFILE: password.path };
      return await runTool({ ...more, argv, env, processes, signal });
    } finally {
      password.remove();
    }
  }

  private async runElsewhere(
    argv: readonly string[],
    { processes, signal }: DatabaseContext,
    more: Pick<ToolOptions, 'stdin' | 'stdout' | 'onProgress'>,
  ): Promise<ToolResult> {
    // Variables of ours do not get there; none of these is secret.
    const env = Object.entries(toolEnvironment(this.server)).map(([name, value]) => `${name}=${value}`);
    const own = ['env', ...env, ...argv];
    const { password } = this.server;
    if (password === undefined) return runTool({ ...more, argv: withPrefix(this.prefix, own), processes, signal });
    const { argv: wrapped, text } = secretAsFile(own, 'PGPASSFILE', passwordFile(password));
    const stdin = { ...more.stdin, text: text + (more.stdin?.text ?? '') };
    return runTool({ ...more, stdin, argv: withPrefix(this.prefix, wrapped), processes, signal });
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
