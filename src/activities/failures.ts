import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { secretRegistry } from '../config/secrets.js';
import { errnoOf, HoldfastError } from '../errors.js';
import { Stopped } from './threads/progress.js';

/** What a workflow is told beside the error. */
export interface FailureDetails {
  hint?: string;
  /** Bytes that got through before it. */
  progress?: number;
  /** The destination is one that comes and goes, and is not here. */
  away?: boolean;
}

/** Turns whatever an activity threw into a failure Temporal understands, with every known secret taken out. */
export function asFailure(error: unknown, more: FailureDetails = {}): Error {
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
      details: detailsOf({ ...more, ...(error.hint === undefined ? {} : { hint: clean(error.hint) }) }),
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
  return ApplicationFailure.create({ message, type: 'Internal', details: detailsOf(more) });
}

function detailsOf({ hint, progress, away }: FailureDetails): FailureDetails[] {
  const details: FailureDetails = {
    ...(hint === undefined ? {} : { hint }),
    ...(progress ? { progress } : {}),
    ...(away ? { away } : {}),
  };
  return Object.keys(details).length === 0 ? [] : [details];
}

const clean = (text: string): string => secretRegistry.redact(text).slice(0, 2000);
