import { createHash } from 'node:crypto';
import { PassThrough, Readable, Writable } from 'node:stream';
import type { FtpConnection } from './ftp-connection.js';
import { replyOf } from './ftp-errors.js';

/** Reading this much too much is cheaper than a new connection. */
const drainLimit = 512 * 1024;
const buffered = 1 << 20;

/** vsftpd does not survive a TLS connection that is closed at once. */
const emptyForMs = 100;

/** A body without any bytes. */
export function nothing(): Readable {
  return new Readable({
    read() {
      setTimeout(() => this.push(null), emptyForMs);
    },
  });
}

/** Sends a file. A failed transfer leaves its connection in an unknown state, so that it is closed. */
export async function upload(
  { client }: FtpConnection,
  command: 'STOR' | 'APPE',
  path: string,
  source: Readable,
): Promise<void> {
  try {
    await (command === 'STOR' ? client.uploadFrom(source, path) : client.appendFrom(source, path));
  } catch (error) {
    source.destroy();
    const reply = replyOf(error);
    // A refusal came before anything was sent.
    if (reply === 550 || reply === 553) throw error;
    // A server that stops reading says why a moment later, as the answer to whatever comes next.
    const why =
      reply === undefined && !client.closed
        ? await client.send('NOOP').then(
            () => error,
            (later) => later,
          )
        : error;
    client.close();
    throw replyOf(why) === undefined ? error : why;
  }
}

export interface Download {
  stream: Readable;
  /** Resolves when the connection is free again, or closed. */
  done: Promise<void>;
}

/** The bytes [start, end) of a file of `size` bytes. A server that is told to stop has to be hung up on. */
export function download({ client }: FtpConnection, path: string, start: number, end: number, size: number): Download {
  const stream = new PassThrough({ highWaterMark: buffered });
  let left = end - start;
  const sink = new Writable({
    highWaterMark: buffered,
    write(chunk: Buffer, _encoding, done) {
      const some = chunk.subarray(0, left);
      left -= some.length;
      const flows = some.length === 0 || stream.write(some);
      if (left === 0 && some.length > 0) {
        stream.end();
        if (size - end > drainLimit) client.close();
      }
      if (flows || left === 0) done();
      else stream.once('drain', done);
    },
  });
  stream.once('close', () => {
    if (left > 0) client.close();
  });
  const done = client.downloadTo(sink, path, start).then(
    () => {
      if (left > 0) stream.destroy(new Error(`the server ended ${path} too early`));
    },
    (error: unknown) => {
      client.close();
      if (left > 0) stream.destroy(error instanceof Error ? error : new Error(String(error)));
    },
  );
  return { stream, done };
}

/** SHA-256 of the first `size` bytes of a stored file, by reading them. */
export async function digestOf(
  connection: FtpConnection,
  path: string,
  size: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  const hash = createHash('sha256');
  const { stream, done } = download(connection, path, 0, size, size);
  for await (const chunk of stream) {
    signal?.throwIfAborted();
    hash.update(chunk);
  }
  await done;
  return hash.digest();
}

/** SHA-256 of a stored file by the server's own word: XSHA256, or HASH (draft-bryan-ftpext-hash); undefined where it has neither. */
export async function serverDigest({ client, features }: FtpConnection, path: string): Promise<Buffer | undefined> {
  for (const name of ['XSHA256', 'HASH']) {
    const command = name === 'HASH' ? await hashCommand(client, features.get(name)) : features.has(name) && name;
    if (!command) continue;
    try {
      const { message } = await client.send(`${command} ${path}`);
      const hex = /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/i.exec(message)?.[0];
      if (hex !== undefined) return Buffer.from(hex, 'hex');
    } catch (error) {
      // Some offer it and then refuse it, or large files.
      if (replyOf(error) === undefined) throw error;
    }
  }
  return undefined;
}

/** @param algorithms what FEAT says: `SHA-1*;SHA-256`, the star at the one in use */
async function hashCommand(
  client: FtpConnection['client'],
  algorithms: string | undefined,
): Promise<string | undefined> {
  if (algorithms === undefined || !/SHA-256/i.test(algorithms)) return undefined;
  if (/SHA-256\*/i.test(algorithms)) return 'HASH';
  const { code } = await client.sendIgnoringError('OPTS HASH SHA-256');
  return code < 300 ? 'HASH' : undefined;
}
