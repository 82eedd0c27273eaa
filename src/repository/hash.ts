import crypto from 'node:crypto';

type OneShot = (algorithm: string, data: Uint8Array, encoding: 'hex') => string;
const oneShot = 'hash' in crypto ? (crypto.hash as OneShot) : undefined;

/** SHA-256 of `data` as 64 lower-case hex digits. */
export const sha256Hex: (data: Uint8Array) => string = oneShot
  ? (data) => oneShot('sha256', data, 'hex')
  : (data) => crypto.createHash('sha256').update(data).digest('hex');
