import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { compressStream } from '../codec.js';
import type { Entry, EntryType } from '../entry.js';
import type { ArchiveSink, Member } from './member.js';

const block = 512;
const padding = Buffer.alloc(block);
const flags: Readonly<Partial<Record<EntryType, string>>> = {
  file: '0',
  symlink: '2',
  char: '3',
  block: '4',
  dir: '5',
  fifo: '6',
};
const largest = { id: 0o7777777, size: 0o77777777777, time: 0o77777777777 };

/**
 * Writes members as a POSIX pax archive (IEEE Std 1003.1, pax Interchange Format), compressed. Each member has an extended
 * header with its exact mtime and with what a ustar header can't hold: names of any length and bytes, large numbers,
 * extended attributes (`SCHILY.xattr.`, as GNU tar, bsdtar and star write them).
 */
export async function writeTar(
  members: AsyncIterable<Member>,
  sink: ArchiveSink,
  type: 'gzip' | 'zstd',
  signal: AbortSignal,
): Promise<void> {
  const compressor = compressStream({ type, level: type === 'gzip' ? 6 : 3 });
  await pipeline(
    Readable.from(tarBytes(members), { objectMode: false, highWaterMark: 1 << 20 }),
    compressor,
    async (compressed: AsyncIterable<Buffer>) => {
      for await (const bytes of compressed) await sink.write(bytes);
    },
    { signal },
  );
}

async function* tarBytes(members: AsyncIterable<Member>): AsyncGenerator<Buffer> {
  for await (const member of members) {
    const { entry, linkTo } = member;
    const name = Buffer.from(member.name);
    const path = entry.type === 'dir' ? Buffer.concat([name, Buffer.from('/')]) : name;
    const link = linkTo !== undefined ? Buffer.from(linkTo) : symlinkTarget(entry);
    const size = linkTo === undefined ? member.size : 0;
    const records = paxRecords(entry, path, link, size);
    yield header({ name: Buffer.from('PaxHeaders'), flag: 'x', size: records.length, mode: 0o644, mtime: 0 });
    yield records;
    yield pad(records.length);
    const device = entry.rdev === undefined ? undefined : deviceOf(entry.rdev);
    yield header({
      name: path,
      link,
      flag: linkTo === undefined ? (flags[entry.type] ?? '0') : '1',
      size,
      mode: entry.mode & 0o7777,
      mtime: Number(BigInt(entry.mtime) / 1_000_000_000n),
      uid: entry.uid,
      gid: entry.gid,
      user: entry.user,
      group: entry.group,
      device,
    });
    if (size > 0) {
      yield* member.content();
      yield pad(size);
    }
  }
  yield Buffer.alloc(2 * block);
}

const pad = (size: number): Buffer => padding.subarray(0, (block - (size % block)) % block);

function symlinkTarget(entry: Entry): Buffer | undefined {
  if (entry.type !== 'symlink') return undefined;
  return entry.target64 === undefined ? Buffer.from(entry.target ?? '') : Buffer.from(entry.target64, 'base64');
}

/** Linux's dev_t. */
function deviceOf(rdev: string): { major: number; minor: number } {
  const device = BigInt(rdev);
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn & 0xffffffffn)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
  };
}

function paxRecords(entry: Entry, path: Buffer, link: Buffer | undefined, size: number): Buffer {
  const records: Buffer[] = [record('mtime', Buffer.from(seconds(BigInt(entry.mtime))))];
  if (!fits(path, 100)) records.push(record('path', path));
  if (link !== undefined && !fits(link, 100)) records.push(record('linkpath', link));
  if (size > largest.size) records.push(record('size', Buffer.from(String(size))));
  if (entry.uid > largest.id) records.push(record('uid', Buffer.from(String(entry.uid))));
  if (entry.gid > largest.id) records.push(record('gid', Buffer.from(String(entry.gid))));
  for (const [key, value] of [
    ['uname', entry.user],
    ['gname', entry.group],
  ] as const) {
    if (value !== undefined && !fits(Buffer.from(value), 31)) records.push(record(key, Buffer.from(value)));
  }
  for (const [name, value64, encoding] of entry.xattrs ?? []) {
    // A record's key ends at its first `=`.
    if (encoding !== 'base64' && !name.includes('='))
      records.push(record(`SCHILY.xattr.${name}`, Buffer.from(value64, 'base64')));
  }
  return Buffer.concat(records);
}

/** `LENGTH key=value\n`, the length counting itself. */
function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function seconds(ns: bigint): string {
  const whole = ns < 0n ? -ns : ns;
  return `${ns < 0n ? '-' : ''}${whole / 1_000_000_000n}.${String(whole % 1_000_000_000n).padStart(9, '0')}`;
}

/** Whether a ustar field of so many bytes holds it as it is. */
const fits = (text: Buffer, bytes: number): boolean =>
  text.length <= bytes && text.every((byte) => byte >= 0x20 && byte < 0x7f);

interface UstarHeader {
  name: Buffer;
  link?: Buffer | undefined;
  flag: string;
  size: number;
  mode: number;
  /** Seconds. */
  mtime: number;
  uid?: number;
  gid?: number;
  user?: string | undefined;
  group?: string | undefined;
  device?: { major: number; minor: number } | undefined;
}

/** A ustar header; what does not fit is cut, and the extended header before it says it whole. */
function header({ name, link, flag, size, mode, mtime, uid, gid, user, group, device }: UstarHeader): Buffer {
  const out = Buffer.alloc(block);
  const octal = (value: number, at: number, digits: number): void => {
    out.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  };
  const id = (value: number | undefined): number => ((value ?? 0) > largest.id ? 0 : (value ?? 0));
  name.copy(out, 0, 0, 100);
  octal(mode, 100, 7);
  octal(id(uid), 108, 7);
  octal(id(gid), 116, 7);
  octal(size > largest.size ? 0 : size, 124, 11);
  octal(Math.min(Math.max(mtime, 0), largest.time), 136, 11);
  out.write('        ', 148, 'latin1');
  out.write(flag, 156, 'latin1');
  link?.copy(out, 157, 0, 100);
  out.write('ustar\u000000', 257, 'latin1');
  Buffer.from(user ?? '').copy(out, 265, 0, 31);
  Buffer.from(group ?? '').copy(out, 297, 0, 31);
  octal(Math.min(device?.major ?? 0, largest.id), 329, 7);
  octal(Math.min(device?.minor ?? 0, largest.id), 337, 7);
  let sum = 0;
  for (const byte of out) sum += byte;
  out.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return out;
}
