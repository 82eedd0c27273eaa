import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'mysql2/promise';
import { errnoOf, HoldfastError } from '../../errors.js';
import type { MysqlAddress } from './address.js';
import { asServerError } from './errors.js';

/** A session that answers queries. */
export interface Sql {
  /** One statement; every value as text, NULL as empty text. */
  query(statement: string): Promise<string[][]>;
  close(): Promise<void>;
}

const connectMs = 20_000;
/** Else a server's own mode may change how text and names are quoted. */
export const plainMode = "SET SESSION sql_mode = ''";

/** Through the driver. @throws HoldfastError AuthDenied, SourceFailed. */
export async function connectDirectly(address: MysqlAddress, where: string, signal: AbortSignal): Promise<Sql> {
  signal.throwIfAborted();
  const mysql = await import('mysql2/promise');
  const connection = await mysql.createConnection(connectionOptions(address)).catch((error: unknown) => {
    throw asServerError(error, where);
  });
  const abort = (): void => connection.destroy();
  signal.addEventListener('abort', abort, { once: true });
  connection.on('error', () => undefined);
  await connection.query(plainMode);
  return {
    async query(statement) {
      signal.throwIfAborted();
      try {
        const [rows] = await connection.query(statement);
        return Array.isArray(rows) ? (rows as string[][]) : [];
      } catch (error) {
        signal.throwIfAborted();
        throw asServerError(error, where);
      }
    },
    async close() {
      signal.removeEventListener('abort', abort);
      await connection.end().catch(() => connection.destroy());
    },
  };
}

function connectionOptions({ host, port, socket, user, password, tls }: MysqlAddress): ConnectionOptions {
  return {
    ...(socket === undefined ? { host, port } : { socketPath: socket }),
    user,
    ...(password === undefined ? {} : { password }),
    ...(tls.mode === 'off'
      ? {}
      : {
          ssl: {
            rejectUnauthorized: tls.mode !== 'require',
            verifyIdentity: tls.mode === 'verify-full',
            ...(tls.caFile === undefined ? {} : { ca: readPem(tls.caFile) }),
            ...(tls.certFile === undefined ? {} : { cert: readPem(tls.certFile) }),
            ...(tls.keyFile === undefined ? {} : { key: readPem(tls.keyFile) }),
          },
        }),
    charset: 'utf8mb4_general_ci',
    connectTimeout: connectMs,
    enableKeepAlive: true,
    rowsAsArray: true,
    typeCast: (field) => field.string('utf8') ?? '',
  };
}

function readPem(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new HoldfastError('SecretMissing', `the file ${file} of \`tls\` can't be read (${errnoOf(error)})`);
  }
}

/** A name as SQL writes it. */
export const quoteName = (name: string): string => `\`${name.replaceAll('`', '``')}\``;

/** Text as SQL writes it, in the default modes. */
export const quoteText = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
