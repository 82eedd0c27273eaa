import { performance } from 'node:perf_hooks';
import { pipeline, type Readable, Transform, type TransformCallback } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BandwidthWindow } from './config.js';
import type { Body, Destination, ObjectInfo, PutOptions } from './destination.js';

/** Something that makes senders wait their turn. */
export interface Limiter {
  /** The most bytes to take at once, so that a slow line still moves all the time. */
  readonly piece: number;
  /** Resolves when `bytes` more may be sent; rejects with an AbortError. */
  take(bytes: number, signal?: AbortSignal): Promise<void>;
}

const burstMs = 100;

const pieceOf = (bytesPerSecond: number): number =>
  Math.max(1024, Math.min(256 * 1024, Math.ceil(bytesPerSecond / 10)));

/** A token bucket shared by everything that goes over one line. */
export class TokenBucket implements Limiter {
  readonly piece: number;
  private freeAt = 0;

  /** @param bytesPerSecond above 0 */
  constructor(private readonly bytesPerSecond: number) {
    this.piece = pieceOf(bytesPerSecond);
  }

  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const now = performance.now();
    this.freeAt = Math.max(this.freeAt, now - burstMs) + (bytes / this.bytesPerSecond) * 1000;
    if (this.freeAt > now) await sleep(this.freeAt - now, undefined, { signal });
  }
}

interface Window {
  /** Minutes since midnight. */
  from: number;
  to: number;
  bucket: TokenBucket | undefined;
}

const minutesOf = (time: string): number => Number(time.slice(0, 2)) * 60 + Number(time.slice(3));

/** A token bucket for each part of the day; the first window that fits the time counts, with none there is no limit. */
export class TimetableBucket implements Limiter {
  readonly piece: number;
  private readonly windows: Window[];
  private readonly clock: Intl.DateTimeFormat;

  /** @param timeZone default: this machine's; `now` is for tests. */
  constructor(
    table: readonly BandwidthWindow[],
    timeZone: string | undefined,
    private readonly now: () => number = Date.now,
  ) {
    this.windows = table.map(({ from = '00:00', to = '24:00', rate }) => ({
      from: minutesOf(from),
      to: minutesOf(to),
      bucket: rate === undefined ? undefined : new TokenBucket(rate),
    }));
    this.piece = Math.min(...this.windows.map(({ bucket }) => bucket?.piece ?? 256 * 1024));
    this.clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone });
  }

  /** No piece waits longer than a moment, so the rate changes with the clock, also in the middle of an object. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const minute = minutesOf(this.clock.format(this.now()));
    const fits = ({ from, to }: Window): boolean =>
      from < to ? minute >= from && minute < to : minute >= from || minute < to;
    await this.windows.find(fits)?.bucket?.take(bytes, signal);
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
    await this.limiter.take(bytes.length, options.signal);
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

  async lockedUntil(key: string, signal?: AbortSignal): Promise<Date | undefined> {
    return this.inner.lockedUntil?.(key, signal);
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

  warm(): void {
    this.inner.warm?.();
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

/** The same destination, whose uploads and downloads together stay below the rate. Linking a local file is free. */
export function withBandwidth(
  destination: Destination,
  bandwidth: number | readonly BandwidthWindow[],
  timeZone?: string,
): Destination {
  const limiter = typeof bandwidth === 'number' ? new TokenBucket(bandwidth) : new TimetableBucket(bandwidth, timeZone);
  return new BandwidthLimited(destination, limiter);
}
