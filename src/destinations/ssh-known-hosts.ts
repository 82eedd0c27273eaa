import { createHmac, timingSafeEqual } from 'node:crypto';

/** One line of a known_hosts file that speaks of the host in question. */
export interface KnownKey {
  /** `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, ... */
  type: string;
  key: Buffer;
  revoked: boolean;
  /** `file:line` */
  where: string;
}

/** The type that a public key in SSH's wire format names itself. */
export function keyTypeOf(key: Buffer): string {
  if (key.length < 4) return 'unknown';
  const length = key.readUInt32BE(0);
  return length > 64 || key.length < 4 + length ? 'unknown' : key.toString('latin1', 4, 4 + length);
}

/** What known_hosts files call a host: `host`, or `[host]:port` where the port is not 22. */
export function knownHostName(host: string, port: number): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

/**
 * The keys that the text of a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT) has for a host: plain, wildcard and
 * hashed names, `@revoked`. Certificate authorities are passed over, as host certificates are not supported.
 *
 * @param file for `where`
 * @param name from {@link knownHostName}
 */
export function knownKeys(text: string, file: string, name: string): KnownKey[] {
  return text.split('\n').flatMap((line, index): KnownKey[] => {
    const fields = line.trim().split(/\s+/);
    if (fields[0] === '' || fields[0]?.startsWith('#')) return [];
    const marker = fields[0]?.startsWith('@') ? fields.shift() : undefined;
    const [hosts = '', type = '', key = ''] = fields;
    if (key === '' || marker === '@cert-authority' || !namesHost(hosts, name)) return [];
    return [{ type, key: Buffer.from(key, 'base64'), revoked: marker === '@revoked', where: `${file}:${index + 1}` }];
  });
}

function namesHost(patterns: string, name: string): boolean {
  if (patterns.startsWith('|1|')) {
    const [, , salt = '', hash = ''] = patterns.split('|');
    const expected = Buffer.from(hash, 'base64');
    const actual = createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest();
    return expected.length === actual.length && timingSafeEqual(expected, actual);
  }
  let found = false;
  for (const pattern of patterns.toLowerCase().split(',')) {
    const negated = pattern.startsWith('!');
    if (!wildcard(negated ? pattern.slice(1) : pattern).test(name)) continue;
    if (negated) return false;
    found = true;
  }
  return found;
}

function wildcard(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${source}$`);
}
