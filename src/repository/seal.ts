import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, createReadStream, createWriteStream, openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { PassThrough, Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type * as Sdk from '@aws-crypto/client-node';
import { errnoOf, HoldfastError } from '../errors.js';
import { YoungGarbage } from '../platform/collect.js';
import { messageLength } from './message-length.js';
import { keepName, keepOwn, nameOf, readOwn } from './own-objects.js';

/** What a stored object is; part of its encryption context. */
export type ObjectKind = 'pack' | 'index' | 'snapshot' | 'deletion' | 'pin';

/** With `objects: aes`: one key that reads and writes. */
export interface AesKey {
  repository: string;
  /** 32 bytes. */
  key: Uint8Array;
}

/** With `objects: rsa`: the public key writes, the private key reads. */
export interface RsaKey {
  repository: string;
  /** PEM. */
  publicKey: string;
  /** PEM, not encrypted. Left out on a host that can't read what it wrote. */
  privateKey?: string;
  /** A folder that keeps what is to be known of objects written without the private key. */
  own?: string;
}

/** The key of a repository, unlocked; `undefined` for a repository in the clear. */
export type RepositoryKey = AesKey | RsaKey;

/** Whether this key reads; one that can't, writes. */
export const canRead = (key: RepositoryKey | undefined): boolean =>
  key === undefined || 'key' in key || key.privateKey !== undefined;

const keyNamespace = 'holdfast';
const frameLength = 1 << 20;
/** Holds any header of ours. */
const headerPiece = 1 << 16;

const require = createRequire(import.meta.url);
let sdk: typeof Sdk | undefined;
function encryptionSdk(): typeof Sdk {
  // Loaded at first use: it takes a fifth of a second that a listing of local state need not pay.
  sdk ??= require('@aws-crypto/client-node') as typeof Sdk;
  return sdk;
}

const keyrings = new Map<string, Sdk.RawAesKeyringNode | Sdk.RawRsaKeyringNode>();
function keyringOf(key: RepositoryKey): Sdk.RawAesKeyringNode | Sdk.RawRsaKeyringNode {
  const name =
    'key' in key
      ? `${key.repository} ${Buffer.from(key.key).toString('hex')}`
      : `${key.repository} ${key.publicKey} ${key.privateKey ?? ''}`;
  let keyring = keyrings.get(name);
  if (!keyring) {
    keyring = 'key' in key ? aesKeyring(key) : rsaKeyring(key);
    keyrings.set(name, keyring);
  }
  return keyring;
}

function aesKeyring(key: AesKey): Sdk.RawAesKeyringNode {
  const { RawAesKeyringNode, RawAesWrappingSuiteIdentifier } = encryptionSdk();
  return new RawAesKeyringNode({
    keyName: key.repository,
    keyNamespace,
    unencryptedMasterKey: isolated(key.key),
    wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
  });
}

function rsaKeyring({ repository, publicKey, privateKey }: RsaKey): Sdk.RawRsaKeyringNode {
  const { RawRsaKeyringNode } = encryptionSdk();
  return new RawRsaKeyringNode({
    keyName: repository,
    keyNamespace,
    rsaKey: { publicKey, ...(privateKey === undefined ? {} : { privateKey }) },
    oaepHash: 'sha512',
  });
}

/** A copy with an ArrayBuffer of its own: the SDK refuses slices of Node's pool. */
function isolated(key: Uint8Array): Uint8Array {
  const copy = new Uint8Array(key.length);
  copy.set(key);
  return copy;
}

function client() {
  const { buildClient, CommitmentPolicy } = encryptionSdk();
  return buildClient({ commitmentPolicy: CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT, maxEncryptedDataKeys: 1 });
}

/** The encryption context: packs are named by their own hash, everything else is bound to its name. */
export function contextOf(repository: string, kind: ObjectKind, name: string): Record<string, string> {
  const context: Record<string, string> = { format: 'holdfast-1', repository, kind };
  if (kind !== 'pack') context.path = name;
  return context;
}

/** A stream that turns plain bytes into an AWS Encryption SDK message. */
export function encryptStream(key: RepositoryKey, kind: ObjectKind, name: string): NodeJS.ReadWriteStream {
  const { AlgorithmSuiteIdentifier } = encryptionSdk();
  return client().encryptStream(keyringOf(key), {
    suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    encryptionContext: contextOf(key.repository, kind, name),
    frameLength,
  });
}

/** Encrypts bytes in memory, for indexes, roots and deletions. */
export async function sealBytes(
  key: RepositoryKey | undefined,
  kind: ObjectKind,
  name: string,
  plain: Uint8Array,
): Promise<Buffer> {
  if (!key) return Buffer.from(plain);
  const stored = await encrypt(key, kind, name, plain);
  if ('publicKey' in key && kind === 'deletion') await keepOwn(key, stored, plain);
  if ('publicKey' in key && kind !== 'pack') await keepName(key, stored, name);
  return stored;
}

/** Loads what encrypts into this thread, which takes a fifth of a second. */
export async function warmSealing(): Promise<void> {
  const key = { repository: 'warm', key: new Uint8Array(randomBytes(32)) };
  await sealBytes(key, 'pack', '', Buffer.alloc(4096));
}

/**
 * Checks an object without reading it, where there is the public key alone: its bytes have to be those that were written
 * under this name.
 * @throws HoldfastError IntegrityMismatch.
 */
export async function checkSealed(key: RepositoryKey, name: string, stored: Uint8Array): Promise<void> {
  const known = await nameOf(key, stored);
  if (known === name) return;
  throw new HoldfastError(
    'IntegrityMismatch',
    known === undefined ? `${name} is not what this host wrote` : `${name} was written as another object`,
    { hint: 'The object is damaged or was changed; only the private key tells more.' },
  );
}

async function encrypt(key: RepositoryKey, kind: ObjectKind, name: string, plain: Uint8Array): Promise<Buffer> {
  const parts: Buffer[] = [];
  const stream = encryptStream(key, kind, name);
  await pipeline(
    Readable.from([Buffer.from(plain)]),
    stream as NodeJS.WritableStream & NodeJS.ReadableStream,
    async (source) => {
      for await (const part of source as AsyncIterable<Buffer>) parts.push(part);
    },
  );
  return Buffer.concat(parts);
}

/**
 * Decrypts a whole object and hands out its bytes only after the message has ended well and its context is the expected one.
 * With `overwrite` they take the place of `stored`, which spares an object's size of memory.
 * @throws HoldfastError IntegrityMismatch naming the object; PrivateKeyNeeded where there is the public key alone.
 */
export async function openBytes(
  key: RepositoryKey | undefined,
  kind: ObjectKind,
  name: string,
  stored: Uint8Array,
  overwrite = false,
): Promise<Buffer> {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  if (!key) return bytes;
  if (!canRead(key)) {
    const own = await readOwn(key, stored);
    if (own) return own;
    throw privateKeyNeeded(name);
  }
  const expected = contextOf(key.repository, kind, name);
  const whole = messageLength(stored) === stored.length;
  // What is decrypted is always shorter, and each frame behind its plain text. Parts and their concatenation would take twice the memory.
  const plain = overwrite ? bytes : Buffer.allocUnsafeSlow(stored.length);
  let length = 0;
  let context: Record<string, string> | undefined;
  try {
    const stream = client().decryptStream(keyringOf(key), { maxBodySize: frameLength });
    stream.once('MessageHeader', (header: { encryptionContext: Record<string, string> }) => {
      context = { ...header.encryptionContext };
    });
    await pipeline(Readable.from(pieces(bytes)), stream, async (source) => {
      const garbage = new YoungGarbage();
      for await (const part of source as AsyncIterable<Buffer>) {
        length += part.copy(plain, length);
        garbage.add(part.length);
      }
    });
  } catch (error) {
    throw new HoldfastError('IntegrityMismatch', `${name} cannot be decrypted: ${sdkReason(error)}`, {
      cause: error,
      hint: 'The object is damaged, was changed, or belongs to another repository.',
    });
  }
  if (!context || !sameContext(context, expected)) {
    throw new HoldfastError('IntegrityMismatch', `${name} was written as another object`, {
      hint: 'Somebody renamed, swapped or copied it here; restore it from another destination.',
    });
  }
  if (!whole) {
    throw new HoldfastError('IntegrityMismatch', `${name} has something behind its end`, {
      hint: 'The object is damaged or was changed; restore it from another destination.',
    });
  }
  return plain.subarray(0, length);
}

const privateKeyNeeded = (name: string): HoldfastError =>
  new HoldfastError('PrivateKeyNeeded', `${name} can only be read with the private key`, {
    key: 'encryption.privateKey',
    hint: 'Give --identity FILE, or set encryption.privateKey, on a machine that may read the backups.',
  });

/**
 * Decrypts a file into another. What is decrypted before damage shows stays in `target`, each frame of it authentic.
 * @returns what is wrong; undefined when the message ended well and was written as what it is said to be.
 * @throws HoldfastError PrivateKeyNeeded.
 */
export async function openFile(
  key: RepositoryKey | undefined,
  kind: ObjectKind,
  name: string,
  source: string,
  target: string,
): Promise<string | undefined> {
  if (!key) return 'it is neither compressed nor encrypted as ours are';
  if (!canRead(key)) throw privateKeyNeeded(name);
  const expected = contextOf(key.repository, kind, name);
  const stream = client().decryptStream(keyringOf(key), { maxBodySize: frameLength });
  let problem: string | undefined;
  stream.once('MessageHeader', (header: { encryptionContext: Record<string, string> }) => {
    if (!sameContext({ ...header.encryptionContext }, expected)) problem = 'it was written as another object';
  });
  try {
    await pipeline(
      createReadStream(source, { highWaterMark: frameLength }),
      stream,
      createWriteStream(target, { mode: 0o600, highWaterMark: frameLength }),
    );
  } catch (error) {
    if (errnoOf(error) !== undefined) throw error;
    problem ??= `it cannot be decrypted: ${sdkReason(error)}`;
  }
  return problem;
}

function* pieces(data: Buffer): Generator<Buffer> {
  // The SDK goes on using parts of the header.
  yield Buffer.from(data.subarray(0, headerPiece));
  for (let at = headerPiece; at < data.length; at += frameLength) yield data.subarray(at, at + frameLength);
}

function sameContext(actual: Record<string, string>, expected: Record<string, string>): boolean {
  const keys = Object.keys(actual);
  return keys.length === Object.keys(expected).length && keys.every((key) => actual[key] === expected[key]);
}

interface Sealed {
  /** Hex. */
  sha256: string;
  bytes: number;
}

/** Writes what comes from `input` to `target` in its stored form: encrypted, or as it is without a key. */
function sealInto(
  key: RepositoryKey | undefined,
  input: Readable,
  target: string,
): { done: Promise<Sealed>; output: Writable } {
  const hash = createHash('sha256');
  let bytes = 0;
  const meter = new Transform({
    transform(part: Buffer, _encoding, done) {
      hash.update(part);
      bytes += part.length;
      done(null, part);
    },
  });
  const output = createWriteStream(target, { mode: 0o600, highWaterMark: frameLength });
  const written = key
    ? pipeGently(input, encryptStream(key, 'pack', '') as NodeJS.WritableStream & NodeJS.ReadableStream, meter, output)
    : pipeline(input, meter, output);
  return { done: written.then(() => ({ sha256: hash.digest('hex'), bytes })), output };
}

/**
 * Writes the stored form of a pack: `source` encrypted (or copied) to `target`; the caller makes it durable.
 * Resolves to the SHA-256 and the length of the stored bytes.
 */
export function sealPack(key: RepositoryKey | undefined, source: string, target: string): Promise<Sealed> {
  return sealInto(key, createReadStream(source, { highWaterMark: frameLength }), target).done;
}

/**
 * As `sealPack`, of bytes in memory. It writes at once: through streams, its pieces would wait for whatever else is being written
 * and made durable. Memory it takes is garbage once it resolves.
 */
export async function sealPackBytes(
  key: RepositoryKey | undefined,
  plain: Uint8Array,
  target: string,
): Promise<Sealed> {
  const hash = createHash('sha256');
  const garbage = new YoungGarbage();
  let bytes = 0;
  const fd = openSync(target, 'w', 0o600);
  const take = (part: Uint8Array): void => {
    hash.update(part);
    for (let at = 0; at < part.length; ) at += writeSync(fd, part, at);
    bytes += part.length;
    garbage.add(part.length);
  };
  try {
    const parts = pieces(Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength));
    if (key) await encryptTo(key, Readable.from(parts), take);
    else for (const part of parts) take(part);
  } finally {
    closeSync(fd);
  }
  return { sha256: hash.digest('hex'), bytes };
}

