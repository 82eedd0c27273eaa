import zlib from 'node:zlib';

// Node has it from 20.15 and 22.2 on.
const native: ((data: Uint8Array, value?: number) => number) | undefined =
  'crc32' in zlib ? (zlib.crc32 as (data: Uint8Array, value?: number) => number) : undefined;

let table: Uint32Array | undefined;

function makeTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value;
  });
}

/** CRC-32 of `data`, going on from `value`. */
export function crc32(data: Uint8Array, value = 0, own = native === undefined): number {
  if (native !== undefined && !own) return native(data, value);
  table ??= makeTable();
  let crc = ~value;
  for (const byte of data) crc = (table[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
}
