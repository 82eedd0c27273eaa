import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from './free-port.js';

const run = promisify(execFile);

/** The newest installed server's programs. */
export const postgresPrograms: string = (() => {
  const parent = '/usr/lib/postgresql';
  const newest = readdirSync(parent)
    .filter((name) => existsSync(path.join(parent, name, 'bin', 'initdb')))
    .sort((a, b) => Number(b) - Number(a))[0];
  if (newest === undefined) throw new Error('no PostgreSQL server is installed: scripts/install-tools.sh does it');
  return path.join(parent, newest, 'bin');
})();

/** The server refuses to run as root. */
const asServerUser: string[] =
  process.getuid?.() === 0 ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', '--'] : [];

const idOf = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));

/** A PostgreSQL server of its own in a temporary folder, with a user `admin` whose password TCP asks for. */
export class PostgresServer {
  readonly password = 'pw with : and \\ signs';
  private process: ReturnType<typeof spawn> | undefined;

  private constructor(
    readonly folder: string,
    readonly port: number,
  ) {}

  static async start(): Promise<PostgresServer> {
    const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-pg-'));
    chmodSync(folder, 0o755);
    const server = new PostgresServer(folder, await freePort());
    const passwords = path.join(folder, 'pw');
    writeFileSync(passwords, server.password);
    if (asServerUser.length > 0) {
      for (const each of [folder, passwords]) chownSync(each, idOf('-u'), idOf('-g'));
    }
    const auth = ['--auth-local=trust', '--auth-host=scram-sha-256', '--username=admin', `--pwfile=${passwords}`];
    await server.program('initdb', ['-D', server.data, '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync', ...auth]);
    await server.up();
    return server;
  }

  get data(): string {
    return path.join(this.folder, 'data');
  }

  url(database = 'postgres'): string {
    return `postgresql://admin:${encodeURIComponent(this.password)}@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }

  async up(): Promise<void> {
    const [program = '', ...args] = [
      ...asServerUser,
      path.join(postgresPrograms, 'postgres'),
      ...['-D', this.data, '-k', this.folder, '-h', '127.0.0.1', '-p', String(this.port)],
      ...['-c', 'fsync=off', '-c', 'shared_buffers=32MB', '-c', 'logging_collector=off'],
    ];
    this.process = spawn(program, args, { stdio: 'ignore', cwd: this.folder });
    for (const deadline = Date.now() + 30_000; ; await sleep(50)) {
      const ready = await this.sql('SELECT 1').then(
        () => true,
        () => false,
      );
      if (ready) return;
      if (Date.now() > deadline || this.process.exitCode !== null)
        throw new Error('the PostgreSQL server did not start');
    }
  }

  /** Ends it at once, as a crash does. */
  async crash(): Promise<void> {
    const { process } = this;
    if (process === undefined || process.exitCode !== null) return;
    const ended = once(process, 'exit');
    // Immediate shutdown: its workers end with it.
    process.kill('SIGQUIT');
    await ended;
  }

  /** Runs SQL as the superuser and returns what psql prints, unaligned. */
  async sql(sql: string, database = 'postgres'): Promise<string> {
    const args = ['-h', this.folder, '-p', String(this.port), '-U', 'admin', '-d', database];
    const child = run(path.join(postgresPrograms, 'psql'), [...args, '-XAtq', '-v', 'ON_ERROR_STOP=1'], {
      maxBuffer: 64 << 20,
    });
    // A psql that finds no server reads nothing; how it ended says why.
    child.child.stdin?.on('error', () => undefined).end(sql);
    return (await child).stdout.trim();
  }

  /** What pg_dump says of a database, without what differs from one dump to the next. */
  async dump(database: string): Promise<string> {
    const args = ['-h', this.folder, '-p', String(this.port), '-U', 'admin', database];
    const { stdout } = await run(path.join(postgresPrograms, 'pg_dump'), args, { maxBuffer: 256 << 20 });
    return stdout.replace(/^\\(un)?restrict .*$/gm, '');
  }

  async remove(): Promise<void> {
    await this.crash();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async program(name: string, args: string[]): Promise<void> {
    const [program = '', ...rest] = [...asServerUser, path.join(postgresPrograms, name), ...args];
    await run(program, rest, { cwd: this.folder });
  }
}
