import { createRequire } from 'node:module';
import type { Transform } from 'node:stream';
import zlib from 'node:zlib';
import { HoldfastError } from '../errors.js';

export type CodecType = 'zstd' | 'gzip' | 'none';
export interface Codec {
  type: CodecType;
  level: number;
}

/**
 * What makes a zstd level of ours, where zstd's own does not suit packs: a window that spans the pack, so that what a file shares with
 * one far from it is found, pays for the cheaper search below. Level 3 is a quarter faster than zstd's own and its packs are smaller.
 */
interface ZstdSearch {
  windowLog: number;
  /** zstd's strategy, 1: fast. */
  strategy?: number;
  hashLog?: number;
  minMatch?: number;
}

/** As long as a pack. */
const windowLog = 25;

function searchOf(level: number): ZstdSearch {
  if (level < 1 || level > 3) return { windowLog };
  return { windowLog, strategy: 1, hashLog: 14 + level, minMatch: 7 };
}

interface ZstdZlib {
  zstdCompressSync(
    data: Uint8Array,
    options: { params: Record<number, number>; pledgedSrcSize?: number; chunkSize?: number },
  ): Buffer;
  zstdDecompressSync(data: Uint8Array, options: { maxOutputLength: number }): Buffer;
  createZstdDecompress(): Transform;
  createZstdCompress(options: { params: Record<number, number> }): Transform;
  constants: Record<
    | 'ZSTD_c_compressionLevel'
    | 'ZSTD_c_checksumFlag'
    | 'ZSTD_c_windowLog'
    | 'ZSTD_c_strategy'
    | 'ZSTD_c_hashLog'
    | 'ZSTD_c_minMatch',
    number
  >;
}
interface ZstdNapi {
  compress(data: Uint8Array, params: { compressionLevel: number; checksumFlag?: boolean }): Buffer;
  CompressStream: new (params: { compressionLevel: number; checksumFlag: boolean }) => Transform;
  DecompressStream: new () => Transform;
}
interface ZstdBinding {
  CCtx: new () => {
    setParameter(parameter: number, value: number): void;
    compress2(dst: Uint8Array, src: Uint8Array): number;
  };
  CParameter: Record<'compressionLevel' | keyof ZstdSearch, number>;
  compressBound(size: number): number;
  DCtx: new () => { decompressStream(dst: Uint8Array, src: Uint8Array): [number, number, number] };
  getFrameContentSize(data: Uint8Array): number | null;
}

const pieceBytes = 1 << 20;
const require = createRequire(import.meta.url);
const hasNodeZstd = 'zstdCompressSync' in zlib;
const nodeZstd = (): ZstdZlib => zlib as typeof zlib & ZstdZlib;
let napi: ZstdNapi | undefined;
let binding: ZstdBinding | undefined;

function zstdNapi(): ZstdNapi {
  napi ??= require('zstd-napi') as ZstdNapi;
  return napi;
}
/** Node's own zstd has no memory to be used again; where it is there, though, zstd-napi need not be. */
function hasBinding(): boolean {
  if (!hasNodeZstd || binding !== undefined) return true;
  if (bindingMissing) return false;
  try {
    zstdBinding();
  } catch {
    bindingMissing = true;
  }
  return !bindingMissing;
}
let bindingMissing = false;

function zstdBinding(): ZstdBinding {
  binding ??= require('zstd-napi/binding') as ZstdBinding;
  return binding;
}

/**
 * Compresses `data` as one frame. `none` returns the data itself. With `checksum` a zstd frame ends with one, as gzip's always do:
 * for what no hash is known of.
 */
