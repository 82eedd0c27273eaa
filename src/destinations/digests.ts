import { createHash, type Hash } from 'node:crypto';
import { digestMismatch, type OpenBody, piecesOf } from './body.js';

const piece = 1 << 20;

/**
 * Reads a body once through several hashes.
 *
 * @throws HoldfastError `IntegrityMismatch` when its SHA-256 is not `expected`; `SpoolLost`.
 * @returns its SHA-256, hex.
 */
export async function digestBody(
  key: string,
  body: OpenBody,
  expected: string | undefined,
  others: { update(bytes: Uint8Array): unknown }[],
  signal?: AbortSignal,
): Promise<string> {
  const sha256: Hash = createHash('sha256');
  for await (const bytes of piecesOf(body, 0, body.size, piece)) {
    signal?.throwIfAborted();
    sha256.update(bytes);
    for (const other of others) other.update(bytes);
  }
  const found = sha256.digest('hex');
  if (expected !== undefined && found !== expected) throw digestMismatch(key);
  return found;
}

/** Reports how far an upload has come, each byte once however often it is sent. */
export class Furthest {
  private at = 0;

  constructor(private readonly onProgress?: (bytes: number) => void) {}

  reach(position: number): void {
    if (position <= this.at) return;
    const more = position - this.at;
    this.at = position;
    this.onProgress?.(more);
  }
}
