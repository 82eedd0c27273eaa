import type { ArchiveSink, Member } from './member.js';

/** From here on both sizes are written with 64 bits: what deflate and AES add never crosses 4 GiB unannounced. */
const zip64From = 0xf0000000;
const kinds = { dir: 0o040000, file: 0o100000, symlink: 0o120000 } as const;

/**
 * Writes members as a zip file: Unix modes, owners and times, symlinks as Info-ZIP writes them, UTF-8 names, Zip64 where it
 * takes that. With a password the content is encrypted with AES-256 (WinZip's AE-2); names, sizes and times are not.
 */
export async function writeZip(
  members: AsyncIterable<Member>,
  sink: ArchiveSink,
  password: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { configure, ZipWriter } = await import('@zip.js/zip.js');
  configure({ useWebWorkers: false });
  const zip = new ZipWriter(new WritableStream<Uint8Array>({ write: (bytes) => sink.write(bytes) }), {
    level: 6,
    signal,
    ...(password === undefined ? {} : { password, encryptionStrength: 3 }),
  });
  for await (const member of members) {
    const { entry, size } = member;
    const name = member.name.toString();
    const kind = entry.type === 'dir' || entry.type === 'symlink' ? entry.type : 'file';
    const options = {
      unixMode: kinds[kind] | (entry.mode & 0o7777),
      unixExtraFieldType: 'infozip',
      uid: entry.uid,
      gid: entry.gid,
      lastModDate: new Date(Number(BigInt(entry.mtime) / 1_000_000n)),
    } as const;
    if (kind === 'dir') {
      await zip.add(`${name}/`, undefined, { ...options, directory: true });
      continue;
    }
    await zip.add(name, toStream(kind === 'symlink' ? linkContent(member) : member.content()), {
      ...options,
      uncompressedSize: kind === 'symlink' ? linkBytes(member).length : size,
      ...(size >= zip64From ? { zip64: true } : {}),
    });
  }
  await zip.close();
}

const linkBytes = ({ entry }: Member): Buffer =>
  entry.target64 === undefined ? Buffer.from(entry.target ?? '') : Buffer.from(entry.target64, 'base64');

async function* linkContent(member: Member): AsyncGenerator<Buffer> {
  yield linkBytes(member);
}

function toStream(content: AsyncIterable<Buffer>): ReadableStream<Uint8Array> {
  const parts = content[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await parts.next();
        if (done) controller.close();
        // A copy: the consumer may take its memory over, and this piece may be part of a pack that is still needed.
        else controller.enqueue(new Uint8Array(value));
      },
    },
    { highWaterMark: 0 },
  );
}
