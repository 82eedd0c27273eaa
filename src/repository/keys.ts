import { createCipheriv, createDecipheriv, randomBytes, randomUUID, scrypt } from 'node:crypto';
import { HoldfastError } from '../errors.js';
import { hasRightMac, withMac } from './key-mac.js';
import { compactTime } from './layout.js';
import { type RsaPublicKey, rsaBits } from './rsa.js';
import type { AesKey } from './seal.js';
import { parseUntrusted } from './untrusted-json.js';

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
  /** What people call it. */
  label?: string;
}

/** Names the RSA key pair that a repository's objects are for. It holds no key: only who has the public one can write. */
export interface RsaSlot {
  id: string;
  type: 'rsa';
  created: string;
  bits: number;
  /** SHA-256 (hex) of the public key's SubjectPublicKeyInfo, DER. */
  fingerprint: string;
}

/** `holdfast.json`: what a repository is and how its key is unlocked. */
export interface KeyFile {
  format: 1;
  repository: string;
  objects: 'aes' | 'rsa' | 'none';
  created: string;
  host: string;
  job: string;
  /** 1 at first, one more with each change: the higher counts. */
  revision: number;
  /** With `aes` scrypt slots, with `rsa` one RSA slot, with `none` none. */
  slots: (ScryptSlot | RsaSlot)[];
  /** With `aes`: proves that the file was written by somebody who has the key. */
  mac?: string;
}

/** What deriving a key from a passphrase costs: 128 * N * r bytes of memory, time by N * r * p. */
export interface ScryptCost {
  N: number;
  r: number;
  p: number;
}

export const defaultCost: ScryptCost = { N: 1 << 16, r: 8, p: 1 };
// Readers refuse more than 1 GiB of memory, 16 times the work of our own cost in a slot, or 8 times that in all: a key file is
// not to be trusted before it is opened.
const maxMemory = 1024 * 1024 * 1024;
const maxWork = 16 * defaultCost.N * defaultCost.r * defaultCost.p;
const maxWorkOfAll = 8 * maxWork;
export const maxSlots = 64;
const maxDepth = 16;

/** The slots that a passphrase may open. */
export const scryptSlots = (file: KeyFile): ScryptSlot[] => file.slots.filter((slot) => slot.type === 'scrypt');

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
): Promise<{ file: KeyFile; key: AesKey | undefined }> {
  const file = newKeyFile(host, job, passphrase === undefined ? 'none' : 'aes');
  if (passphrase === undefined) return { file, key: undefined };
  const key = { repository: file.repository, key: new Uint8Array(randomBytes(32)) };
  return { file: withMac({ ...file, slots: [await wrapKey(key, passphrase)] }, key), key };
}

/** A new repository's key file for a host that has the public key alone. */
export function createRsaKeyFile(host: string, job: string, key: RsaPublicKey): KeyFile {
  const file = newKeyFile(host, job, 'rsa');
  const { bits, fingerprint } = key;
  return { ...file, slots: [{ id: newSlotId(), type: 'rsa', created: file.created, bits, fingerprint }] };
}

function newKeyFile(host: string, job: string, objects: KeyFile['objects']): KeyFile {
  return {
    format: 1,
    repository: randomUUID(),
    objects,
    created: new Date().toISOString(),
    host,
    job,
    revision: 1,
    slots: [],
  };
}

const newSlotId = (): string => compactTime(new Date()) + randomBytes(4).toString('hex');

/** A slot that lets `passphrase` unlock `key`. */
export async function wrapKey(
  key: AesKey,
  passphrase: string,
  options: { cost?: ScryptCost | undefined; label?: string | undefined } = {},
): Promise<ScryptSlot> {
  const { N, r, p } = options.cost ?? defaultCost;
  const salt = randomBytes(16);
  const nonce = randomBytes(12);
  const id = newSlotId();
  const wrapping = await derive(passphrase, { N, r, p, salt: salt.toString('base64') });
  const cipher = createCipheriv('aes-256-gcm', wrapping, nonce);
  cipher.setAAD(slotContext(key.repository, id));
  const wrapped = Buffer.concat([cipher.update(key.key), cipher.final(), cipher.getAuthTag()]);
  return {
    id,
    type: 'scrypt',
    created: new Date().toISOString(),
    N,
    r,
    p,
    salt: salt.toString('base64'),
    nonce: nonce.toString('base64'),
    wrapped: wrapped.toString('base64'),
    ...(options.label === undefined ? {} : { label: options.label }),
  };
}

/** A repository's key, and which slot gave it. */
export interface Opened {
  key: AesKey;
  slot: ScryptSlot;
}

/**
 * The first slot that the passphrase opens; undefined when it opens none.
 * @throws HoldfastError IntegrityMismatch when a slot opens and the file was not written by somebody who had its key.
 */
