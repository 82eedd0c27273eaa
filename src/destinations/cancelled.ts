import { HoldfastError } from '../errors.js';

/** The error for an operation that its caller's signal stopped. */
export function cancelled(action: string, cause?: unknown): HoldfastError {
  return new HoldfastError('Cancelled', `Cancelled while ${action}`, { cause, retryable: false });
}

/** Whether an error only says that a signal fired. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
