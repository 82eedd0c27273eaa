import { createCipheriv, createDecipheriv, randomBytes, randomUUID, scrypt } from 'node:crypto';
import { HoldfastError } from '../errors.js';
import { compactTime } from './layout.js';
import type { RepositoryKey } from './seal.js';

/** A passphrase's wrapping of the repository key: AES-256-GCM under scrypt (RFC 7914), context as additional data. */
export interface ScryptSlot {
  id: string;
  type: 'scrypt';
  created: string;
  N: number;
  r: number;
  p: number;
  /** base64 of 16 bytes. */
  salt: string;
  /** base64 of 12 bytes. */
  nonce: string;
  /** base64 of the 32-byte key, encrypted, followed by the 16-byte tag. */
  wrapped: string;
}

/** `holdfast.json`: what a repository is and how its key is unlocked. */
export interface KeyFile {
  format: 1;
  repository: string;
  objects: 'aes' | 'none';
  created: string;
  host: string;
  job: string;
  slots: ScryptSlot[];
}

const cost = { N: 1 << 16, r: 8, p: 1 };
// Readers refuse more than 1 GiB of memory, or 16 times the work of our own cost: a key file is not to be trusted before it
// is opened.
const maxMemory = 1024 * 1024 * 1024;
const maxWork = 16 * cost.N * cost.r * cost.p;
const maxSlots = 64;

function derive(passphrase: string, slot: { salt: string; N: number; r: number; p: number }): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const options = {
      N: slot.N,
      r: slot.r,
      p: slot.p,
      maxmem: 128 * slot.N * slot.r + 128 * slot.r * slot.p + (1 << 20),
    };
    scrypt(Buffer.from(passphrase, 'utf8'), Buffer.from(slot.salt, 'base64'), 32, options, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}

const slotContext = (repository: string, id: string): Buffer => Buffer.from(`holdfast-1 ${repository} ${id}`, 'utf8');

/** A new repository's key file, and its unlocked key when there is a passphrase. */
export async function createKeyFile(
  host: string,
  job: string,
  passphrase: string | undefined,
): Promise<{ file: KeyFile; key: RepositoryKey | undefined }> {
  const repository = randomUUID();
  const file: KeyFile = {
    format: 1,
    repository,
    objects: passphrase === undefined ? 'none' : 'aes',
    created: new Date().toISOString(),
    host,
    job,
    slots: [],
  };
  if (passphrase === undefined) return { file, key: undefined };
  const key = { repository, key: new Uint8Array(randomBytes(32)) };
  file.slots.push(await wrapKey(key, passphrase));
  return { file, key };
}

/** A slot that lets `passphrase` unlock `key`. */
export async function wrapKey(key: RepositoryKey, passphrase: string): Promise<ScryptSlot> {
  const salt = randomBytes(16);
  const nonce = randomBytes(12);
  const id = compactTime(new Date()) + randomBytes(4).toString('hex');
  const wrapping = await derive(passphrase, { ...cost, salt: salt.toString('base64') });
  const cipher = createCipheriv('aes-256-gcm', wrapping, nonce);
  cipher.setAAD(slotContext(key.repository, id));
  const wrapped = Buffer.concat([cipher.update(key.key), cipher.final(), cipher.getAuthTag()]);
  return {
    id,
    type: 'scrypt',
    created: new Date().toISOString(),
    ...cost,
    salt: salt.toString('base64'),
    nonce: nonce.toString('base64'),
    wrapped: wrapped.toString('base64'),
  };
}

/**
 * Unlocks a repository's key with the passphrase; `undefined` for a repository in the clear.
 * @throws HoldfastError PassphraseWrong when no slot opens, SecretMissing when one is needed and none is given.
 */
export async function unlock(file: KeyFile, passphrase: string | undefined): Promise<RepositoryKey | undefined> {
  if (file.objects === 'none') return undefined;
  if (passphrase === undefined) {
    throw new HoldfastError(
      'SecretMissing',
      `repository ${file.host}/${file.job} is encrypted and the config has no passphrase`,
      {
        key: 'encryption.passphrase',
        hint: 'Set encryption.passphrase to the passphrase the repository was made with.',
      },
    );
  }
  for (const slot of file.slots) {
    const wrapping = await derive(passphrase, slot);
    const bytes = Buffer.from(slot.wrapped, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', wrapping, Buffer.from(slot.nonce, 'base64'));
    decipher.setAAD(slotContext(file.repository, slot.id));
    decipher.setAuthTag(bytes.subarray(bytes.length - 16));
    try {
      const key = Buffer.concat([decipher.update(bytes.subarray(0, bytes.length - 16)), decipher.final()]);
      return { repository: file.repository, key: new Uint8Array(key) };
    } catch {
      // Not this slot's passphrase: the tag did not match.
    }
  }
  throw new HoldfastError('PassphraseWrong', `the passphrase does not open repository ${file.host}/${file.job}`, {
    key: 'encryption.passphrase',
    hint: 'Use the passphrase that was set when the repository was made, or one added since.',
  });
}

export const keyFileLimit = 1 << 20;

/**
 * Parses `holdfast.json`.
 * @throws HoldfastError IntegrityMismatch for anything that is not a key file of format 1 with bearable cost.
 */
export function parseKeyFile(data: Uint8Array, where: string): KeyFile {
  const bad = (why: string): HoldfastError =>
    new HoldfastError('IntegrityMismatch', `${where} ${why}`, {
      hint: 'Take holdfast.json from another destination of the same job, or from state/keys on the host that wrote it.',
    });
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(data).toString('utf8'));
  } catch {
    throw bad('is not JSON');
  }
  if (typeof value !== 'object' || value === null) throw bad('is not an object');
  const file = value as Partial<KeyFile>;
  if (file.format !== 1) throw bad(`has format ${JSON.stringify(file.format)}; this version reads format 1`);
  if (typeof file.repository !== 'string' || !/^[0-9a-f-]{36}$/.test(file.repository))
    throw bad('has no repository id');
  if (file.objects !== 'aes' && file.objects !== 'none') throw bad(`has objects ${JSON.stringify(file.objects)}`);
  if (!Array.isArray(file.slots) || file.slots.length > maxSlots) throw bad('has bad key slots');
  for (const slot of file.slots) {
    const fine =
      slot?.type === 'scrypt' &&
      typeof slot.id === 'string' &&
      [slot.salt, slot.nonce, slot.wrapped].every((text) => typeof text === 'string' && text.length < 1024) &&
      [slot.N, slot.r, slot.p].every((number) => Number.isInteger(number) && number > 0) &&
      slot.N >= 2 &&
      Number.isInteger(Math.log2(slot.N)) &&
      slot.r <= 64 &&
      128 * slot.N * slot.r <= maxMemory &&
      slot.N * slot.r * slot.p <= maxWork &&
      Buffer.from(slot.salt, 'base64').length >= 8 &&
      Buffer.from(slot.nonce, 'base64').length === 12 &&
      Buffer.from(slot.wrapped, 'base64').length === 48;
    if (!fine) throw bad('has a key slot of an unknown kind or cost');
  }
  return value as KeyFile;
}

/** The bytes of `holdfast.json`. */
export const keyFileBytes = (file: KeyFile): Buffer => Buffer.from(`${JSON.stringify(file, null, 2)}\n`, 'utf8');
