import { readFile } from 'node:fs/promises';
import { Client, Connection, isGrpcServiceError, type WorkflowClientInterceptor } from '@temporalio/client';
import type { ClientConnectConfig } from '@temporalio/envconfig';
import type { NativeConnection, NativeConnectionOptions } from '@temporalio/worker';
import { HoldfastError } from '../errors.js';

/** The config's `temporal:` part; left out, the embedded server serves. */
export interface TemporalConfig {
  /** A profile of Temporal's own configuration file; default `default`, unless `address` is given. */
  profile?: string | undefined;
  /** host:port */
  address?: string | undefined;
  namespace?: string | undefined;
  apiKey?: string | undefined;
  tls?:
    | boolean
    | {
        serverName?: string | undefined;
        caFile?: string | undefined;
        certFile?: string | undefined;
        keyFile?: string | undefined;
      }
    | undefined;
}

export interface TemporalTarget {
  address: string;
  namespace: string;
  /** What both kinds of connection take. */
  options: Pick<NativeConnectionOptions, 'tls' | 'metadata'> & { apiKey?: string };
}

export interface TemporalClient {
  client: Client;
  connection: Connection;
  namespace: string;
  address: string;
  close(): Promise<void>;
}

const connectTimeoutMs = 5000;

/**
 * Connects to the configured Temporal, or to the embedded server where none is configured, and sees that it answers.
 *
 * @throws HoldfastError `TemporalUnavailable`, `AuthDenied`, `ConfigInvalid`.
 */
export async function connect(
  config: TemporalConfig | undefined,
  embedded?: { address: string },
  interceptor?: WorkflowClientInterceptor,
): Promise<TemporalClient> {
  const { address, namespace, options } = await resolveTarget(config, embedded);
  let connection: Connection | undefined;
  try {
    connection = await Connection.connect({ address, ...options, connectTimeout: connectTimeoutMs });
    await seeNamespace(connection, namespace);
  } catch (error) {
    await connection?.close();
    throw temporalError(error, address, namespace);
  }
  const opened = connection;
  return {
    client: new Client({
      connection,
      namespace,
      ...(interceptor === undefined ? {} : { interceptors: { workflow: [interceptor] } }),
    }),
    connection,
    namespace,
    address,
    close: () => opened.close(),
  };
}

/**
 * The same for a Worker. Loads the worker's native library.
 *
 * @throws HoldfastError `TemporalUnavailable`, `AuthDenied`, `ConfigInvalid`.
 */
export async function connectNative(
  config: TemporalConfig | undefined,
  embedded?: { address: string },
): Promise<{ connection: NativeConnection; namespace: string; address: string }> {
  const { address, namespace, options } = await resolveTarget(config, embedded);
  const { NativeConnection } = await import('@temporalio/worker');
  try {
    return { connection: await NativeConnection.connect({ address, ...options }), namespace, address };
  } catch (error) {
    throw temporalError(error, address, namespace);
  }
}

/**
 * Where to connect and as whom: the embedded server, or what `temporal:` says, on top of its profile and the TEMPORAL_*
 * environment. Without `temporal:` that environment is not looked at.
 *
 * @throws HoldfastError `ConfigInvalid`; `TemporalUnavailable` where nothing is configured and no embedded server runs.
 */
export async function resolveTarget(
  config: TemporalConfig | undefined,
  embedded?: { address: string },
): Promise<TemporalTarget> {
  if (config === undefined) {
    if (embedded !== undefined) return { address: embedded.address, namespace: 'default', options: {} };
    throw new HoldfastError(
      'TemporalUnavailable',
      'no Temporal server is configured, and the embedded one does not run',
      {
        hint: 'Start it with `holdfast up`.',
      },
    );
  }
  const { connectionOptions, namespace } = await loadProfile(config);
  const tls = config.tls === undefined ? connectionOptions.tls : await loadTls(config.tls);
  const apiKey = config.apiKey ?? connectionOptions.apiKey;
  return {
    address: config.address ?? connectionOptions.address ?? 'localhost:7233',
    namespace: config.namespace ?? namespace ?? 'default',
    options: {
      ...(tls === undefined ? (apiKey === undefined ? {} : { tls: true }) : { tls }),
      ...(apiKey === undefined ? {} : { apiKey }),
      ...(connectionOptions.metadata === undefined ? {} : { metadata: connectionOptions.metadata }),
    },
  };
}

