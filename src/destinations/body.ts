import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { errnoOf, HoldfastError } from '../errors.js';
import type { Body } from './destination.js';

/** A body opened for reading any part of it, any number of times. */
export interface OpenBody {
  readonly size: number;
  /** Exactly `length` bytes from `start`; throws `SpoolLost` when they are not there. */
  read(start: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

function lost(file: string, cause: unknown): HoldfastError {
  const why = errnoOf(cause) ?? (cause instanceof Error ? cause.message : String(cause));
  return new HoldfastError('SpoolLost', `Cannot read the file to store, ${file}: ${why}`, { cause });
}

/** Opens a body. Throws `SpoolLost` when its file cannot be read. */
export async function openBody(body: Body): Promise<OpenBody> {
  if ('bytes' in body) {
    const { bytes } = body;
    return {
      size: bytes.length,
      read: async (start, length) => bytes.subarray(start, start + length),
      close: async () => {},
    };
  }
  const { file } = body;
  try {
    const handle = await open(file, 'r');
    const { size } = await handle.stat();
    return {
      size,
      async read(start, length) {
        const buffer = Buffer.allocUnsafe(length);
        let filled = 0;
        while (filled < length) {
          const { bytesRead } = await handle.read(buffer, filled, length - filled, start + filled).catch((error) => {
            throw lost(file, error);
          });
          if (bytesRead === 0) throw lost(file, new Error('it became shorter'));
          filled += bytesRead;
        }
        return buffer;
      },
      close: () => handle.close(),
    };
  } catch (error) {
    throw lost(file, error);
  }
}

/** The bytes [start, end) in pieces of at most `size` bytes. */
export async function* piecesOf(body: OpenBody, start: number, end: number, size: number): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; at += size) yield await body.read(at, Math.min(size, end - at));
}

/** What is to be stored differs from what the caller said it is. */
export function digestMismatch(key: string): HoldfastError {
  return new HoldfastError(
    'IntegrityMismatch',
    `The bytes to store as ${key} do not have the SHA-256 they should have`,
    {
      hint: 'The spooled copy is damaged: check the disk that holds the spool. Nothing was stored.',
    },
  );
}

/** SHA-256 (raw) of the bytes [start, end). */
export async function sha256Of(body: OpenBody, start: number, end: number, signal?: AbortSignal): Promise<Buffer> {
  const hash = createHash('sha256');
  for await (const piece of piecesOf(body, start, end, 1 << 20)) {
    signal?.throwIfAborted();
    hash.update(piece);
  }
  return hash.digest();
}
