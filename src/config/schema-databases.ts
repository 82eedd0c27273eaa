import { z } from 'zod';
import { path, plainText, secret, sourceName, text } from './fields.js';

/** What database sources have in common. */

const databaseTlsSchema = z
  .strictObject({
    mode: z
      .enum(['off', 'require', 'verify-ca', 'verify-full'])
      .optional()
      .describe(
        'off: no TLS; require: encrypted, whoever the server is; verify-ca: its certificate must be signed by a trusted authority; verify-full: and carry its name. Default: verify-full, off on this machine.',
      ),
    caFile: path()
      .optional()
      .describe('A file with the certificate authorities to trust (PEM). Default: the system’s.'),
    certFile: path().optional().describe('The client certificate (PEM).'),
    keyFile: path().optional().describe('The client certificate’s private key (PEM).'),
  })
  .refine((tls) => (tls.certFile === undefined) === (tls.keyFile === undefined), {
    error: 'expected `certFile` and `keyFile` together',
  })
  .describe('TLS towards the server.');

export type DatabaseTls = z.output<typeof databaseTlsSchema>;

/** Where a database server is and how to sign in: an URL, or its parts. */
export const serverKeys = {
  url: secret(
    `The server with user and password in one URL, usually a reference: \${env:PG_URL}. In place of host, port, socket, user and password.`,
  ).optional(),
  host: text().optional().describe('The server’s name or address. Default: localhost.'),
  port: z.int().min(1).max(65535).optional().describe('The server’s port. Default: the customary one.'),
  socket: path().optional().describe('A Unix socket in place of host and port.'),
  user: text().optional().describe('The user to sign in as. Default: the user that runs the worker.'),
  password: secret(`The user’s password. Usually a reference: \${file:/path}, \${env:NAME}.`).optional(),
  tls: databaseTlsSchema.prefault({}),
};

/** Which of a server's databases. */
export const databasesKeys = {
  name: sourceName()
    .optional()
    .describe('The source’s name, unique within the job: dumps lie at /.holdfast/NAME/. Default: its type.'),
  databases: z
    .union([z.literal('all'), z.array(plainText()).min(1, { error: 'expected at least one database, or all' })], {
      error: 'expected all or a list of databases',
    })
    .prefault('all')
    .describe('`all`, or a list of names. A database in the list that the server does not have fails the source.'),
  exclude: z
    .array(plainText())
    .prefault([])
    .describe('Databases to leave out of `all`; `*` stands for any characters.'),
  globals: z
    .boolean()
    .prefault(true)
    .describe('Users, roles and what else belongs to the whole server, kept beside each dump.'),
};

interface ServerAddress {
  url?: string | undefined;
  host?: string | undefined;
  port?: number | undefined;
  socket?: string | undefined;
  user?: string | undefined;
  password?: string | undefined;
}

/** Refuses what says one thing twice. */
export function checkServer(source: ServerAddress, context: z.RefinementCtx): void {
  for (const key of ['host', 'port', 'socket', 'user', 'password'] as const) {
    if (source.url !== undefined && source[key] !== undefined)
      context.addIssue({ code: 'custom', path: [key], message: 'is part of `url` already; expected either' });
  }
  for (const key of ['host', 'port'] as const) {
    if (source.socket !== undefined && source[key] !== undefined)
      context.addIssue({ code: 'custom', path: [key], message: 'expected either `socket` or `host` and `port`' });
  }
}
