import { copyFile, mkdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';

/** Where the embedded server keeps its things below the state folder. */
export function serverPaths(stateDir: string) {
  const run = join(stateDir, 'run');
  return {
    database: join(stateDir, 'temporal', 'temporal.db'),
    log: join(stateDir, 'logs', 'temporal.log'),
    record: join(run, 'server.json'),
    ports: join(run, 'ports.json'),
    startLock: join(run, 'start.lock'),
    usersLock: join(run, 'users.lock'),
    upLock: join(run, 'up.lock'),
  };
}

/** `run/server.json`: the server that runs, or ran when its starter was last there. */
export interface ServerRecord {
  pid: number;
  /** Tells the process from a later one with the same pid. */
  identity: string;
  /** host:port of gRPC. */
  address: string;
  /** URL of the Web UI. */
  ui: string;
  /** ISO 8601. */
  startedAt: string;
  binary: string;
}

/** `run/ports.json`: outlives the server, so that clients and bookmarks find the next one. */
export interface ServerPorts {
  port: number;
  uiPort: number;
}

export async function readRecord(path: string): Promise<ServerRecord | undefined> {
  const value = await readJson(path);
  if (value === undefined) return undefined;
  const { pid, identity, address, ui, startedAt, binary } = value;
  if (
    typeof pid !== 'number' ||
    typeof identity !== 'string' ||
    typeof address !== 'string' ||
    typeof ui !== 'string'
  ) {
    return undefined;
  }
  return { pid, identity, address, ui, startedAt: String(startedAt), binary: String(binary) };
}

export async function readPorts(path: string): Promise<ServerPorts | undefined> {
  const value = await readJson(path);
  const isPort = (port: unknown): port is number => Number.isInteger(port) && Number(port) > 0 && Number(port) < 65_536;
  return value !== undefined && isPort(value.port) && isPort(value.uiPort)
    ? { port: value.port, uiPort: value.uiPort }
    : undefined;
}

/** Writes a small JSON file (0600) in one step. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  await rename(temporary, path);
}

export async function removeRecord(path: string): Promise<void> {
  await rm(path, { force: true });
}

export async function privateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/** Whether somebody could listen on this loopback port now. */
export async function isFree(port: number): Promise<boolean> {
  return (await listen(port)) !== undefined;
}

/** A loopback port that is free now. */
export async function freePort(): Promise<number> {
  const port = await listen(0);
  if (port === undefined) throw new Error('no free TCP port on 127.0.0.1');
  return port;
}

/** Copies a log of more than `maxBytes` to `<path>.1` and empties it, which is safe while its writer appends. */
export async function rotateLog(path: string, maxBytes: number): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size <= maxBytes) return;
  await copyFile(path, `${path}.1`);
  await truncate(path, 0);
}

/** What was logged from byte `from` on: all of it, or the first and the last 1,000 bytes (a panic says why first, then where). */
export async function logExcerpt(path: string, from: number): Promise<string> {
  const bytes = await readFile(path).catch(() => Buffer.alloc(0));
  const text = bytes.subarray(from <= bytes.length ? from : 0);
  if (text.length <= 2500) return text.toString('utf8').trim();
  return `${text.toString('utf8', 0, 1000)}\n...\n${text.toString('utf8', text.length - 1000)}`.trim();
}

export async function prepareFolders(stateDir: string): Promise<void> {
  const paths = serverPaths(stateDir);
  for (const path of [paths.database, paths.log, paths.record]) await privateFolder(dirname(path));
}

async function readJson(path: string): Promise<Record<string, unknown> | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

async function listen(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined));
    });
  });
}
