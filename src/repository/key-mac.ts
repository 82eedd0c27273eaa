import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import type { KeyFile } from './keys.js';
import type { AesKey } from './seal.js';

/**
 * HMAC-SHA-256 over the key file without `mac`, as canonical JSON (RFC 8785), under a key derived from the repository's:
 * who lacks that can neither add a slot nor pass an old file off as a newer one.
 */
function macOf(file: KeyFile, key: AesKey): Buffer {
  const { mac: _, ...rest } = file;
  const info = Buffer.from(`holdfast-1 key file ${file.repository}`, 'utf8');
  const derived = Buffer.from(hkdfSync('sha256', key.key, Buffer.alloc(0), info, 32));
  return createHmac('sha256', derived).update(canonicalJson(rest)).digest();
}

export const withMac = (file: KeyFile, key: AesKey): KeyFile => ({
  ...file,
  mac: macOf(file, key).toString('base64'),
});

/** Whether the file was written by somebody who had this key. */
export function hasRightMac(file: KeyFile, key: AesKey): boolean {
  const said = Buffer.from(file.mac ?? '', 'base64');
  const right = macOf(file, key);
  return file.repository === key.repository && said.length === right.length && timingSafeEqual(said, right);
}

/** RFC 8785 for what a key file holds: strings, integers, lists, objects. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`);
  return `{${members.join(',')}}`;
}
