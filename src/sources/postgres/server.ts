import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { userInfo } from 'node:os';
import path from 'node:path';
import type { ClientConfig } from 'pg';
import type { PostgresSourceConfig } from '../../config/schema.js';
import { errnoOf, HoldfastError } from '../../errors.js';

export type SslMode = 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';

/** Where a server is and how to sign in: all of an URL and its parts, with defaults. */
export interface Server {
  /** A name or address, or the folder of a Unix socket; empty: what libpq takes where `command` runs it. */
  host: string;
  port: number;
  user: string;
  password: string | undefined;
  /** The database to sign in to where no other is asked for. */
  database: string | undefined;
  sslMode: SslMode;
  caFile: string | undefined;
  certFile: string | undefined;
  keyFile: string | undefined;
  /** Connect here in place of `host`, which stays the name that certificates are checked for. */
  via?: { address: string; port: number };
}

type Address = Pick<PostgresSourceConfig, 'url' | 'host' | 'port' | 'socket' | 'user' | 'password' | 'tls' | 'command'>;

/** Authorities the system trusts, where distributions keep them. */
const systemAuthorities = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

const connectSeconds = 20;

/** @throws HoldfastError ConfigInvalid for an URL that is none. */
export function serverOf(config: Address): Server {
  const url = config.url === undefined ? undefined : parseUrl(config.url);
  const query = url?.searchParams;
  const decoded = (text: string | undefined): string | undefined =>
    text === undefined || text === '' ? undefined : decode(text);
  const socket = config.socket ?? socketOf(query?.get('host') ?? decoded(url?.hostname));
  const { folder, port: socketPort } = socketParts(socket);
  const host =
    folder ??
    config.host ??
    decoded(url?.hostname.replace(/^\[|\]$/g, '')) ??
    (config.command === undefined ? 'localhost' : '');
  const sslMode = sslModeOf(config.tls.mode, query?.get('sslmode') ?? undefined, host);
  const asked = query?.get('sslrootcert') ?? null;
  return {
    host,
    port: config.port ?? Number(decoded(url?.port) ?? query?.get('port') ?? socketPort ?? 5432),
    user: config.user ?? decoded(url?.username) ?? (config.command === undefined ? userInfo().username : ''),
    password: config.password ?? decoded(url?.password),
    database: decoded(url?.pathname.slice(1)),
    sslMode,
    caFile:
      config.tls.caFile ??
      (asked === null || asked === 'system' ? undefined : asked) ??
      (sslMode.startsWith('verify') && config.command === undefined
        ? systemAuthorities.find((file) => existsSync(file))
        : undefined),
    certFile: config.tls.certFile ?? query?.get('sslcert') ?? undefined,
    keyFile: config.tls.keyFile ?? query?.get('sslkey') ?? undefined,
  };
}

function parseUrl(url: string): URL {
  if (/^postgres(ql)?:\/\//.test(url) && URL.canParse(url)) return new URL(url);
  throw noUrl();
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw noUrl();
  }
}

const noUrl = (): HoldfastError =>
  new HoldfastError('ConfigInvalid', 'the `url` of a postgres source is not a PostgreSQL URL', {
    hint: 'postgresql://USER:PASSWORD@HOST:PORT/DATABASE; special characters percent-encoded, a % as %25.',
  });

const socketOf = (host: string | undefined): string | undefined => (host?.startsWith('/') ? host : undefined);

function socketParts(socket: string | undefined): { folder?: string; port?: number } {
  if (socket === undefined) return {};
  const file = /^\.s\.PGSQL\.(\d+)$/.exec(path.basename(socket));
  return file ? { folder: path.dirname(socket), port: Number(file[1]) } : { folder: socket };
}

function sslModeOf(mode: PostgresSourceConfig['tls']['mode'], asked: string | undefined, host: string): SslMode {
  if (mode !== undefined) return mode === 'off' ? 'disable' : mode;
  switch (asked) {
    case 'disable':
    case 'require':
    case 'verify-ca':
    case 'verify-full':
      return asked;
    case 'allow':
    case 'prefer':
      return 'prefer';
    default:
      return isLocal(host) ? 'disable' : 'verify-full';
  }
}

const isLocal = (host: string): boolean => /^(|\/.*|localhost|127(\.\d+){3}|::1)$/.test(host);

/** For messages: where the server is, without secrets. */
export const placeOf = (server: Server): string =>
  server.host === ''
    ? 'the local server'
    : server.host.startsWith('/')
      ? `${server.host} (port ${server.port})`
      : `${server.host}:${server.port}`;

/** What libpq's programs are told of the server, but for the password. */
export function toolEnvironment(server: Server): Record<string, string> {
  return {
    PGPORT: String(server.via?.port ?? server.port),
    PGSSLMODE: server.sslMode,
    PGCONNECT_TIMEOUT: String(connectSeconds),
    PGAPPNAME: 'holdfast',
    PGCLIENTENCODING: 'UTF8',
    ...(server.host === '' ? {} : { PGHOST: server.host }),
    ...(server.user === '' ? {} : { PGUSER: server.user }),
    ...(server.via === undefined ? {} : { PGHOSTADDR: server.via.address }),
    ...(server.caFile === undefined ? {} : { PGSSLROOTCERT: server.caFile }),
    ...(server.certFile === undefined ? {} : { PGSSLCERT: server.certFile }),
    ...(server.keyFile === undefined ? {} : { PGSSLKEY: server.keyFile }),
  };
}

/** The content of a password file (PGPASSFILE) for this server alone. */
export function passwordFile(password: string): string {
  return `*:*:*:*:${password.replace(/[\\:]/g, '\\$&')}\n`;
}

/** A database's name as a connection string, which programs take names with `=` for. */
export const databaseInfo = (database: string): string => `dbname='${database.replace(/[\\']/g, '\\$&')}'`;

export const databaseArgument = (database: string): string => `--dbname=${databaseInfo(database)}`;

export function clientConfig(server: Server, database: string): ClientConfig {
  return {
    host: server.via?.address ?? server.host,
    port: server.via?.port ?? server.port,
    user: server.user,
    // Without one, node-postgres would look into files and variables that are not this source's.
    password: server.password ?? '',
    database,
    ssl: sslOf(server),
    application_name: 'holdfast',
    connectionTimeoutMillis: connectSeconds * 1000,
    keepAlive: true,
  };
}

function sslOf(server: Server): ClientConfig['ssl'] {
  if (server.sslMode === 'disable' || server.host.startsWith('/')) return false;
  const verify = server.sslMode.startsWith('verify');
  return {
    rejectUnauthorized: verify,
    ca: verify ? read(server.caFile) : undefined,
    cert: read(server.certFile),
    key: read(server.keyFile),
    // An address is no name for TLS; it is still what the certificate is checked for.
    ...(isIP(server.host) === 0 ? { servername: server.host } : { host: server.host }),
    ...(server.sslMode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
  };
}

function read(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new HoldfastError('SecretMissing', `the file ${file} of \`tls\` can't be read (${errnoOf(error)})`);
  }
}