export async function openSlot(file: KeyFile, passphrase: string): Promise<Opened | undefined> {
  for (const slot of scryptSlots(file)) {
    const wrapping = await derive(passphrase, slot);
    const bytes = Buffer.from(slot.wrapped, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', wrapping, Buffer.from(slot.nonce, 'base64'), {
      authTagLength: 16,
    });
    decipher.setAAD(slotContext(file.repository, slot.id));
    decipher.setAuthTag(bytes.subarray(bytes.length - 16));
    let key: AesKey;
    try {
      const plain = Buffer.concat([decipher.update(bytes.subarray(0, bytes.length - 16)), decipher.final()]);
      key = { repository: file.repository, key: new Uint8Array(plain) };
    } catch {
      // Not this slot's passphrase: the tag did not match.
      continue;
    }
    if (hasRightMac(file, key)) return { key, slot };
    throw new HoldfastError('IntegrityMismatch', `the key file of ${file.host}/${file.job} was changed from outside`, {
      hint: 'Take holdfast.json from another destination of the same job, or from state/keys on the host that wrote it.',
    });
  }
  return undefined;
}

/**
 * Unlocks a repository's key with the passphrase; `undefined` for a repository in the clear.
 * @throws HoldfastError PassphraseWrong when no slot opens, SecretMissing when one is needed and none is given,
 * IntegrityMismatch when the file was changed from outside.
 */
export async function unlock(file: KeyFile, passphrase: string | undefined): Promise<AesKey | undefined> {
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
  const opened = await openSlot(file, passphrase);
  if (opened) return opened.key;
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
  const value = parseUntrusted(data, maxDepth);
  if (value === undefined) throw bad('is not JSON');
  if (typeof value !== 'object' || value === null) throw bad('is not an object');
  const file = value as Partial<KeyFile>;
  if (file.format !== 1) throw bad(`has format ${JSON.stringify(file.format)}; this version reads format 1`);
  if (typeof file.repository !== 'string' || !/^[0-9a-f-]{36}$/.test(file.repository))
    throw bad('has no repository id');
  const { objects } = file;
  if (objects !== 'aes' && objects !== 'rsa' && objects !== 'none')
    throw bad(`has objects ${JSON.stringify(file.objects)}`);
  for (const key of ['created', 'host', 'job'] as const) if (typeof file[key] !== 'string') throw bad(`has no ${key}`);
  if (!Number.isSafeInteger(file.revision) || (file.revision ?? 0) < 1) throw bad('has no revision');
  if (!Array.isArray(file.slots) || file.slots.length > maxSlots) throw bad('has bad key slots');
  const fine = {
    aes: () => file.slots?.every(isScryptSlot) === true && typeof file.mac === 'string' && file.mac.length === 44,
    rsa: () => file.slots?.length === 1 && isRsaSlot(file.slots[0]) && file.mac === undefined,
    none: () => file.slots?.length === 0 && file.mac === undefined,
  };
  if (!fine[objects]()) throw bad('has a key slot of an unknown kind or cost');
  const work = scryptSlots(value as KeyFile).reduce((sum, { N, r, p }) => sum + N * r * p, 0);
  if (work > maxWorkOfAll) throw bad('has key slots that would take too long to try');
  return value as KeyFile;
}

/** Whether a cost is one that readers accept. */
export const isBearable = ({ N, r, p }: ScryptCost): boolean =>
  [N, r, p].every((number) => Number.isInteger(number) && number > 0) &&
  N >= 2 &&
  Number.isInteger(Math.log2(N)) &&
  r <= 64 &&
  128 * N * r <= maxMemory &&
  N * r * p <= maxWork;

function isScryptSlot(slot: Partial<ScryptSlot> | Partial<RsaSlot> | null): boolean {
  if (slot?.type !== 'scrypt' || !isSlot(slot)) return false;
  const { salt, nonce, wrapped, N, r, p, label } = slot;
  return (
    isShort(salt) &&
    isShort(nonce) &&
    isShort(wrapped) &&
    (label === undefined || isShort(label)) &&
    typeof N === 'number' &&
    typeof r === 'number' &&
    typeof p === 'number' &&
    isBearable({ N, r, p }) &&
    Buffer.from(salt, 'base64').length >= 8 &&
    Buffer.from(nonce, 'base64').length === 12 &&
    Buffer.from(wrapped, 'base64').length === 48
  );
}

function isRsaSlot(slot: Partial<ScryptSlot> | Partial<RsaSlot> | null | undefined): boolean {
  return (
    slot?.type === 'rsa' &&
    isSlot(slot) &&
    typeof slot.fingerprint === 'string' &&
    /^[0-9a-f]{64}$/.test(slot.fingerprint) &&
    typeof slot.bits === 'number' &&
    slot.bits >= rsaBits.least &&
    slot.bits <= rsaBits.most
  );
}

const isShort = (text: unknown): text is string => typeof text === 'string' && text.length < 1024;
const isSlot = (slot: { id?: string; created?: string }): boolean => isShort(slot.id) && isShort(slot.created);

/** The bytes of `holdfast.json`. */
export const keyFileBytes = (file: KeyFile): Buffer => Buffer.from(`${JSON.stringify(file, null, 2)}\n`, 'utf8');
