import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { HoldfastError } from '../errors.js';

/** Sizes of RSA keys that are accepted, bits. */
export const rsaBits = { least: 3072, usual: 4096, most: 16384 } as const;

export interface RsaPublicKey {
  /** SubjectPublicKeyInfo, PEM. */
  pem: string;
  bits: number;
  /** SHA-256 (hex) of the SubjectPublicKeyInfo, DER. */
  fingerprint: string;
}

export interface RsaPrivateKey {
  /** PKCS #8, PEM, not encrypted. */
  pem: string;
  publicKey: RsaPublicKey;
}

/** @throws HoldfastError KeyMismatch for anything but an RSA public key of 3072 to 16384 bits; `key` names it in the message. */
export function readPublicKey(pem: string, key: string): RsaPublicKey {
  try {
    return checked(createPublicKey(pem), key);
  } catch (error) {
    throw error instanceof HoldfastError ? error : unusable(key, 'is not a public key in PEM form', error);
  }
}

/**
 * @throws HoldfastError KeyMismatch for anything but an RSA private key; SecretMissing, PassphraseWrong where it is encrypted
 * and the passphrase is missing or another.
 */
export function readPrivateKey(pem: string, passphrase: string | undefined, key: string): RsaPrivateKey {
  let object: KeyObject;
  try {
    object = createPrivateKey({ key: pem, ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (error) {
    if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) throw unusable(key, 'is not a private key in PEM form', error);
    if (!pem.includes('ENCRYPTED')) throw unusable(key, 'is not a whole private key', error);
    if (passphrase === undefined) {
      throw new HoldfastError('SecretMissing', `${key}: the private key is encrypted and there is no passphrase`, {
        key: 'encryption.passphrase',
        hint: 'Set encryption.passphrase, or give --passphrase-file.',
      });
    }
    throw new HoldfastError('PassphraseWrong', `the passphrase does not open the private key (${key})`, { key });
  }
  const publicKey = checked(createPublicKey(object), key);
  return { pem: object.export({ type: 'pkcs8', format: 'pem' }).toString(), publicKey };
}

/** A new pair, PEM; the private key encrypted (PKCS #8) when there is a passphrase. */
export async function generatePair(
  bits: number,
  passphrase: string | undefined,
): Promise<{ publicKey: RsaPublicKey; privatePem: string }> {
  const pair = await promisify(generateKeyPair)('rsa', { modulusLength: bits });
  const secret = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase };
  const privatePem = pair.privateKey.export({ type: 'pkcs8', format: 'pem', ...secret }).toString();
  return { publicKey: checked(pair.publicKey, 'the new key'), privatePem };
}

function checked(object: KeyObject, key: string): RsaPublicKey {
  const bits = object.asymmetricKeyDetails?.modulusLength ?? 0;
  if (object.asymmetricKeyType !== 'rsa') throw unusable(key, 'is not an RSA key');
  if (bits < rsaBits.least || bits > rsaBits.most)
    throw unusable(key, `has ${bits} bits; expected ${rsaBits.least} to ${rsaBits.most}`);
  const der = object.export({ type: 'spki', format: 'der' });
  return {
    pem: object.export({ type: 'spki', format: 'pem' }).toString(),
    bits,
    fingerprint: createHash('sha256').update(der).digest('hex'),
  };
}

function unusable(key: string, what: string, cause?: unknown): HoldfastError {
  return new HoldfastError('KeyMismatch', `${key} ${what}`, {
    key,
    hint: '`holdfast key generate` makes a pair.',
    ...(cause === undefined ? {} : { cause }),
  });
}
