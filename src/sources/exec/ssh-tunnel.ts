import { createHash, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import type { Client, ConnectConfig } from 'ssh2';
import { errnoOf, HoldfastError } from '../../errors.js';

/** A host to go through, with its secrets resolved. */
export interface SshConfig {
  host: string;
  port: number;
  user: string;
  /** PEM or OpenSSH format. */
  privateKey?: string;
  /** The private key's. */
  passphrase?: string;
  /** An agent's socket. */
  agent?: string;
  /** `SHA256:...`, as `ssh-keygen -lf` prints it. */
  hostKey: string;
}

/** What the far host connects to: a port, or a unix socket there. */
export type TunnelTarget = { host: string; port: number } | { socket: string };

export interface Tunnel {
  /** The near end: a port on loopback, or a unix socket in a private folder. */
  near: { host: '127.0.0.1'; port: number } | { folder: string; socket: string };
  close(): Promise<void>;
}

/** How the near end looks. A socket is only for this user; its file's name is what a tool expects there. */
export type NearEnd = 'port' | { socketName: string };

const connectMs = 20_000;

/**
 * Connects to an SSH host and forwards a local port or unix socket through it until it is closed.
 * @throws HoldfastError AuthDenied when the host refuses the user, or its key is not the expected one; SourceFailed when
 * it can't be reached.
 */
export async function openTunnel(
  config: SshConfig,
  target: TunnelTarget,
  nearEnd: NearEnd,
  signal: AbortSignal,
): Promise<Tunnel> {
  signal.throwIfAborted();
  const client = await connect(config, signal);
  const server = createServer({ allowHalfOpen: true }, (socket) => forward(client, socket, target));
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  let folder: string | undefined;
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
    client.end();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  };
  client.on('close', () => {
    for (const socket of sockets) socket.destroy();
  });
  try {
    if (nearEnd === 'port') {
      await listen(server, { host: '127.0.0.1', port: 0 });
      const address = server.address();
      if (address === null || typeof address === 'string') throw new Error('the tunnel listens nowhere');
      return { near: { host: '127.0.0.1', port: address.port }, close };
    }
    // The system's temporary folder: a socket's path has to be short.
    folder = mkdtempSync(path.join(tmpdir(), 'holdfast-'));
    const socket = path.join(folder, nearEnd.socketName);
    await listen(server, { path: socket });
    chmodSync(socket, 0o600);
    return { near: { folder, socket }, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function connect(config: SshConfig, signal: AbortSignal): Promise<Client> {
  const ssh = await import('ssh2');
  const client = new ssh.default.Client();
  const where = `the SSH host ${config.host}:${config.port}`;
  let found: string | undefined;
  const options: ConnectConfig = {
    host: config.host,
    port: config.port,
    username: config.user,
    ...(config.privateKey === undefined ? {} : { privateKey: withNewline(config.privateKey) }),
    ...(config.passphrase === undefined ? {} : { passphrase: config.passphrase }),
    ...(config.agent === undefined ? {} : { agent: config.agent }),
    readyTimeout: connectMs,
    keepaliveInterval: 10_000,
    keepaliveCountMax: 3,
    hostVerifier: (key: Buffer) => {
      found = fingerprint(key);
      return sameText(found, config.hostKey.replace(/=+$/, ''));
    },
  };
  const abort = (): void => {
    client.destroy();
  };
  signal.addEventListener('abort', abort, { once: true });
  try {
    const ready = once(client, 'ready');
    const ended = once(client, 'close').then(() => {
      throw new Error('the connection was closed');
    });
    client.connect(options);
    await Promise.race([ready, ended]);
    ended.catch(() => undefined);
    client.on('error', () => client.destroy());
    return client;
  } catch (error) {
    client.destroy();
    signal.throwIfAborted();
    throw asHoldfast(error, where, config, found);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function asHoldfast(error: unknown, where: string, config: SshConfig, found: string | undefined): HoldfastError {
  const message = error instanceof Error ? error.message : String(error);
  if (found !== undefined && !sameText(found, config.hostKey.replace(/=+$/, ''))) {
    return new HoldfastError('AuthDenied', `${where} has the key ${found}, not the one in the config`, {
      hint: 'If its key was changed on purpose, correct `ssh.hostKey`; else somebody is in between.',
      cause: error,
    });
  }
  const level = error instanceof Error && 'level' in error ? error.level : undefined;
  if (level === 'client-authentication') {
    return new HoldfastError('AuthDenied', `${where} refuses the user ${config.user}`, {
      hint: 'Check `ssh.user` and `ssh.privateKey` (or the agent’s keys), and authorized_keys there.',
      cause: error,
    });
  }
  if (/parse privateKey|passphrase|Cannot parse/i.test(message)) {
    return new HoldfastError('AuthDenied', `the private key for ${where} can't be read: ${message}`, { cause: error });
  }
  return new HoldfastError('SourceFailed', `${where} can't be reached: ${errnoOf(error) ?? message}`, { cause: error });
}

/** `SHA256:...` of a host key in SSH's wire format, as `ssh-keygen -lf` prints it. */
function fingerprint(key: Buffer): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`;
}

function sameText(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** References lose the last newline, without which OpenSSH's format does not parse. */
function withNewline(key: string): string {
  return key.endsWith('\n') ? key : `${key}\n`;
}

function forward(client: Client, socket: Socket, target: TunnelTarget): void {
  socket.on('error', () => socket.destroy());
  const opened = (error: Error | undefined, stream: Duplex): void => {
    if (error) {
      socket.destroy();
      return;
    }
    stream.on('error', () => socket.destroy());
    stream.on('close', () => socket.destroy());
    socket.on('close', () => stream.destroy());
    socket.pipe(stream).pipe(socket);
  };
  try {
    if ('socket' in target) client.openssh_forwardOutStreamLocal(target.socket, opened);
    else client.forwardOut('127.0.0.1', 0, target.host, target.port, opened);
  } catch {
    // The connection to the host is gone.
    socket.destroy();
  }
}

async function listen(server: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  server.listen(where);
  await once(server, 'listening');
}
