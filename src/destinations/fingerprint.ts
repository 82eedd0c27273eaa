import { createHash } from 'node:crypto';

/** The fingerprint as OpenSSH writes it: `SHA256:` and unpadded base64. */
export function fingerprintOf(bytes: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(bytes).digest('base64').replace(/=+$/, '')}`;
}

/** Whether a fingerprint somebody wrote, as OpenSSH does or in hex as OpenSSL does, is that of these bytes. */
export function isFingerprintOf(written: string, bytes: Uint8Array): boolean {
  const hex = written.replace(/^SHA256:/i, '').replace(/:/g, '');
  if (/^[0-9a-f]{64}$/i.test(hex)) return createHash('sha256').update(bytes).digest('hex') === hex.toLowerCase();
  return fingerprintOf(bytes) === written.replace(/=+$/, '');
}
