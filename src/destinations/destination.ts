import type { Readable } from 'node:stream';
import type { Limiter } from './throttle.js';

/** One stored object. `key` is relative to the destination's root, '/'-separated, without a leading slash. */
export interface ObjectInfo {
  key: string;
  /** Stored bytes. */
  size: number;
  /** By the destination's clock. */
  modified: Date;
}

/** What to store: a finished local file (never modified afterwards) or bytes in memory. */
export type Body = { file: string } | { bytes: Uint8Array };

export interface PutOptions {
  /** Fail with `ObjectExists` if the key exists already (atomic where the service can, else checked before and read back after). */
  exclusive?: boolean;
  /** SHA-256 of the body, hex; `IntegrityMismatch` if what is sent differs. Not read again where a file is only linked. */
  sha256?: string;
  /** Where the destination is set up to lock objects against deletion: lock this one. */
  retain?: boolean;
  signal?: AbortSignal;
  /** Called with the number of further bytes accepted by the destination. */
  onProgress?: (bytes: number) => void;
  /** Asked before each piece is sent; see `withBandwidth`. */
  limiter?: Limiter;
  /**
   * The object appears only once this has resolved; what can be sent before, may be. When it rejects, nothing is stored and
   * the put rejects with the same.
   */
  after?: Promise<unknown>;
}

/**
 * A place that keeps objects. Every method throws `HoldfastError` (codes DestinationUnreachable, DestinationMissing,
 * DestinationFull, DestinationReadOnly, AuthDenied, AuthExpired, ObjectMissing, ObjectExists, IntegrityMismatch, Throttled,
 * DestinationFailed; HostKeyMismatch and ConfigInvalid when connecting; SpoolLost when the file to store cannot be read;
 * Cancelled when the signal fired) and nothing else; `retryable` says whether trying again can help. An unusable key is a DestinationFailed that is not retryable.
 * A put is atomic: the key shows either nothing, the old object or the whole new one, durable when the promise resolves.
 */
export interface Destination {
  readonly name: string;
  readonly type: string;
  /**
   * Creates the destination's own folder where there is none yet, but never the folder or mount above it; where folders
   * do not exist (a bucket) it only checks. No other method creates it: they throw `DestinationMissing`.
   */
  ensureRoot(signal?: AbortSignal): Promise<void>;
  put(key: string, body: Body, options?: PutOptions): Promise<void>;
  /**
   * Streams the object, or its bytes [start, end) when given; `IntegrityMismatch` when the object ends before `end`.
   * The stream errors with HoldfastError if cut short. A caller that stops early destroys the stream.
   */
  get(key: string, options?: { start?: number; end?: number; signal?: AbortSignal }): Promise<Readable>;
  /** The whole object in memory; refuses (IntegrityMismatch) when it is larger than `maxBytes`. */
  read(key: string, options: { maxBytes: number; signal?: AbortSignal }): Promise<Buffer>;
  stat(key: string, signal?: AbortSignal): Promise<ObjectInfo | undefined>;
  /** Every object whose key starts with `prefix`, in any order; temporary names are not listed. An absent folder is empty. */
  list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo>;
  /** Succeeds when the object does not exist (any more). */
  delete(key: string, signal?: AbortSignal): Promise<void>;
  /** Until when the object cannot be deleted, where the destination locks objects; undefined when nothing holds it. */
  lockedUntil?(key: string, signal?: AbortSignal): Promise<Date | undefined>;
  /** The destination's own clock; for those without one, this machine's. */
  now(signal?: AbortSignal): Promise<Date>;
  /** Bytes free and in all, where the destination can say. */
  space(signal?: AbortSignal): Promise<{ free: number; total: number } | undefined>;
  /** Removes temporary objects and unfinished multipart uploads below `prefix` that are older than `olderThanMs`. */
  sweep(prefix: string, olderThanMs: number, signal?: AbortSignal): Promise<number>;
  /** Opens, in the background, the connections that uploads are about to need: on a distant line that takes a while. */
  warm?(): void;
  close(): Promise<void>;
}
