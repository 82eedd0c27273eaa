import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { digestMismatch, type OpenBody, piecesOf } from './body.js';
import type { Limiter } from './throttle.js';

const streamPiece = 256 * 1024;

export interface Section {
  key: string;
  body: OpenBody;
  start: number;
  end: number;
  /** SHA-256 the section has to have, raw. */
  digest: Buffer;
  limiter?: Limiter;
  signal?: AbortSignal;
  onProgress?: (bytes: number) => void;
}

/** Streams a section; its last piece is held back until the digest is known to be right, so a wrong one never arrives whole. */
async function* piecesToSend(section: Section, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { key, body, start, end, digest, limiter, onProgress } = section;
  const hash = createHash('sha256');
  if (start === end && !hash.copy().digest().equals(digest)) throw digestMismatch(key);
  let left = end - start;
  for await (const piece of piecesOf(body, start, end, limiter?.piece ?? streamPiece)) {
    hash.update(piece);
    left -= piece.length;
    if (left === 0 && !hash.digest().equals(digest)) throw digestMismatch(key);
    await limiter?.take(piece.length, signal);
    yield piece;
    // The consumer asked for more, so it has taken this one.
    onProgress?.(piece.length);
  }
}

/**
 * Sends a section as one request body, once. An error while reading the section ends the request and is what this throws.
 * The SDK never repeats a streamed body, so whoever calls this decides about trying again.
 */
export async function sendSection<T>(
  section: Section,
  send: (body: Readable, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const signal = section.signal === undefined ? stop.signal : AbortSignal.any([section.signal, stop.signal]);
  const stream = Readable.from(piecesToSend(section, signal), { objectMode: false });
  let failure: { error: unknown } | undefined;
  stream.on('error', (error) => {
    failure ??= { error };
    stop.abort();
  });
  try {
    return await send(stream, signal);
  } catch (error) {
    // Wakes a piece that waits for its turn; after a success it would close a connection worth keeping.
    stop.abort();
    throw failure === undefined ? error : failure.error;
  } finally {
    stream.destroy();
  }
}

/** Reports only what goes beyond the furthest point reached, so that repeated attempts do not count twice. */
export function onceEach(onProgress?: (bytes: number) => void): () => (bytes: number) => void {
  let furthest = 0;
  return () => {
    let sent = 0;
    return (bytes) => {
      sent += bytes;
      if (sent <= furthest) return;
      onProgress?.(sent - furthest);
      furthest = sent;
    };
  };
}
