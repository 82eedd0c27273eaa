import type { Client } from 'pg';
import { errnoOf, HoldfastError } from '../../errors.js';
import { overClient, ownSession, type Queries } from './queries.js';
import { clientConfig, placeOf, type Server } from './server.js';

/** Runs `work` with a connection that is closed afterwards, also when the signal fires. */
export async function connected<T>(
  server: Server,
  database: string,
  signal: AbortSignal,
  work: (queries: Queries) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  let client: Client | undefined;
  const stop = (): void => void client?.end().catch(() => undefined);
  signal.addEventListener('abort', stop, { once: true });
  try {
    client = await clientOf(server, database);
    await client.connect().catch(async (error: unknown) => {
      // As libpq does: encrypted where the server can.
      if (server.sslMode !== 'prefer' || !/does not support SSL/.test(String(error))) throw error;
      client = await clientOf({ ...server, sslMode: 'disable' }, database);
      await client.connect();
    });
    await client.query(ownSession);
    return await work(overClient(client));
  } catch (error) {
    signal.throwIfAborted();
    throw explained(error, server, database);
  } finally {
    signal.removeEventListener('abort', stop);
    await client?.end().catch(() => undefined);
  }
}

async function clientOf(server: Server, database: string): Promise<Client> {
  const { default: pg } = await import('pg');
  const client = new pg.Client(clientConfig(server, database));
  // An error between two queries: the next one reports it.
  client.on('error', () => undefined);
  return client;
}

/** The SQLSTATE of a server's error (five characters), or undefined. */
export function sqlState(error: unknown): string | undefined {
  const code = errnoOf(error);
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && error instanceof Error && 'severity' in error
    ? code
    : undefined;
}

/** What a connection's or the server's error means. */
export function explained(error: unknown, server: Server, database: string): unknown {
  if (error instanceof HoldfastError || !(error instanceof Error)) return error;
  const place = placeOf(server);
  const state = sqlState(error);
  if (state === undefined) {
    const tls = /SSL|TLS|certificate|self.signed/i.test(`${error.message} ${errnoOf(error)}`);
    return new HoldfastError(
      'SourceFailed',
      `the PostgreSQL server at ${place} can't be reached: ${messageOf(error)}`,
      {
        hint: tls
          ? 'Set `tls`: { caFile } for an authority of your own, { mode: off } for a server without TLS.'
          : 'Does it run, and does it listen there?',
        cause: error,
      },
    );
  }
  if (state.startsWith('28')) {
    return new HoldfastError('AuthDenied', `${place} refuses the user ${server.user}: ${error.message}`, {
      hint: 'Check user and password, and the server’s pg_hba.conf.',
      cause: error,
    });
  }
  if (state === '3D000')
    return new HoldfastError('SourceMissing', `${place} has no database ${database}`, { cause: error });
  if (state === '55P03') {
    return new HoldfastError('SourceFailed', `${place}, database ${database}: somebody keeps a table locked for long`, {
      hint: 'It is tried again. pg_locks tells who it is.',
      cause: error,
    });
  }
  if (state === '42501') {
    return new HoldfastError('AuthDenied', `${place}, database ${database}: ${error.message}`, {
      hint: `Grant the user ${server.user} the right to read everything: GRANT pg_read_all_data TO ...`,
      cause: error,
    });
  }
  return new HoldfastError('SourceFailed', `${place}, database ${database}: ${error.message} (${state})`, {
    cause: error,
  });
}

function messageOf(error: Error): string {
  // node tries every address of a name and collects what went wrong.
  if (error instanceof AggregateError) return error.errors.map((each: unknown) => String(each)).join('; ');
  return error.message === '' ? (errnoOf(error) ?? error.name) : error.message;
}
