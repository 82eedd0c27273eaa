import { createHash, type Hash } from 'node:crypto';

const blockSize = 4 * 1024 * 1024;

/** Dropbox's content hash: the SHA-256 of the SHA-256s of blocks of 4 MiB. */
export class ContentHash {
  private readonly total = createHash('sha256');
  private block: Hash = createHash('sha256');
  private filled = 0;

  update(bytes: Uint8Array): this {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + blockSize - this.filled);
      this.block.update(part);
      this.filled += part.length;
      at += part.length;
      if (this.filled === blockSize) this.closeBlock();
    }
    return this;
  }

  /** Hex; call once. */
  digest(): string {
    if (this.filled > 0) this.closeBlock();
    return this.total.digest('hex');
  }

  private closeBlock(): void {
    this.total.update(this.block.digest());
    this.block = createHash('sha256');
    this.filled = 0;
  }
}