export function compress(data: Uint8Array, codec: Codec, checksum = false): Uint8Array {
  if (codec.type === 'none') return data;
  if (codec.type === 'gzip') return zlib.gzipSync(data, { level: Math.min(codec.level, 9) });
  if (hasNodeZstd) {
    const z = nodeZstd();
    return z.zstdCompressSync(data, {
      params: {
        [z.constants.ZSTD_c_compressionLevel]: codec.level,
        [z.constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0,
      },
      pledgedSrcSize: data.length,
      chunkSize: pieceBytes,
    });
  }
  return zstdNapi().compress(data, { compressionLevel: codec.level, checksumFlag: checksum });
}

/** Compresses a stream as one frame or member. */
export function compressStream({ type, level }: Codec & { type: 'zstd' | 'gzip' }): Transform {
  if (type === 'gzip') return zlib.createGzip({ level: Math.min(level, 9) });
  if (!hasNodeZstd) return new (zstdNapi().CompressStream)({ compressionLevel: level, checksumFlag: true });
  const z = nodeZstd();
  return z.createZstdCompress({ params: { [z.constants.ZSTD_c_compressionLevel]: level } });
}

/** Decompresses a stream that `compressStream` wrote; it ends in an error where that is damaged. */
export function decompressStream(type: 'zstd' | 'gzip'): Transform {
  if (type === 'gzip') return zlib.createGunzip();
  return hasNodeZstd ? nodeZstd().createZstdDecompress() : new (zstdNapi().DecompressStream)();
}

let context: { level: number; compressor: InstanceType<ZstdBinding['CCtx']> } | undefined;
let scratch: Buffer | undefined;

/** Compresses a pack into memory that is used again, whose fresh pages would cost more than its compression. Valid until the next call. */
export function compressPack(data: Uint8Array, codec: Codec): Uint8Array {
  if (codec.type !== 'zstd') return compress(data, codec);
  if (!hasBinding()) return compressPackByNode(data, codec.level);
  const { compressBound } = zstdBinding();
  if (context?.level !== codec.level) context = { level: codec.level, compressor: newCompressor(codec.level) };
  const bound = compressBound(data.length);
  if (scratch === undefined || scratch.length < bound) scratch = Buffer.allocUnsafeSlow(bound);
  return scratch.subarray(0, context.compressor.compress2(scratch, data));
}

/** Gives that memory back. */
export function dropPackScratch(): void {
  scratch = undefined;
  context = undefined;
}

function newCompressor(level: number): InstanceType<ZstdBinding['CCtx']> {
  const { CCtx, CParameter } = zstdBinding();
  const compressor = new CCtx();
  const parameters = { compressionLevel: level, ...searchOf(level) };
  for (const [name, value] of Object.entries(parameters) as [keyof typeof parameters, number][]) {
    compressor.setParameter(CParameter[name], value);
  }
  return compressor;
}

function compressPackByNode(data: Uint8Array, level: number): Buffer {
  const z = nodeZstd();
  const params: Record<number, number> = { [z.constants.ZSTD_c_compressionLevel]: level };
  for (const [name, value] of Object.entries(searchOf(level)) as [keyof ZstdSearch, number][]) {
    params[z.constants[`ZSTD_c_${name}`]] = value;
  }
  // Room for all of it, or zstd keeps a window of its own beside the data.
  const chunkSize = data.length + (data.length >>> 8) + 65536;
  return z.zstdCompressSync(data, { params, pledgedSrcSize: data.length, chunkSize });
}

/** The codec that wrote `data`, by its magic number; anything else is taken as uncompressed. */
export function detectCodec(data: Uint8Array): CodecType {
  if (data[0] === 0x28 && data[1] === 0xb5 && data[2] === 0x2f && data[3] === 0xfd) return 'zstd';
  if (data[0] === 0x1f && data[1] === 0x8b) return 'gzip';
  return 'none';
}

/**
 * Decompresses what `compress` wrote, whatever its codec, and refuses output beyond `maxBytes`. The result may lie in
 * `into`, whose old content is lost then.
 * @throws HoldfastError IntegrityMismatch for damaged or oversized input.
 */
export function decompress(data: Uint8Array, maxBytes: number, what: string, into?: Buffer): Buffer {
  const type = detectCodec(data);
  try {
    if (type === 'gzip') return zlib.gunzipSync(data, { maxOutputLength: maxBytes });
    if (type === 'zstd') {
      return hasNodeZstd
        ? nodeZstd().zstdDecompressSync(data, { maxOutputLength: maxBytes })
        : decompressNapi(data, maxBytes, into);
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new HoldfastError('IntegrityMismatch', `${what} cannot be decompressed: ${reason}`, { cause: error });
  }
  if (data.length > maxBytes) {
    throw new HoldfastError('IntegrityMismatch', `${what} is larger than its ${maxBytes} bytes limit`);
  }
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

function decompressNapi(data: Uint8Array, maxBytes: number, into: Buffer | undefined): Buffer {
  const stated = zstdBinding().getFrameContentSize(data);
  if (stated !== null && stated > maxBytes) throw new Error(`it states ${stated} bytes, more than ${maxBytes}`);
  const context = new (zstdBinding().DCtx)();
  const guess = stated !== null && stated > 0 ? stated : Math.min(maxBytes, data.length * 4 + 4096);
  let out = into !== undefined && into.length >= guess && into.length <= maxBytes ? into : Buffer.allocUnsafe(guess);
  let written = 0;
  let read = 0;
  for (;;) {
    const [hint, produced, consumed] = context.decompressStream(out.subarray(written), data.subarray(read));
    written += produced;
    read += consumed;
    if (hint === 0) break;
    if (written === out.length) {
      if (out.length >= maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
      const larger = Buffer.allocUnsafe(Math.min(maxBytes, out.length * 2));
      out.copy(larger, 0, 0, written);
      out = larger;
    } else if (consumed === 0 && produced === 0) throw new Error('it ends early');
  }
  if (read !== data.length) throw new Error('bytes follow the end of its frame');
  return out.subarray(0, written);
}
