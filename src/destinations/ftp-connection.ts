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
import { pipelined, refusalOf, takesPipelines } from './ftp-pipeline.js';

const longestLoginMs = 30_000;
/** A server that has not answered all that came in one go by then has lost some of it. */
const pipelineMs = 10_000;

/** One logged-in control connection. It does one thing at a time. */
export interface FtpConnection {
  readonly client: Client;
  /** What the server says it can do, upper case: `MLST`, `XSHA256`, `HASH`, ... */
  readonly features: ReadonlyMap<string, string>;
  /** The destination's folder, absolute. */
  readonly root: string;
  /** Whether the server takes commands ahead of its answers. */
  readonly pipelines: boolean;
  usedAt: number;
}

/** What one connection was told of the server, which holds for the others. */
export type FtpServer = Pick<FtpConnection, 'features' | 'root' | 'pipelines'>;

/** Connects, checks the certificate, then logs in. What `known` has of the server is not asked again. */
export async function connect(
  label: string,
  config: FtpDestinationConfig,
  signal?: AbortSignal,
  known?: Partial<FtpServer>,
): Promise<FtpConnection> {
  const { Client: FtpClient } = await import('basic-ftp');
  signal?.throwIfAborted();
  const client = new FtpClient(config.timeout);
  client.parseList = strictList;
  const stop = (): void => client.close();
  // What the library's own time-outs do not see, such as a TLS handshake that stops.
  let late = false;
  const end = (): void => {
    late = true;
    client.close();
    client.ftp.socket.destroy();
  };
  let timer = setTimeout(end, Math.min(config.timeout, longestLoginMs));
  signal?.addEventListener('abort', stop, { once: true });
  let settling = false;
  try {
    const greeting = await secure(label, config, client);
    const pipelines = known?.pipelines ?? takesPipelines(greeting);
    await client.login(config.user, config.password ?? '');
    if (pipelines && known?.pipelines === undefined) {
      settling = true;
      clearTimeout(timer);
      timer = setTimeout(end, pipelineMs);
    }
    const server = await settle(client, config, pipelines, known);
    return { client, ...server, usedAt: performance.now() };
  } catch (error) {
    client.close();
    signal?.throwIfAborted();
    if (late && settling) return await connect(label, config, signal, { ...known, pipelines: false });
    throw late ? new Error('the server did not finish the login in time') : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * What the library's `useDefaultSettings` does, without asking twice, and as far as possible in one round trip; and what is
 * needed to know of the server.
 */
async function settle(
  client: Client,
  config: FtpDestinationConfig,
  pipelines: boolean,
  known?: Partial<FtpServer>,
): Promise<FtpServer> {
  const { path } = config;
  const asksRoot = known?.root === undefined && !path.startsWith('/');
  const tls = client.ftp.hasTLS ? ['PBSZ 0', 'PROT P'] : [];
  // Some servers want to be told of UTF-8 even though they say that they know it.
  const commands = ['TYPE I', 'OPTS UTF8 ON', ...tls];
  const machineReadable = 'OPTS MLST type;size;modify;';
  if (known?.features?.has('MLST')) commands.push(machineReadable);
  if (known?.features === undefined) commands.push('FEAT');
  if (asksRoot) commands.push('PWD');
  const replies = await pipelined({ client, pipelines }, commands);
  const replyTo = (command: string): string => {
    const reply = replies[commands.indexOf(command)];
    const refusal = reply && refusalOf(reply);
    if (refusal !== undefined && command !== 'FEAT') throw refusal;
    return refusal === undefined ? (reply?.text ?? '') : '';
  };
  replyTo('TYPE I');
  const features = known?.features ?? featuresIn(replyTo('FEAT'));
  if (known?.features === undefined && features.has('MLST')) await client.sendIgnoringError(machineReadable);
  client.availableListCommands = features.has('MLST') ? ['MLSD', 'LIST -a', 'LIST'] : ['LIST -a', 'LIST'];
  const root = known?.root ?? (asksRoot ? posix.join(folderIn(replyTo('PWD')), path) : path);
  return { features, root: posix.normalize(root).replace(/(.)\/$/, '$1'), pipelines };
}

/** Each feature has a line of its own, those around them say nothing. */
function featuresIn(text: string): ReadonlyMap<string, string> {
  const lines = text.split('\n').slice(1, -1);
  return new Map(
    lines.map((line) => {
      const [name = '', value = ''] = line.trim().split(' ');
      return [name.toUpperCase(), value];
    }),
  );
}

/** The folder in an answer to PWD: in quotes, a quote in it doubled (RFC 959, appendix II). */
function folderIn(text: string): string {
  const quoted = /"((?:[^"]|"")*)"/.exec(text)?.[1];
  if (quoted === undefined) throw new Error(`Can't parse response to command 'PWD': ${text}`);
  return quoted.replaceAll('""', '"');
}

/** @returns the server's greeting. */
async function secure(label: string, config: FtpDestinationConfig, client: Client): Promise<string> {
  const { host, tls, fingerprint } = config;
  if (tls === 'off') return (await client.connect(host, config.port ?? 21)).message;
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
  let greeting: string;
  if (tls === 'implicit') {
    ({ message: greeting } = await client.connectImplicitTLS(host, config.port ?? 990, options));
  } else {
    ({ message: greeting } = await client.connect(host, config.port ?? 21));
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
  return greeting;
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
