import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { performance } from 'node:perf_hooks';
import { type ConnectionOptions, TLSSocket } from 'node:tls';
import type { Client, FTPContext } from 'basic-ftp';
import { errnoOf, HoldfastError } from '../errors.js';
import type { FtpDestinationConfig } from './config.js';
import { fingerprintOf, isFingerprintOf } from './fingerprint.js';
import { replyOf } from './ftp-errors.js';
import { strictList } from './ftp-list.js';

const longestLoginMs = 30_000;

/** One logged-in control connection. It does one thing at a time. */
export interface FtpConnection {
  readonly client: Client;
  /** What the server says it can do, upper case: `MLST`, `XSHA256`, `HASH`, ... */
  readonly features: ReadonlyMap<string, string>;
  /** The destination's folder, absolute. */
  readonly root: string;
  usedAt: number;
}

/** Connects, checks the certificate, then logs in. What `known` has of the server is not asked again: each question is a round trip. */
export async function connect(
  label: string,
  config: FtpDestinationConfig,
  signal?: AbortSignal,
  known?: Pick<FtpConnection, 'features' | 'root'>,
): Promise<FtpConnection> {
  const { Client: FtpClient } = await import('basic-ftp');
  signal?.throwIfAborted();
  const client = new FtpClient(config.timeout);
  client.parseList = strictList;
  const stop = (): void => client.close();
  // What the library's own time-outs do not see, such as a TLS handshake that stops.
  let late = false;
  const timer = setTimeout(
    () => {
      late = true;
      client.close();
      client.ftp.socket.destroy();
    },
    Math.min(config.timeout, longestLoginMs),
  );
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await secure(label, config, client);
    await client.login(config.user, config.password ?? '');
    const features = known?.features ?? (await featuresOf(client));
    await settle(client, features);
    const root = known?.root ?? (await rootOf(client, config));
    return { client, features, root, usedAt: performance.now() };
  } catch (error) {
    client.close();
    signal?.throwIfAborted();
    throw late ? new Error('the server did not finish the login in time') : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

async function featuresOf(client: Client): Promise<ReadonlyMap<string, string>> {
  return new Map([...(await client.features())].map(([name, value]) => [name.toUpperCase(), value]));
}

async function rootOf(client: Client, { path }: FtpDestinationConfig): Promise<string> {
  const root = path.startsWith('/') ? path : posix.join(await client.pwd(), path);
  return posix.normalize(root).replace(/(.)\/$/, '$1');
}

/** What the library's `useDefaultSettings` does, without asking twice: each question is a round trip. */
async function settle(client: Client, features: ReadonlyMap<string, string>): Promise<void> {
  const machineReadable = features.has('MLST');
  client.availableListCommands = machineReadable ? ['MLSD', 'LIST -a', 'LIST'] : ['LIST -a', 'LIST'];
  await client.send('TYPE I');
  // Some servers want to be told even though they say that they know it.
  await client.sendIgnoringError('OPTS UTF8 ON');
  if (machineReadable) await client.sendIgnoringError('OPTS MLST type;size;modify;');
  if (client.ftp.hasTLS) {
    await client.sendIgnoringError('PBSZ 0');
    await client.sendIgnoringError('PROT P');
  }
}

async function secure(label: string, config: FtpDestinationConfig, client: Client): Promise<void> {
  const { host, tls, fingerprint } = config;
  if (tls === 'off') {
    await client.connect(host, config.port ?? 21);
    return;
  }
  const options: ConnectionOptions = {
    host,
    ...(config.serverName !== undefined && { servername: config.serverName }),
    ...(config.caFile !== undefined && { ca: await certificates(label, config.caFile) }),
    ...(fingerprint !== undefined && { rejectUnauthorized: false }),
  };
  const accept = (socket: TLSSocket): void => {
    const shown = socket.getPeerCertificate().raw;
    if (fingerprint === undefined || isFingerprintOf(fingerprint, shown)) return;
    throw new HoldfastError(
      'HostKeyMismatch',
      `${label}: ${host} shows the certificate ${fingerprintOf(shown)}, but \`fingerprint\` in the config is ${fingerprint}`,
      { hint: 'Nothing was sent. Find out why: either the certificate was renewed, or somebody is in between.' },
    );
  };
  if (tls === 'implicit') {
    await client.connectImplicitTLS(host, config.port ?? 990, options);
  } else {
    await client.connect(host, config.port ?? 21);
    await client.useTLS(options).catch((error: unknown) => {
      if (replyOf(error) === undefined) throw error;
      throw new HoldfastError('DestinationFailed', `${label}: the server does not offer TLS: ${String(error)}`, {
        hint: 'Turn TLS on there. `tls: off` sends password and data readable for everybody on the way.',
        retryable: false,
      });
    });
  }
  const { socket } = client.ftp;
  if (!(socket instanceof TLSSocket)) throw new Error('the connection is not encrypted');
  accept(socket);
  if (fingerprint !== undefined) guardData(client, accept);
}

/** Holds every data connection to the same certificate; one that resumes the control connection's TLS session has proved it. */
function guardData(client: Client, accept: (socket: TLSSocket) => void): void {
  let strategy = client.prepareTransfer;
  Object.defineProperty(client, 'prepareTransfer', {
    // The library puts the first strategy that works in place of the one that tries all.
    set(next: typeof strategy) {
      strategy = next;
    },
    get: () => async (context: FTPContext) => {
      const answer = await strategy(context);
      const { dataSocket } = context;
      if (!(dataSocket instanceof TLSSocket)) throw new Error('the data connection is not encrypted');
      dataSocket.once('secureConnect', () => {
        if (dataSocket.isSessionReused()) return;
        try {
          accept(dataSocket);
        } catch (error) {
          dataSocket.destroy(error instanceof Error ? error : undefined);
        }
      });
      return answer;
    },
  });
}

async function certificates(label: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new HoldfastError('ConfigInvalid', `${label}: cannot read ${file} (${errnoOf(error) ?? 'unknown error'})`, {
      hint: 'Correct `caFile`.',
      cause: error,
    });
  }
}
