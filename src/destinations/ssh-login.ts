import type { Duplex } from 'node:stream';
import type { AuthenticationType, Client, ConnectConfig } from 'ssh2';
import { HoldfastError } from '../errors.js';
import type { SshServerConfig } from './config.js';
import { type HostKeyCheck, hostKeyCheck, hostKeyTypes } from './ssh-host-key.js';

export interface LoginOptions {
  /** Names the destination in messages. */
  label: string;
  server: SshServerConfig;
  knownHosts?: string;
  /** How long until the login has to be done, ms. */
  timeoutMs: number;
  /** What to talk over in place of a TCP connection of its own: makes a new one for each try. */
  through?: () => Promise<Duplex>;
  signal?: AbortSignal;
}

/**
 * Logs in to an SSH server whose host key is the expected one. Rejects with `HostKeyMismatch`, `AuthDenied` or
 * `ConfigInvalid` (HoldfastError), or with the connection's own error.
 */
export async function login(options: LoginOptions): Promise<Client> {
  const check = await checkFor(options);
  try {
    return await attempt(options, check);
  } catch (error) {
    if (options.server.hostKey === undefined || check.refusal === undefined) throw error;
    // The fingerprint may be that of another of the server's keys.
    for (const type of hostKeyTypes) {
      const other = await checkFor(options, type);
      const client = await attempt(options, other).catch((reason: unknown) => {
        // It was accepted, and then something else went wrong.
        if (other.refusal === undefined && reason instanceof HoldfastError) throw reason;
        return undefined;
      });
      if (client !== undefined) return client;
    }
    throw error;
  }
}

function checkFor({ label, server, knownHosts }: LoginOptions, type?: string): Promise<HostKeyCheck> {
  return hostKeyCheck({ label, host: server.host, port: server.port, pinned: server.hostKey, knownHosts, type });
}

async function attempt(options: LoginOptions, check: HostKeyCheck): Promise<Client> {
  const { server, timeoutMs, label, signal, through } = options;
  // ssh2 is CommonJS and large: loaded where the first login happens.
  const { default: ssh2 } = await import('ssh2');
  signal?.throwIfAborted();
  const client = new ssh2.Client();
  const config: ConnectConfig = {
    host: server.host,
    port: server.port,
    username: server.user,
    readyTimeout: timeoutMs,
    keepaliveInterval: 0,
    hostVerifier: (key: Buffer) => check.accept(key),
    algorithms: { serverHostKey: check.algorithms },
    ...credentials(label, server),
    authHandler: ways(server),
    ...(through !== undefined && { sock: await through() }),
  };
  if (server.password !== undefined) {
    const { password } = server;
    // Many servers ask for the password by keyboard-interactive alone.
    config.tryKeyboard = true;
    client.on('keyboard-interactive', (_name, _text, _language, prompts, finish) =>
      finish(prompts.map(() => password)),
    );
  }
  let stop: (() => void) | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      client
        .once('ready', resolve)
        .once('error', reject)
        // Between the greeting and the login ssh2 takes a closed connection for no error.
        .once('close', () => reject(new Error('the server closed the connection')));
      stop = () => reject(signal?.reason);
      signal?.addEventListener('abort', stop, { once: true });
      try {
        client.connect(config);
      } catch (error) {
        reject(keyProblem(label, server, error));
      }
    });
    return client;
  } catch (error) {
    client.on('error', () => {});
    client.destroy();
    if (check.refusal !== undefined) throw check.refusal;
    throw isAuthentication(error) ? refused(label, server, error) : error;
  } finally {
    if (stop !== undefined) signal?.removeEventListener('abort', stop);
  }
}

function credentials(
  label: string,
  server: SshServerConfig,
): Pick<ConnectConfig, 'password' | 'privateKey' | 'passphrase' | 'agent'> {
  const { password, privateKey, passphrase, agent } = server;
  const asksAgent = agent ?? (password === undefined && privateKey === undefined);
  const socket = typeof asksAgent === 'string' ? asksAgent : asksAgent ? process.env.SSH_AUTH_SOCK : undefined;
  if (asksAgent && !socket) {
    throw new HoldfastError('AuthDenied', `${label}: there is no SSH agent: $SSH_AUTH_SOCK is not set`, {
      hint: 'Set `privateKey` or `password`, or let `agent` name the agent’s socket.',
    });
  }
  return {
    ...(password !== undefined && { password }),
    ...(privateKey !== undefined && { privateKey: `${privateKey.trim()}\n` }),
    ...(passphrase !== undefined && { passphrase }),
    ...(socket && { agent: socket }),
  };
}

/** What to log in with, in this order: the library would ask first whether it may come in without, which takes a round trip. */
function ways({ password, privateKey, agent }: SshServerConfig): AuthenticationType[] {
  const asksAgent = agent ?? (password === undefined && privateKey === undefined);
  return [
    ...(password === undefined ? [] : (['password'] as const)),
    ...(privateKey === undefined ? [] : (['publickey'] as const)),
    ...(asksAgent === false ? [] : (['agent'] as const)),
    ...(password === undefined ? [] : (['keyboard-interactive'] as const)),
    'none',
  ];
}

function isAuthentication(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (/too many authentication failures/i.test(error.message)) return true;
  return 'level' in error && (error.level === 'client-authentication' || error.level === 'agent');
}

function refused(label: string, server: SshServerConfig, cause: unknown): HoldfastError {
  const ways = [server.privateKey && 'private key', server.password && 'password', server.agent && 'agent'].filter(
    Boolean,
  );
  return new HoldfastError(
    'AuthDenied',
    `${label}: the server refuses user ${server.user} (${ways.join(', ') || 'agent'})`,
    {
      hint: 'Check the user, and that the key is in authorized_keys there or the password is right.',
      cause,
    },
  );
}

/** The message of the key's parser never holds the key. */
function keyProblem(label: string, { privateKey = '' }: SshServerConfig, error: unknown): HoldfastError {
  const why = error instanceof Error ? error.message.replace(/^Cannot parse privateKey: /, '') : String(error);
  return new HoldfastError('AuthDenied', `${label}: the private key cannot be used: ${why}`, {
    hint: privateKey.includes('PRIVATE KEY')
      ? 'Check `privateKey` and `passphrase`: `ssh-keygen -y -f FILE` asks for the same.'
      : `\`privateKey\` holds the key itself, not its path: write \${file:/path/to/key}.`,
  });
}