/** Hands each piece of the encrypted pack to `take`. When that throws, the cipher is left alone, as in `pipeGently`. */
async function encryptTo(key: RepositoryKey, input: Readable, take: (part: Uint8Array) => void): Promise<void> {
  const cipher = encryptStream(key, 'pack', '') as NodeJS.WritableStream & NodeJS.ReadableStream;
  try {
    await new Promise<void>((resolve, reject) => {
      for (const stream of [input, cipher]) stream.on('error', reject);
      cipher.on('data', (part: Buffer) => {
        try {
          take(part);
        } catch (error) {
          cipher.removeAllListeners('data');
          input.unpipe();
          reject(error);
        }
      });
      cipher.on('end', resolve);
      input.pipe(cipher);
    });
  } finally {
    input.destroy();
  }
}

/** A stored form that is written piece by piece. */
export interface SealingFile {
  /** Resolves when there is room for more. */
  write(bytes: Uint8Array): Promise<void>;
  /** All is written; the caller makes it durable. SHA-256 (hex) and length of the stored bytes. */
  end(): Promise<Sealed>;
  /** Gives up; nothing is promised of the file. */
  abandon(): void;
}

/** Writes the stored form of a pack to `target` as it comes: encrypted, or as it is without a key. */
export function sealingFile(key: RepositoryKey | undefined, target: string): SealingFile {
  const input = new PassThrough({ highWaterMark: frameLength });
  const { done, output } = sealInto(key, input, target);
  // Told to whoever writes or ends.
  done.catch(() => undefined);
  return {
    async write(piece) {
      // A copy: the writer may use its memory again.
      if (input.write(Buffer.from(piece))) return;
      await Promise.race([once(input, 'drain'), done]);
    },
    async end() {
      input.end();
      return done;
    },
    abandon() {
      input.destroy();
      output.destroy();
    },
  };
}

/** As `pipeline`, but leaves the cipher alone when another fails: destroyed half-way, the SDK's streams throw out of the blue. */
async function pipeGently(
  input: Readable,
  cipher: NodeJS.WritableStream & NodeJS.ReadableStream,
  meter: Transform,
  output: Writable,
): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      const streams: NodeJS.EventEmitter[] = [input, cipher, meter, output];
      for (const stream of streams) stream.on('error', reject);
      output.once('close', resolve);
      input.pipe(cipher).pipe(meter).pipe(output);
    });
  } finally {
    input.destroy();
    output.destroy();
  }
}

/** In words for people, where the SDK has none. */
function sdkReason(error: unknown): string {
  const reason = error instanceof Error ? error.message : String(error);
  return reason.includes('unencryptedDataKey has not been set')
    ? 'its data key is damaged, or it is from another repository'
    : reason;
}
