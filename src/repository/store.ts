import type { Destination, ObjectInfo } from '../destinations/destination.js';
import { HoldfastError } from '../errors.js';
import { type Codec, compress, decompress, detectCodec } from './codec.js';
import { type KeyFile, keyFileBytes, keyFileLimit, parseKeyFile } from './keys.js';
import { keyFileName, packName, repositoryPrefix } from './layout.js';
import { keepName } from './own-objects.js';
import { canRead, checkSealed, type ObjectKind, openBytes, type RepositoryKey, sealBytes } from './seal.js';

// Mostly hashes, of which a higher level makes no less.
const metaCodec: Codec = { type: 'zstd', level: 1 };

/** One job's repository at one destination: object names below it instead of the destination's keys. */
export class Store {
  readonly prefix: string;

  constructor(
    readonly destination: Destination,
    host: string,
    job: string,
  ) {
    this.prefix = repositoryPrefix(host, job);
  }

  get name(): string {
    return this.destination.name;
  }

  key(name: string): string {
    return this.prefix + name;
  }

  /** Every object below the repository, or below `folder` in it, with names relative to the repository. */
  async *list(folder = '', signal?: AbortSignal): AsyncGenerator<{ name: string; size: number; modified: Date }> {
    for await (const info of this.destination.list(this.key(folder), signal)) {
      yield { name: info.key.slice(this.prefix.length), size: info.size, modified: info.modified };
    }
  }

  stat(name: string, signal?: AbortSignal): Promise<ObjectInfo | undefined> {
    return this.destination.stat(this.key(name), signal);
  }

  /** The repository's key file, or undefined where there is no repository. */
  async keyFile(signal?: AbortSignal): Promise<KeyFile | undefined> {
    let data: Buffer;
    try {
      data = await this.destination.read(this.key(keyFileName), { maxBytes: keyFileLimit, signal });
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ObjectMissing') return undefined;
      throw error;
    }
    return parseKeyFile(data, `${this.name}: ${this.key(keyFileName)}`);
  }

  /** Creates the key file unless there is one; resolves to the one that is there afterwards. */
  async createKeyFile(file: KeyFile, signal?: AbortSignal): Promise<KeyFile> {
    try {
      await this.destination.put(this.key(keyFileName), { bytes: keyFileBytes(file) }, { exclusive: true, signal });
      return file;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== 'ObjectExists') throw error;
    }
    const there = await this.keyFile(signal);
    if (!there)
      throw new HoldfastError(
        'DestinationFailed',
        `${this.name}: ${this.key(keyFileName)} is gone right after it was written`,
      );
    return there;
  }

  /** Reads an index, root or deletion record: decrypted, checked against its name, decompressed. */
  async readMeta(
    key: RepositoryKey | undefined,
    kind: ObjectKind,
    name: string,
    maxBytes: number,
    signal?: AbortSignal,
  ): Promise<Buffer> {
    const stored = await this.readBytes(name, maxBytes, signal);
    return this.named(name, async () => {
      const plain = this.plainOf(await openBytes(key, kind, name, stored), name, maxBytes);
      // For the time when only the public key is there.
      if (key !== undefined && 'publicKey' in key && kind !== 'pack') await keepName(key, stored, name);
      return plain;
    });
  }

  /**
   * The stored bytes of an index, root, pin or deletion record, known to be whole, to be passed on as they are. With the public key
   * alone they are compared with what was written.
   */
  async readStored(
    key: RepositoryKey | undefined,
    kind: ObjectKind,
    name: string,
    maxBytes: number,
    signal?: AbortSignal,
  ): Promise<Buffer> {
    const stored = await this.readBytes(name, maxBytes, signal);
    return this.named(name, async () => {
      if (key !== undefined && !canRead(key)) await checkSealed(key, name, stored);
      else this.plainOf(await openBytes(key, kind, name, stored), name, maxBytes);
      return stored;
    });
  }

  private readBytes(name: string, maxBytes: number, signal?: AbortSignal): Promise<Buffer> {
    return this.destination.read(this.key(name), { maxBytes: maxBytes + (maxBytes >> 3) + 65536, signal });
  }

  private plainOf(compressed: Buffer, name: string, maxBytes: number): Buffer {
    const where = `${this.name}: ${this.key(name)}`;
    if (detectCodec(compressed) !== 'zstd') throw new HoldfastError('IntegrityMismatch', `${where} is not zstd`);
    return decompress(compressed, maxBytes, where);
  }

  /** What is wrong with an object names it and the destination. */
  private async named<T>(name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof HoldfastError && !error.message.includes(this.key(name))) {
        throw new HoldfastError(error.code, `${this.name}: ${this.prefix}${error.message}`, {
          hint: error.hint,
          cause: error,
        });
      }
      throw error;
    }
  }

  /** Stores a finished pack from a local file. */
  async putPack(
    sha256: string,
    file: string,
    options: { signal?: AbortSignal; onProgress?: (bytes: number) => void },
    /** Where it goes, for a pack that has a name of its own. */
    object = packName(sha256),
  ): Promise<void> {
    await this.destination.put(this.key(object), { file }, { sha256, retain: true, ...options });
  }
}

/** The stored form of an index, root or deletion record: compressed, then encrypted. */
export function sealMeta(
  key: RepositoryKey | undefined,
  kind: ObjectKind,
  name: string,
  plain: Uint8Array,
): Promise<Buffer> {
  return sealBytes(key, kind, name, compress(plain, metaCodec, true));
}
