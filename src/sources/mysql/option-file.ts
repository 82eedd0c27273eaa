import { existsSync } from 'node:fs';
import type { MysqlAddress } from './address.js';

/** Programs of MySQL and of MariaDB are named alike and take different options. */
export type Flavour = 'mysql' | 'mariadb';

/** Where systems keep their certificate authorities; MySQL's programs verify only with a file named. */
const systemAuthorities = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** The content of a `--defaults-file` that says where the server is and how to sign in. */
export function optionFile(address: MysqlAddress, flavour: Flavour): string {
  const lines = ['[client]', `user=${quoted(address.user)}`];
  if (address.password !== undefined) lines.push(`password=${quoted(address.password)}`);
  if (address.socket !== undefined) lines.push('protocol=socket', `socket=${quoted(address.socket)}`);
  else if (address.host !== undefined)
    lines.push('protocol=tcp', `host=${quoted(address.host)}`, `port=${address.port}`);
  return `${[...lines, ...tlsOptions(address.tls, flavour)].join('\n')}\n`;
}

function tlsOptions({ mode, caFile, certFile, keyFile }: MysqlAddress['tls'], flavour: Flavour): string[] {
  if (mode === 'off') return [flavour === 'mariadb' ? 'skip-ssl' : 'ssl-mode=DISABLED'];
  const lines: string[] = [];
  const verify = mode !== 'require';
  const authorities = caFile ?? (verify ? systemAuthorities.find((file) => existsSync(file)) : undefined);
  if (flavour === 'mariadb') {
    // These know only a check of signature and name together.
    lines.push('ssl', verify ? 'ssl-verify-server-cert' : 'skip-ssl-verify-server-cert');
  } else {
    lines.push(
      `ssl-mode=${mode === 'verify-full' ? 'VERIFY_IDENTITY' : mode === 'verify-ca' ? 'VERIFY_CA' : 'REQUIRED'}`,
    );
  }
  if (authorities !== undefined) lines.push(`ssl-ca=${quoted(authorities)}`);
  if (certFile !== undefined) lines.push(`ssl-cert=${quoted(certFile)}`);
  if (keyFile !== undefined) lines.push(`ssl-key=${quoted(keyFile)}`);
  return lines;
}

/** Values stand in double quotes, in which backslashes escape; a `#` or blanks are then nothing special. */
function quoted(value: string): string {
  const escapes: Record<string, string> = { '\\': '\\\\', '"': '\\"', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
  return `"${value.replace(/[\\"\n\r\t]/g, (char) => escapes[char] ?? char)}"`;
}
