import { HoldfastError } from '../../errors.js';
import type { Cutter } from './cutter.js';

const block = 512;
/** No extended header of ours is longer: a path, a link's target and extended attributes. */
const maxHeader = 16 * 1024 * 1024;

/**
 * Feeds the contents of a tar archive's regular files, one behind the other, to the cutter. Names are not even looked at.
 * @throws HoldfastError IntegrityMismatch where it is no tar archive, or ends early.
 */
export async function feedTar(source: AsyncIterable<Buffer>, cutter: Cutter, tick: () => void): Promise<void> {
  const input = new Pieces(source);
  let position = 0;
  let paxSize: number | undefined;
  while (!cutter.done) {
    const header = await input.take(block);
    if (header.every((byte) => byte === 0)) return;
    const flag = String.fromCharCode(header[156] ?? 0);
    const stated = Number.parseInt(header.toString('latin1', 124, 136), 8);
    if (header.toString('latin1', 257, 262) !== 'ustar' || !Number.isSafeInteger(stated) || stated < 0)
      throw new HoldfastError('IntegrityMismatch', 'it is no tar archive of ours');
    if (flag === 'x') {
      if (stated > maxHeader) throw new HoldfastError('IntegrityMismatch', 'an extended header is too long');
      paxSize = sizeIn(await input.take(stated));
      await input.skip(padding(stated));
      continue;
    }
    const size = paxSize ?? stated;
    paxSize = undefined;
    for (let left = size; left > 0; ) {
      tick();
      const piece = await input.some(left);
      if (flag === '0') await cutter.feed(position + size - left, piece);
      left -= piece.length;
    }
    if (flag === '0') position += size;
    await input.skip(padding(size));
  }
}

const padding = (size: number): number => (block - (size % block)) % block;

/** The size that an extended header states, if any: `LENGTH key=value\n`. */
function sizeIn(records: Buffer): number | undefined {
  let size: number | undefined;
  for (let at = 0; at < records.length; ) {
    const space = records.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(records.toString('latin1', at, space));
    if (!Number.isSafeInteger(length) || length < space - at + 3 || at + length > records.length)
      throw new HoldfastError('IntegrityMismatch', 'an extended header is damaged');
    const record = records.toString('latin1', space + 1, at + length - 1);
    if (record.startsWith('size=')) size = Number(record.slice(5));
    at += length;
  }
  if (size !== undefined && (!Number.isSafeInteger(size) || size < 0))
    throw new HoldfastError('IntegrityMismatch', 'an extended header is damaged');
  return size;
}

/** Takes what it is asked for out of pieces of any length. */
class Pieces {
  private readonly source: AsyncIterator<Buffer>;
  private rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.source = source[Symbol.asyncIterator]();
  }

  /** Between 1 and `most` bytes. */
  async some(most: number): Promise<Buffer> {
    while (this.rest.length === 0) {
      const { value, done } = await this.source.next();
      if (done === true) throw new HoldfastError('IntegrityMismatch', 'it ends early');
      this.rest = value;
    }
    const piece = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(piece.length);
    return piece;
  }

  async take(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let left = length; left > 0; ) {
      const piece = await this.some(left);
      parts.push(piece);
      left -= piece.length;
    }
    return Buffer.concat(parts, length);
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) left -= (await this.some(left)).length;
  }
}
