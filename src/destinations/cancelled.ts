import { HoldfastError } from '../errors.js';

/** The error for an operation that its caller's signal stopped. */
export function cancelled(action: string, cause?: unknown): HoldfastError {
  return new HoldfastError('Cancelled', `Cancelled while ${action}`, { cause, retryable: false });
}

/** Whether an error only says that a signal fired. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

/** The result of `work`; once the signal has fired, at most for `graceMs` longer. */
export function withinGrace<T>(work: Promise<T>, signal: AbortSignal | undefined, graceMs: number): Promise<T> {
  if (signal === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      timer = setTimeout(() => reject(signal.reason), graceMs);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    });
  });
}
