import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { DatabaseTls } from '../../config/schema-databases.js';
import type { MysqlSettings } from '../../config/schema-mysql.js';
import { HoldfastError } from '../../errors.js';

/** Where a server is and how to sign in; all secrets resolved. */
export interface MysqlAddress {
  /** TCP, unless there is a socket. Left out: as the server's own programs find it, behind a `command`. */
  host?: string;
  port: number;
  socket?: string;
  user: string;
  password?: string;
  tls: Omit<DatabaseTls, 'mode'> & { mode: NonNullable<DatabaseTls['mode']> };
}

/** Where servers on this machine usually listen. */
const customarySockets = ['/run/mysqld/mysqld.sock', '/var/lib/mysql/mysql.sock', '/tmp/mysql.sock'];

/** @throws HoldfastError ConfigInvalid when `url` can't be understood. */
export function addressOf(config: MysqlSettings): MysqlAddress {
  const from = config.url === undefined ? config : fromUrl(config.url);
  const unnamed = from.host === undefined && from.port === undefined && from.socket === undefined;
  const here = config.ssh === undefined && config.command === undefined;
  const socket = from.socket ?? (unnamed && here ? customarySockets.find((file) => existsSync(file)) : undefined);
  const host = from.host ?? 'localhost';
  const near = socket !== undefined || config.ssh !== undefined || isLoopback(host);
  return {
    // The server's programs take the name localhost for a socket.
    ...(unnamed && config.command !== undefined ? {} : { host: host === 'localhost' ? '127.0.0.1' : host }),
    port: from.port ?? 3306,
    ...(socket === undefined ? {} : { socket }),
    user: from.user ?? userInfo().username,
    ...(from.password === undefined ? {} : { password: from.password }),
    tls: { ...config.tls, mode: config.tls.mode ?? (near ? 'off' : 'verify-full') },
  };
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host);

function fromUrl(text: string): Partial<Pick<MysqlAddress, 'host' | 'port' | 'socket' | 'user' | 'password'>> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^(mysql|mariadb):$/.test(url.protocol)) {
    throw new HoldfastError('ConfigInvalid', 'the url of the database server can’t be understood', {
      hint: 'Write it like mysql://user:password@host:3306/ or mysql://user@localhost/?socket=/run/mysqld/mysqld.sock; percent-encode special characters of the password.',
    });
  }
  const socket = url.searchParams.get('socket');
  const host = decodeURIComponent(url.hostname).replace(/^\[|\]$/g, '');
  return {
    ...(socket === null ? {} : { socket }),
    ...(host === '' ? {} : { host }),
    ...(url.port === '' ? {} : { port: Number(url.port) }),
    ...(url.username === '' ? {} : { user: decodeURIComponent(url.username) }),
    ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
  };
}
