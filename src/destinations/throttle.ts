import { performance } from 'node:perf_hooks';
import { pipeline, type Readable, Transform, type TransformCallback } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Body, Destination, ObjectInfo, PutOptions } from './destination.js';

/** Something that makes senders wait their turn. */
export interface Limiter {
  /** The most bytes to take at once, so that a slow line still moves all the time. */
  readonly piece: number;
  /** Resolves when `bytes` more may be sent; rejects with an AbortError. */
  take(bytes: number, signal?: AbortSignal): Promise<void>;
}

const burstMs = 100;

/** A token bucket shared by everything that goes over one line. */
export class TokenBucket implements Limiter {
  readonly piece: number;
  private freeAt = 0;

  /** @param bytesPerSecond above 0 */
  constructor(private readonly bytesPerSecond: number) {
    this.piece = Math.max(1024, Math.min(256 * 1024, Math.ceil(bytesPerSecond / 10)));
  }

  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const now = performance.now();
    this.freeAt = Math.max(this.freeAt, now - burstMs) + (bytes / this.bytesPerSecond) * 1000;
    if (this.freeAt > now) await sleep(this.freeAt - now, undefined, { signal });
  }
}

/** Passes bytes on at a limiter's pace. */
class Paced extends Transform {
  private readonly stopped = new AbortController();

  constructor(private readonly limiter: Limiter) {
    super();
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.limiter.take(chunk.length, this.stopped.signal).then(() => done(null, chunk), done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.stopped.abort();
    done(error);
  }
}

class BandwidthLimited implements Destination {
  constructor(
    private readonly inner: Destination,
    private readonly limiter: Limiter,
  ) {}

  get name(): string {
    return this.inner.name;
  }

  get type(): string {
    return this.inner.type;
  }

  put(key: string, body: Body, options: PutOptions = {}): Promise<void> {
    return this.inner.put(key, body, { ...options, limiter: this.limiter });
  }

  async get(key: string, options?: { start?: number; end?: number; signal?: AbortSignal }): Promise<Readable> {
    const source = await this.inner.get(key, options);
    return pipeline(source, new Paced(this.limiter), () => {});
  }

  async read(key: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<Buffer> {
    const bytes = await this.inner.read(key, options);
    await this.limiter.take(bytes.length);
    return bytes;
  }

  ensureRoot(signal?: AbortSignal): Promise<void> {
    return this.inner.ensureRoot(signal);
  }

  stat(key: string, signal?: AbortSignal): Promise<ObjectInfo | undefined> {
    return this.inner.stat(key, signal);
  }

  list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    return this.inner.list(prefix, signal);
  }

  delete(key: string, signal?: AbortSignal): Promise<void> {
    return this.inner.delete(key, signal);
  }

  now(signal?: AbortSignal): Promise<Date> {
    return this.inner.now(signal);
  }

  space(signal?: AbortSignal): Promise<{ free: number; total: number } | undefined> {
    return this.inner.space(signal);
  }

  sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number> {
    return this.inner.sweep(prefix, olderThanMs, signal);
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

/** The same destination, whose uploads and downloads together stay below `bytesPerSecond`. Linking a local file is free. */
export function withBandwidth(destination: Destination, bytesPerSecond: number): Destination {
  return new BandwidthLimited(destination, new TokenBucket(bytesPerSecond));
}