/** A HoldfastError for what a Temporal client throws when the server is away or refuses; other errors as they are. */
export function temporalError(error: unknown, address: string, namespace: string): unknown {
  if (error instanceof HoldfastError || !(error instanceof Error)) return error;
  const status = isGrpcServiceError(error) ? error.code : undefined;
  if (status === grpc.unauthenticated || status === grpc.permissionDenied) {
    return new HoldfastError('AuthDenied', `Temporal at ${address} refuses the credentials: ${error.message}`, {
      hint: 'Check temporal.apiKey or the client certificate under temporal.tls.',
      cause: error,
    });
  }
  if (status === grpc.notFound) {
    return new HoldfastError(
      'TemporalUnavailable',
      `Temporal at ${address} has no namespace ${JSON.stringify(namespace)}`,
      {
        hint: `Create it (\`temporal operator namespace create -n ${namespace}\`) or correct temporal.namespace.`,
        retryable: false,
        cause: error,
      },
    );
  }
  const away = status === grpc.unavailable || status === grpc.deadlineExceeded || status === undefined;
  if (!away) return error;
  return new HoldfastError('TemporalUnavailable', `no Temporal server answers at ${address}: ${error.message}`, {
    hint: 'Is it running, is the address right, and does it want TLS? `holdfast doctor` checks.',
    cause: error,
  });
}

const grpc = { deadlineExceeded: 4, notFound: 5, permissionDenied: 7, unavailable: 14, unauthenticated: 16 };

async function seeNamespace(connection: Connection, namespace: string): Promise<void> {
  try {
    await connection.withDeadline(Date.now() + connectTimeoutMs, () =>
      connection.workflowService.describeNamespace({ namespace }),
    );
  } catch (error) {
    // Who may use a namespace may still not be allowed to look at it.
    if (isGrpcServiceError(error) && error.code === grpc.permissionDenied) return;
    throw error;
  }
}

async function loadProfile(config: TemporalConfig): Promise<ClientConnectConfig> {
  const { loadClientConnectConfig } = await import('@temporalio/envconfig');
  try {
    return config.profile === undefined
      ? loadClientConnectConfig({ disableFile: config.address !== undefined })
      : loadClientConnectConfig({ profile: config.profile });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new HoldfastError(
      'ConfigInvalid',
      `Temporal's profile ${config.profile ?? 'default'} can't be loaded: ${reason}`,
      {
        key: 'temporal.profile',
        hint: "Profiles live in Temporal's own configuration file; `temporal config list` shows them.",
        cause: error,
      },
    );
  }
}

async function loadTls(tls: Exclude<TemporalConfig['tls'], undefined>): Promise<NativeConnectionOptions['tls']> {
  if (typeof tls === 'boolean') return tls;
  const [ca, crt, key] = await Promise.all([
    readPem(tls.caFile, 'caFile'),
    readPem(tls.certFile, 'certFile'),
    readPem(tls.keyFile, 'keyFile'),
  ]);
  if ((crt === undefined) !== (key === undefined)) {
    throw new HoldfastError('ConfigInvalid', 'temporal.tls has only one of certFile and keyFile', {
      key: 'temporal.tls',
      hint: 'A client certificate needs both.',
    });
  }
  return {
    ...(tls.serverName === undefined ? {} : { serverNameOverride: tls.serverName }),
    ...(ca === undefined ? {} : { serverRootCACertificate: ca }),
    ...(crt === undefined || key === undefined ? {} : { clientCertPair: { crt, key } }),
  };
}

async function readPem(path: string | undefined, key: string): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path);
  } catch (error) {
    throw new HoldfastError('ConfigInvalid', `temporal.tls.${key} can't be read: ${String(error)}`, {
      key: `temporal.tls.${key}`,
      hint: 'Give the path of a PEM file that this user may read.',
      cause: error,
    });
  }
}
