import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createDeflateRaw, deflateRaw } from 'node:zlib';
import { HoldfastError } from '../../errors.js';
import { crc32 } from './crc32.js';
import type { ArchiveSink, Member } from './member.js';
import { aesOverhead, ZipAes } from './zip-aes.js';
import { ZipDirectory } from './zip-directory.js';
import { dataDescriptor, directoryRecord, endRecords, localHeader, type ZipMember } from './zip-records.js';

/** From here on both sizes are written with 64 bits: what deflate and AES add never crosses 4 GiB unannounced. */
const zip64From = 0xf0000000;
/** Up to here a member is compressed in memory, so that its sizes come first, as the oldest programs want them. */
const wholeLimit = 1 << 20;
const nameLimit = 0xffff;
const level = 6;
const kinds = { dir: 0o040000, file: 0o100000, symlink: 0o120000 } as const;
const deflate = promisify(deflateRaw);

export interface ZipOptions {
  sink: ArchiveSink;
  /** Encrypts contents with AES-256 (WinZip's AE-2); names, sizes and times are not. */
  password?: string | undefined;
  /** A folder for what has to wait for the end: some 200 bytes for each member. */
  scratch: string;
  signal: AbortSignal;
}

/**
 * Writes members as a zip file: Unix modes, owners and times, symlinks as Info-ZIP writes them, UTF-8 names, Zip64 where it
 * takes that. Takes the same memory however many there are.
 */
export async function writeZip(members: AsyncIterable<Member>, options: ZipOptions): Promise<void> {
  const directory = new ZipDirectory(options.scratch);
  try {
    const writer = new ZipWriter(options, directory);
    for await (const member of members) {
      options.signal.throwIfAborted();
      await writer.add(member);
    }
    await writer.end();
  } finally {
    await directory.close();
  }
}

class ZipWriter {
  private offset = 0;

  constructor(
    private readonly options: ZipOptions,
    private readonly directory: ZipDirectory,
  ) {}

  async add(member: Member): Promise<void> {
    const { entry } = member;
    const kind = entry.type === 'dir' || entry.type === 'symlink' ? entry.type : 'file';
    const name = Buffer.from(kind === 'dir' ? `${member.name.toString()}/` : member.name.toString());
    if (name.length > nameLimit)
      throw new HoldfastError('Internal', `a zip file cannot hold a name of ${name.length} bytes`);
    const size = kind === 'file' ? member.size : kind === 'symlink' ? linkOf(member).length : 0;
    const zip: ZipMember = {
      name,
      entry,
      unixMode: kinds[kind] | (entry.mode & 0o7777),
      method: size > 0 ? 'deflated' : 'stored',
      encrypted: kind !== 'dir' && this.options.password !== undefined,
      large: size >= zip64From,
      streamed: size > wholeLimit,
      crc: 0,
      size: 0,
      packed: 0,
      offset: this.offset,
    };
    if (zip.streamed) await this.streamed(zip, member);
    else await this.whole(zip, kind === 'symlink' ? linkOf(member) : kind === 'file' ? await contentOf(member) : none);
    if (zip.size !== size)
      throw new HoldfastError('Internal', `${name.toString()} has ${zip.size} bytes instead of ${size}`);
    await this.directory.add(directoryRecord(zip));
  }

  async end(): Promise<void> {
    const { offset } = this;
    const { entries, bytes } = this.directory;
    await this.directory.writeTo(this.options.sink);
    await this.options.sink.write(endRecords(entries, bytes, offset));
  }

  private async whole(zip: ZipMember, content: Buffer): Promise<void> {
    const packed = zip.method === 'deflated' ? await deflate(content, { level }) : content;
    const aes = await this.aesFor(zip);
    zip.crc = crc32(content);
    zip.size = content.length;
    zip.packed = packed.length + (aes ? aesOverhead : 0);
    const parts = aes ? [aes.head, aes.update(packed), aes.end()] : [packed];
    await this.write(Buffer.concat([localHeader(zip), ...parts]));
  }

  private async streamed(zip: ZipMember, member: Member): Promise<void> {
    const aes = await this.aesFor(zip);
    await this.write(localHeader(zip));
    const begin = this.offset;
    if (aes) await this.write(aes.head);
    const counted = async function* (): AsyncGenerator<Buffer> {
      for await (const piece of member.content()) {
        zip.crc = crc32(piece, zip.crc);
        zip.size += piece.length;
        yield piece;
      }
    };
    // Leaving a stream early ends it with an error of its own, which may come first.
    let refused: unknown;
    const write = (bytes: Buffer): Promise<void> =>
      this.write(bytes).catch((error: unknown) => {
        refused = error;
        throw error;
      });
    await pipeline(
      Readable.from(counted(), { objectMode: true, highWaterMark: 1 }),
      createDeflateRaw({ level, chunkSize: 1 << 18 }),
      async (packed: AsyncIterable<Buffer>) => {
        for await (const piece of packed) await write(aes ? aes.update(piece) : piece);
      },
      { signal: this.options.signal },
    ).catch((error: unknown) => {
      throw refused ?? error;
    });
    if (aes) await this.write(aes.end());
    zip.packed = this.offset - begin;
    await this.write(dataDescriptor(zip));
  }

  private aesFor({ encrypted }: ZipMember): Promise<ZipAes> | undefined {
    const { password } = this.options;
    return encrypted && password !== undefined ? ZipAes.begin(password) : undefined;
  }

  private async write(bytes: Buffer): Promise<void> {
    await this.options.sink.write(bytes);
    this.offset += bytes.length;
  }
}

const none = Buffer.alloc(0);

async function contentOf(member: Member): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of member.content()) pieces.push(piece);
  return pieces.length === 1 ? (pieces[0] ?? none) : Buffer.concat(pieces);
}

const linkOf = ({ entry }: Member): Buffer =>
  entry.target64 === undefined ? Buffer.from(entry.target ?? '') : Buffer.from(entry.target64, 'base64');
