import { HoldfastError } from '../errors.js';

/** Objects still being written have this in front of their name; no key may have a part like it. */
export const temporaryPrefix = '.tmp-';

const maxKeyBytes = 1024;
const forbidden = /[\0\\]/;

/**
 * Refuses keys that could leave the destination or mean different things on different ones: absolute, empty parts,
 * `.` and `..`, backslashes, NUL, names of temporary objects, lone surrogates, more than 1,024 bytes.
 */
export function checkKey(key: string): void {
  const parts = key.split('/');
  const bad =
    parts.some((part) => part === '' || part === '.' || part === '..' || part.startsWith(temporaryPrefix)) ||
    forbidden.test(key) ||
    Buffer.from(key).toString() !== key ||
    Buffer.byteLength(key) > maxKeyBytes;
  if (bad)
    throw new HoldfastError('DestinationFailed', `Not a usable object key: ${JSON.stringify(key)}`, {
      retryable: false,
    });
}

/** Like {@link checkKey} for the start of keys: may be empty or end in `/` or in the middle of a name. */
export function checkPrefix(prefix: string): void {
  if (prefix !== '') checkKey(prefix.endsWith('/') ? prefix.slice(0, -1) : prefix);
}
