import { z } from 'zod';
import { path, secret, text } from './fields.js';
import { everyDestination } from './schema-every-destination.js';
import { everyServer, fingerprint, hostName, portNumber, remotePath } from './schema-remote.js';

const login = {
  host: hostName().describe('The server’s name or address.'),
  port: portNumber().prefault(22).describe('The port of its SSH server.'),
  user: text().describe('The user to log in as.'),
  password: secret('The user’s password, where the server takes one.').optional(),
  privateKey: secret(
    `The private key itself, usually as a reference: \${file:~/.ssh/id_ed25519}. OpenSSH’s format or PEM.`,
  ).optional(),
  passphrase: secret('The passphrase of `privateKey`.').optional(),
  agent: z
    .union([z.boolean(), path()])
    .optional()
    .describe(
      'Ask the SSH agent: true for the one in $SSH_AUTH_SOCK, or its socket. Default: true without `password` and `privateKey`.',
    ),
  hostKey: fingerprint()
    .optional()
    .describe(
      'The fingerprint of the server’s host key (`SHA256:...`, as ssh-keygen -l shows). Default: known_hosts decides.',
    ),
};

const jumpSchema = z
  .strictObject(login)
  .superRefine(checkLogin)
  .describe('A server to go through (ssh’s ProxyJump); its own login.');

export const sftpDestinationSchema = z
  .strictObject({
    type: z.literal('sftp').describe('A folder on an SSH server.'),
    ...login,
    path: remotePath().describe(
      'The folder that keeps the repositories: absolute, or relative to where a login starts.',
    ),
    knownHosts: path()
      .optional()
      .describe('The known_hosts file. Default: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.'),
    jump: jumpSchema.optional(),
    ...everyServer,
    ...everyDestination,
  })
  .superRefine(checkLogin)
  .describe('A folder on an SSH server, over SFTP.');

function checkLogin(login: { privateKey?: string; passphrase?: string }, context: z.RefinementCtx): void {
  if (login.passphrase !== undefined && login.privateKey === undefined)
    context.addIssue('`passphrase` needs `privateKey`');
}
