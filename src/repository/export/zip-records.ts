import type { Entry } from '../entry.js';

/** What a zip file says of a member, in front of its content and in the directory at the end. */
export interface ZipMember {
  name: Buffer;
  entry: Entry;
  unixMode: number;
  method: 'stored' | 'deflated';
  encrypted: boolean;
  /** Sizes with 64 bits, also in what follows the content. */
  large: boolean;
  /** Sizes and checksum follow the content. */
  streamed: boolean;
  crc: number;
  size: number;
  /** What is in the archive of it. */
  packed: number;
  offset: number;
}

const max16 = 0xffff;
const max32 = 0xffffffff;
const methods = { stored: 0, deflated: 8 } as const;
const aesMethod = 99;
const [utf8Flag, streamedFlag, encryptedFlag] = [0x800, 0x8, 0x1];
const madeByUnix = 3 << 8;

/** A record of little-endian numbers, each with its width in bytes. */
function record(...fields: (readonly [bytes: 1 | 2 | 4 | 8, value: number | bigint] | Buffer)[]): Buffer {
  const parts = fields.map((field) => {
    if (Buffer.isBuffer(field)) return field;
    const [bytes, value] = field;
    const part = Buffer.alloc(bytes);
    if (bytes === 8) part.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
    else part.writeUIntLE(Number(value) % 2 ** (8 * bytes), 0, bytes);
    return part;
  });
  return Buffer.concat(parts);
}

const extra = (id: number, content: Buffer): Buffer => record([2, id], [2, content.length], content);

const versionNeeded = ({ encrypted, large }: ZipMember, isLarge = large): number =>
  encrypted ? 51 : isLarge ? 45 : 20;

const flagsOf = ({ encrypted, streamed }: ZipMember): number =>
  utf8Flag | (streamed ? streamedFlag : 0) | (encrypted ? encryptedFlag : 0);

const methodOf = ({ encrypted, method }: ZipMember): number => (encrypted ? aesMethod : methods[method]);

// AE-2 authenticates the content, and leaves the checksum out.
const crcOf = ({ encrypted, crc }: ZipMember): number => (encrypted ? 0 : crc);

/** DOS date and time, in the local time as all programs take it; two seconds is all they tell. */
function dosTime(entry: Entry): Buffer {
  const at = new Date(Number(BigInt(entry.mtime) / 1_000_000n));
  const year = at.getFullYear();
  if (!(year >= 1980)) return record([2, 0], [2, (1 << 5) | 1]);
  if (year > 2107) return record([2, 0xbf7d], [2, 0xff9f]);
  const time = (at.getHours() << 11) | (at.getMinutes() << 5) | (at.getSeconds() >> 1);
  return record([2, time], [2, ((year - 1980) << 9) | ((at.getMonth() + 1) << 5) | at.getDate()]);
}

/** Times, owner and what AES takes: the same at both places. */
function commonExtras({ entry, encrypted, method }: ZipMember): Buffer {
  const mtime = BigInt(entry.mtime);
  const seconds = mtime / 1_000_000_000n - (mtime % 1_000_000_000n < 0n ? 1n : 0n);
  const fields: Buffer[] = [];
  if (encrypted) fields.push(extra(0x9901, record([2, 2], Buffer.from('AE'), [1, 3], [2, methods[method]])));
  // Seconds with 32 bits, signed; and, as Windows counts, 100 ns since 1601.
  if (seconds >= -(2n ** 31n) && seconds < 2n ** 31n)
    fields.push(extra(0x5455, record([1, 1], [4, BigInt.asUintN(32, seconds)])));
  const ticks = mtime / 100n + 116_444_736_000_000_000n;
  if (ticks > 0n) fields.push(extra(0x000a, record([4, 0], [2, 1], [2, 24], [8, ticks], [8, ticks], [8, ticks])));
  fields.push(extra(0x7875, record([1, 1], [1, 4], [4, entry.uid], [1, 4], [4, entry.gid])));
  return Buffer.concat(fields);
}

/** What comes in front of a member's content. */
export function localHeader(member: ZipMember): Buffer {
  const { name, large, streamed, size, packed } = member;
  const known = streamed ? { size: 0, packed: 0 } : { size, packed };
  const extras = Buffer.concat([
    ...(large ? [extra(1, record([8, known.size], [8, known.packed]))] : []),
    commonExtras(member),
  ]);
  return record(
    [4, 0x04034b50],
    [2, versionNeeded(member)],
    [2, flagsOf(member)],
    [2, methodOf(member)],
    dosTime(member.entry),
    [4, streamed ? 0 : crcOf(member)],
    [4, large ? max32 : known.packed],
    [4, large ? max32 : known.size],
    [2, name.length],
    [2, extras.length],
    name,
    extras,
  );
}

/** What comes behind the content of a member whose sizes were not known before. */
export function dataDescriptor(member: ZipMember): Buffer {
  const bytes = member.large ? 8 : 4;
  return record([4, 0x08074b50], [4, crcOf(member)], [bytes, member.packed], [bytes, member.size]);
}

/** A member's record in the directory. */
export function directoryRecord(member: ZipMember): Buffer {
  const { name, size, packed, offset, unixMode, large } = member;
  // Which of them are there, in this order, their places in the record tell.
  const wide = [size, packed, offset].map((value) => value >= max32);
  const [wideSize, widePacked, wideOffset] = large ? [true, true, wide[2]] : wide;
  const isWide = large || wide.some(Boolean);
  const wideFields = Buffer.concat([
    ...(wideSize ? [record([8, size])] : []),
    ...(widePacked ? [record([8, packed])] : []),
    ...(wideOffset ? [record([8, offset])] : []),
  ]);
  const extras = Buffer.concat([...(isWide ? [extra(1, wideFields)] : []), commonExtras(member)]);
  const isDirectory = (unixMode & 0o170000) === 0o040000;
  return record(
    [4, 0x02014b50],
    [2, madeByUnix | 45],
    [2, versionNeeded(member, isWide)],
    [2, flagsOf(member)],
    [2, methodOf(member)],
    dosTime(member.entry),
    [4, crcOf(member)],
    [4, widePacked ? max32 : packed],
    [4, wideSize ? max32 : size],
    [2, name.length],
    [2, extras.length],
    [2, 0],
    [2, 0],
    [2, 0],
    [4, BigInt(unixMode) * 65536n + (isDirectory ? 16n : 0n)],
    [4, wideOffset ? max32 : offset],
    name,
    extras,
  );
}

/** What ends a zip file whose directory of so many records lies there. */
export function endRecords(entries: number, bytes: number, offset: number): Buffer {
  const isWide = entries >= max16 || bytes >= max32 || offset >= max32;
  const wide = record(
    [4, 0x06064b50],
    [8, 44],
    [2, madeByUnix | 45],
    [2, 45],
    [4, 0],
    [4, 0],
    [8, entries],
    [8, entries],
    [8, bytes],
    [8, offset],
    [4, 0x07064b50],
    [4, 0],
    [8, offset + bytes],
    [4, 1],
  );
  const count = Math.min(entries, max16);
  const end = record(
    [4, 0x06054b50],
    [2, 0],
    [2, 0],
    [2, count],
    [2, count],
    [4, Math.min(bytes, max32)],
    [4, Math.min(offset, max32)],
    [2, 0],
  );
  return isWide ? Buffer.concat([wide, end]) : end;
}
