import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificate {
  certFile: string;
  keyFile: string;
  /** The authority that signed it, PEM. */
  caFile: string;
  /** SHA-256 of the certificate, hex with colons. */
  fingerprint: string;
}

/** Makes an authority and a certificate for `name` that it signed, in `dir`. */
export function makeCertificate(dir: string, name: string): Certificate {
  const file = (base: string): string => join(dir, base);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-days',
    '30',
    '-subj',
    '/CN=Test authority',
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.pem'),
  );
  openssl(
    'req',
    ...key,
    '-subj',
    `/CN=${name}`,
    '-addext',
    `subjectAltName=DNS:${name}`,
    '-keyout',
    file('server.key'),
    '-out',
    file('server.csr'),
  );
  openssl(
    'x509',
    '-req',
    '-in',
    file('server.csr'),
    '-CA',
    file('ca.pem'),
    '-CAkey',
    file('ca.key'),
    '-CAcreateserial',
    '-copy_extensions',
    'copy',
    '-days',
    '30',
    '-out',
    file('server.pem'),
  );
  const { fingerprint256 } = new X509Certificate(readFileSync(file('server.pem')));
  return {
    certFile: file('server.pem'),
    keyFile: file('server.key'),
    caFile: file('ca.pem'),
    fingerprint: fingerprint256,
  };
}
