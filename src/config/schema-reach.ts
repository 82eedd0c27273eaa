import { z } from 'zod';
import { splitWords } from '../sources/exec/command-prefix.js';
import { path, plainText, secret, text } from './fields.js';

/** How to get to a database server that this machine does not reach by itself. */

const sshSchema = z
  .strictObject({
    host: text().describe('The SSH host’s name or address.'),
    port: z.int().min(1).max(65535).prefault(22).describe('The SSH host’s port.'),
    user: text().describe('The user to sign in as.'),
    privateKey: secret(`The private key, usually a reference: \${file:/etc/holdfast/ssh-key}.`).optional(),
    passphrase: secret('The private key’s passphrase.').optional(),
    agent: path().optional().describe('The socket of an SSH agent, in place of `privateKey`.'),
    hostKey: text()
      .refine((value) => value.includes('${') || /^SHA256:[A-Za-z0-9+/]{43}=?$/.test(value), {
        error: 'expected SHA256: and 43 characters, as `ssh-keygen -lf` prints it',
      })
      .describe(
        'The fingerprint of the host’s key, SHA256:..., as `ssh-keyscan HOST | ssh-keygen -lf -` prints it. Another key is refused.',
      ),
  })
  .superRefine((ssh, context) => {
    if ((ssh.privateKey === undefined) === (ssh.agent === undefined))
      context.addIssue('expected either `privateKey` or `agent`');
    if (ssh.passphrase !== undefined && ssh.privateKey === undefined)
      context.addIssue({ code: 'custom', path: ['passphrase'], message: 'needs `privateKey`' });
  })
  .describe('An SSH host to go through: host, port and socket are as that host sees them.');

export const reachKeys = {
  ssh: sshSchema.optional(),
  command: plainText()
    .refine((value) => splitWords(value) !== undefined, { error: 'has a quote without its end' })
    .optional()
    .describe(
      'What goes before the database’s own programs, such as `docker exec -i db` or `ssh host`: they run there, and host, port and socket are as seen from there.',
    ),
};

/** Refuses two ways to one server. */
export function checkReach(source: { ssh?: unknown; command?: string | undefined }, context: z.RefinementCtx): void {
  if (source.ssh !== undefined && source.command !== undefined)
    context.addIssue({ code: 'custom', path: ['command'], message: 'expected either `ssh` or `command`' });
}
