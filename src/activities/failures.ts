import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { secretRegistry } from '../config/secrets.js';
import { errnoOf, HoldfastError } from '../errors.js';
import { Stopped } from './threads/progress.js';

/**
 * Turns whatever an activity threw into a failure Temporal understands, with every known secret taken out.
 * `progress` is how many bytes got through before it.
 */
export function asFailure(error: unknown, progress = 0): Error {
  if (error instanceof CancelledFailure || error instanceof ApplicationFailure) return error;
  if (error instanceof Stopped || (error instanceof Error && error.name === 'Stopped'))
    return new CancelledFailure('stopped');
  if (error instanceof HoldfastError) {
    if (error.code === 'Cancelled') return new CancelledFailure(error.message);
    return ApplicationFailure.create({
      message: clean(error.message),
      type: error.code,
      nonRetryable: !error.retryable,
      nextRetryDelay: error.retryAfterMs,
      details:
        error.hint === undefined && progress === 0
          ? []
          : [
              {
                ...(error.hint === undefined ? {} : { hint: clean(error.hint) }),
                ...(progress === 0 ? {} : { progress }),
              },
            ],
    });
  }
  if (error instanceof Error && error.name === 'AbortError') return new CancelledFailure('cancelled');
  const errno = errnoOf(error);
  const message = clean(error instanceof Error ? error.message : String(error));
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return ApplicationFailure.create({
      message: `the disk that holds the spool is full: ${message}`,
      type: 'SpoolFull',
      details: [{ hint: 'Free some space, or set spool.path to a larger disk; the run goes on by itself.' }],
    });
  }
  return ApplicationFailure.create({ message, type: 'Internal', details: progress === 0 ? [] : [{ progress }] });
}

const clean = (text: string): string => secretRegistry.redact(text).slice(0, 2000);
