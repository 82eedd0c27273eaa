import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../errors.js';

const attempts = 3;
/** A service that asks for more patience than this gets it from the caller's own retries. */
const longestWaitMs = 5000;

const repeatable: ReadonlySet<string> = new Set(['DestinationUnreachable', 'DestinationFailed', 'Throttled']);

/** Turns whatever a service's client threw into the error a user sees. */
export type Translate = (action: string, error: unknown, signal?: AbortSignal) => HoldfastError;

/** Runs a service's calls: with its errors translated, and again where that can help. */
export class Attempts {
  constructor(private readonly translate: Translate) {}

  /** Does `work` once; it throws nothing but HoldfastError. */
  async run<T>(action: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await work();
    } catch (error) {
      throw this.translate(action, error, signal);
    }
  }

  /** Does `work`, and again after a passing error; it gets the attempt's number, from 1. */
  async repeat<T>(action: string, signal: AbortSignal | undefined, work: (attempt: number) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        signal?.throwIfAborted();
        return await work(attempt);
      } catch (raw) {
        const error = this.translate(action, raw, signal);
        if (attempt >= attempts) throw error;
        await this.pause(error, attempt, signal).catch((reason) => {
          throw this.translate(action, reason, signal);
        });
      }
    }
  }

  /** Waits before the next attempt, or throws the error where another one cannot help or would have to wait for long. */
  async pause(error: HoldfastError, attempt: number, signal?: AbortSignal): Promise<void> {
    const wait = Math.max(100 * 2 ** attempt * (0.8 + Math.random() * 0.4), error.retryAfterMs ?? 0);
    if (!error.retryable || !repeatable.has(error.code) || wait > longestWaitMs) throw error;
    await sleep(wait, undefined, { signal });
  }
}

/** A call that gives up when it has been silent for too long; `work` says when it is `alive`. */
export async function watched<T>(
  label: string,
  signal: AbortSignal | undefined,
  idleMs: number,
  work: (signal: AbortSignal, alive: () => void) => Promise<T>,
): Promise<T> {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), idleMs);
  const alive = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => silent.abort(), idleMs);
  };
  try {
    return await work(signal === undefined ? silent.signal : AbortSignal.any([signal, silent.signal]), alive);
  } catch (error) {
    if (!silent.signal.aborted || signal?.aborted) throw error;
    throw silence(label, idleMs);
  } finally {
    clearTimeout(timer);
  }
}

const downloadIdleMs = 60_000;

/** Ends `stream` with an error when its `source` sends nothing for a minute although more is wanted. Returns `stream`. */
export function unlessSilent(stream: Readable, source: Readable, label: string): Readable {
  let heard = Date.now();
  source.on('data', () => {
    heard = Date.now();
  });
  const timer = setInterval(() => {
    // A reader that takes its time is no silence.
    if (source.isPaused()) heard = Date.now();
    else if (Date.now() - heard > downloadIdleMs) stream.destroy(silence(label, downloadIdleMs));
  }, downloadIdleMs / 10);
  timer.unref();
  stream.once('close', () => clearInterval(timer));
  return stream;
}

function silence(label: string, idleMs: number): HoldfastError {
  return new HoldfastError('DestinationUnreachable', `${label}: no answer for ${Math.round(idleMs / 1000)} s`, {
    hint: 'Check the network.',
  });
}
