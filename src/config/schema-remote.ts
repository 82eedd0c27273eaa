import { z } from 'zod';
import { duration, text } from './fields.js';

/** What destinations on servers have in common. */

export const hostName = () =>
  text().refine((value) => value.includes('${') || /^[^\s/@]+$/.test(value), {
    error: 'expected a host’s name or address, without a user, a scheme or a path',
  });

export const portNumber = () => z.int().min(1).max(65535);

/** A folder on a server: absolute, or relative to where a login starts. */
export const remotePath = () =>
  text()
    .refine((value) => !value.includes('\0') && !value.includes('\\') && !/[\r\n]/.test(value), {
      error: 'must not hold a NUL, a backslash or a line end',
    })
    .refine((value) => !value.split('/').includes('..'), { error: 'expected a path without `..`' })
    .refine((value) => !value.startsWith('~'), {
      error: 'expected an absolute path, or one relative to where a login starts (backups in place of ~/backups)',
    });

/** A SHA-256 fingerprint as OpenSSH writes it, or in hex with or without colons as OpenSSL does. */
export const fingerprint = () =>
  text().refine((value) => value.includes('${') || /^SHA256:[A-Za-z0-9+/]{43}=?$/.test(value) || isHex(value), {
    error: 'expected a fingerprint such as SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDnlLUUrISgDhGjLBc',
  });

function isHex(value: string): boolean {
  return /^(?:SHA256:)?(?:[0-9A-Fa-f]{2}:?){32}$/.test(value);
}

export const everyServer = {
  connections: z
    .int()
    .min(1)
    .max(32)
    .prefault(4)
    .describe('How many connections may be open at once. Distant servers get faster with more.'),
  timeout: duration(1000)
    .prefault('60s')
    .describe('How long the server may be silent before the connection counts as dead and the step is tried again.'),
};
