import { createHash, type Hash } from 'node:crypto';
import { type OpenBody, piecesOf } from './body.js';
import type { SftpConnection } from './sftp-connection.js';
import type { Limiter } from './throttle.js';

/** What every server takes in one packet (draft-ietf-secsh-filexfer-02, section 3). */
export const requestBytes = 32 * 1024;
/** As much as fits OpenSSH's and ssh2's channel window of 2 MiB: more would only wait in memory. */
const requestsInFlight = 64;
/** Writes wait for acknowledgements that come a round trip later; one more window keeps the line busy. */
const writesInFlight = 2 * requestsInFlight;
const localPiece = 1024 * 1024;

/** Lets a number of jobs run at once; the first one that fails stops the rest. */
class Window {
  private running = 0;
  private failed: { error: unknown } | undefined;
  private wake: (() => void) | undefined;

  constructor(private readonly size: number) {}

  async add(start: () => Promise<void>): Promise<void> {
    await this.below(this.size);
    this.running += 1;
    start()
      .catch((error: unknown) => {
        this.failed ??= { error };
      })
      .finally(() => {
        this.running -= 1;
        this.wake?.();
      });
  }

  /** Resolves when nothing runs any more; rejects with the first failure. */
  async drained(): Promise<void> {
    await this.below(1);
  }

  private async below(limit: number): Promise<void> {
    while (this.failed === undefined && this.running >= limit) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    if (this.failed !== undefined) throw this.failed.error;
  }
}

export interface WriteOptions {
  limiter?: Limiter;
  signal?: AbortSignal;
  onProgress?: (bytes: number) => void;
}

/**
 * Writes the body from byte `start` on with many requests in flight, hashing what is sent. Resolves when all has been sent, to a
 * function that waits until all is acknowledged.
 */
export async function writeFrom(
  connection: SftpConnection,
  handle: Buffer,
  body: OpenBody,
  start: number,
  hash: Hash,
  { limiter, signal, onProgress }: WriteOptions,
): Promise<() => Promise<void>> {
  const window = new Window(writesInFlight);
  let at = start;
  for await (const piece of piecesOf(body, start, body.size, limiter?.piece ?? localPiece)) {
    signal?.throwIfAborted();
    await limiter?.take(piece.length, signal);
    hash.update(piece);
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    for (let from = 0; from < bytes.length; from += requestBytes) {
      const length = Math.min(requestBytes, bytes.length - from);
      const position = at + from;
      await window.add(async () => {
        signal?.throwIfAborted();
        await connection.call((sftp, answer) => sftp.write(handle, bytes, from, length, position, answer));
        onProgress?.(length);
      });
    }
    at += piece.length;
  }
  return async () => {
    await window.drained();
    signal?.throwIfAborted();
  };
}

/** Asks once for what is missing of `block` from `offset` on; `block` begins at `position` in the file. Returns the bytes there were. */
function readInto(
  connection: SftpConnection,
  handle: Buffer,
  block: Buffer,
  offset: number,
  position: number,
): Promise<number> {
  return connection.call<number>((sftp, answer) =>
    sftp.read(handle, block, offset, block.length - offset, position + offset, (error, bytes) => answer(error, bytes)),
  );
}

/** What the server gives at once of the bytes [position, position + length): none where the file ends before. */
export async function readSome(
  connection: SftpConnection,
  handle: Buffer,
  position: number,
  length: number,
): Promise<Buffer> {
  const block = Buffer.allocUnsafe(length);
  return block.subarray(0, await readInto(connection, handle, block, 0, position));
}

/** Exactly the bytes [position, position + length), or fewer where the file ends before. */
export async function readBlock(
  connection: SftpConnection,
  handle: Buffer,
  position: number,
  length: number,
): Promise<Buffer> {
  const block = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const got = await readInto(connection, handle, block, filled, position);
    if (got === 0) break;
    filled += got;
  }
  return block.subarray(0, filled);
}

/** The bytes [start, end) of an open file in order, with many requests in flight; ends early where the file does. */
export async function* readRange(
  connection: SftpConnection,
  handle: Buffer,
  start: number,
  end: number,
): AsyncGenerator<Buffer> {
  const queue: Promise<Buffer>[] = [];
  let next = start;
  const ask = (): void => {
    const length = Math.min(requestBytes, end - next);
    const block = readBlock(connection, handle, next, length);
    // Those after the one that failed are awaited by nobody.
    block.catch(() => {});
    queue.push(block);
    next += length;
  };
  while (next < end && queue.length < requestsInFlight) ask();
  for (let block = queue.shift(); block !== undefined; block = queue.shift()) {
    const bytes = await block;
    if (bytes.length === 0) return;
    if (next < end) ask();
    yield bytes;
  }
}

/** How many of the first `size` bytes of an open file are those of the body, and the hash of these. */
export async function matchingStart(
  connection: SftpConnection,
  handle: Buffer,
  body: OpenBody,
  size: number,
  signal?: AbortSignal,
): Promise<{ length: number; hash: Hash }> {
  const hash = createHash('sha256');
  let length = 0;
  for await (const there of readRange(connection, handle, 0, Math.min(size, body.size))) {
    signal?.throwIfAborted();
    const here = await body.read(length, there.length);
    if (!there.equals(here)) break;
    hash.update(here);
    length += there.length;
  }
  return { length, hash };
}
