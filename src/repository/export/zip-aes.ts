import { type Cipher, createCipheriv, createHmac, type Hmac, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(pbkdf2);
const saltBytes = 16;
const keyBytes = 32;
const verifierBytes = 2;
const macBytes = 10;
const blockBytes = 16;
const pieceBlocks = 4096;

/** What the encryption adds to a member's content. */
export const aesOverhead = saltBytes + verifierBytes + macBytes;

/** Encrypts one member's content as WinZip does (AE-2, AES-256): salt and verifier, content in counter mode, HMAC-SHA1. */
export class ZipAes {
  private counter = 0;
  private key: Buffer = Buffer.alloc(0);
  private used = pieceBlocks * blockBytes;

  private constructor(
    /** Comes before the content. */
    readonly head: Buffer,
    private readonly cipher: Cipher,
    private readonly mac: Hmac,
  ) {}

  static async begin(password: string): Promise<ZipAes> {
    const salt = randomBytes(saltBytes);
    const keys = await derive(password, salt, 1000, 2 * keyBytes + verifierBytes, 'sha1');
    const cipher = createCipheriv('aes-256-ecb', keys.subarray(0, keyBytes), null).setAutoPadding(false);
    const mac = createHmac('sha1', keys.subarray(keyBytes, 2 * keyBytes));
    return new ZipAes(Buffer.concat([salt, keys.subarray(2 * keyBytes)]), cipher, mac);
  }

  update(plain: Uint8Array): Buffer {
    const out = Buffer.allocUnsafe(plain.length);
    for (let at = 0; at < plain.length; ) {
      if (this.used >= this.key.length) this.more(plain.length - at);
      const count = Math.min(plain.length - at, this.key.length - this.used);
      for (let i = 0; i < count; i++) out[at + i] = (plain[at + i] ?? 0) ^ (this.key[this.used + i] ?? 0);
      at += count;
      this.used += count;
    }
    this.mac.update(out);
    return out;
  }

  /** Comes behind the content. */
  end(): Buffer {
    return this.mac.digest().subarray(0, macBytes);
  }

  /** The next stretch of the key stream: the counter begins with 1 and, unlike that of Node's own mode, is little-endian. */
  private more(bytes: number): void {
    const blocks = Math.min(pieceBlocks, Math.ceil(bytes / blockBytes));
    const counters = Buffer.alloc(blocks * blockBytes);
    for (let block = 0; block < blocks; block++) {
      this.counter++;
      counters.writeUInt32LE(this.counter % 2 ** 32, block * blockBytes);
      counters.writeUInt32LE(Math.floor(this.counter / 2 ** 32), block * blockBytes + 4);
    }
    this.key = this.cipher.update(counters);
    this.used = 0;
  }
}
