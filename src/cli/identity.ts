import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type LoadedConfig, withKeyPair } from '../config/load.js';
import { expandHome } from '../config/paths.js';
import { errnoOf, HoldfastError } from '../errors.js';
import { type RsaPrivateKey, readPrivateKey } from '../repository/rsa.js';
import { askSecret, canAsk, readSecret } from './prompt.js';

/**
 * The RSA private key of `--identity FILE`; its passphrase comes from a file or is asked for.
 * @throws HoldfastError SecretMissing, PassphraseWrong, KeyMismatch.
 */
export async function readIdentity(file: string, passphraseFile: string | undefined): Promise<RsaPrivateKey> {
  const path = resolve(expandHome(file));
  let pem: string;
  try {
    pem = readFileSync(path, 'utf8');
  } catch (error) {
    throw new HoldfastError('SecretMissing', `the private key ${path} can't be read (${errnoOf(error) ?? 'unknown'})`);
  }
  const isEncrypted = pem.includes('ENCRYPTED');
  const typed = (): Promise<string> => askSecret(`Passphrase of ${path}: `);
  const passphrase = !isEncrypted
    ? undefined
    : passphraseFile === undefined
      ? canAsk()
        ? await typed()
        : undefined
      : readSecret(passphraseFile);
  return readPrivateKey(pem, passphrase, path);
}

/** The config with this private key for as long as the process lives; nothing of it is written anywhere. */
export const withIdentity = (loaded: LoadedConfig, key: RsaPrivateKey): LoadedConfig =>
  withKeyPair(loaded, { publicKey: key.publicKey.pem, privateKey: key.pem });
