import { z } from 'zod';
import { path, secret, text } from './fields.js';
import { everyDestination } from './schema-every-destination.js';
import { everyServer, fingerprint, hostName, portNumber, remotePath } from './schema-remote.js';

export const ftpDestinationSchema = z
  .strictObject({
    type: z.literal('ftp').describe('A folder on an FTP or FTPS server.'),
    host: hostName().describe('The server’s name or address.'),
    port: portNumber().optional().describe('Its port. Default: 21, with `tls: implicit` 990.'),
    user: text().describe('The user to log in as.'),
    password: secret('The user’s password.').optional(),
    path: remotePath().describe(
      'The folder that keeps the repositories: absolute, or relative to where a login starts.',
    ),
    tls: z
      .enum(['off', 'explicit', 'implicit'])
      .prefault('explicit')
      .describe(
        'explicit: AUTH TLS on the usual port; implicit: TLS from the first byte; off: everybody on the way can read the password.',
      ),
    caFile: path().optional().describe('The certificate authorities to trust in place of the system’s (PEM).'),
    serverName: text().optional().describe('The name the certificate must carry. Default: `host`.'),
    fingerprint: fingerprint()
      .optional()
      .describe('SHA-256 of the server’s certificate, which is then trusted whoever signed it.'),
    verify: z
      .enum(['auto', 'size', 'readback'])
      .prefault('auto')
      .describe(
        'How an upload is checked. readback: everything is read again and compared; size: only its length; auto: by the server’s own SHA-256 where it has the command, else size with TLS and readback without.',
      ),
    ...everyServer,
    ...everyDestination,
  })
  .superRefine((ftp, context) => {
    for (const key of ['caFile', 'serverName', 'fingerprint'] as const) {
      if (ftp.tls === 'off' && ftp[key] !== undefined)
        context.addIssue({ code: 'custom', path: [key], message: 'needs `tls: explicit` or `tls: implicit`' });
    }
  })
  .describe('A folder on an FTP server, with or without TLS.');
