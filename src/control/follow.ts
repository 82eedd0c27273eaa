import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, TerminatedFailure } from '@temporalio/common';
import { emptyDocument } from '../activities/document.js';
import { History } from '../activities/history.js';
import { HoldfastError } from '../errors.js';
import { jobOfRun } from '../run-document.js';
import type { BackupStatusAnswer, RunDocument, RunStatus } from '../workflows/types.js';
import { describeRun, isPassing, type Pending, pendingOf, queryStatus } from './executions.js';
import type { Session } from './session.js';

/** How a run in progress stands. */
export interface RunUpdate extends Pending {
  run: string;
  /** The workflow's own answer; undefined when no worker is up to give it. */
  status: BackupStatusAnswer | undefined;
  /** Why there is no progress, where that is known. */
  waiting?: 'worker' | 'server';
}

export interface FollowOptions {
  /** Between updates, milliseconds; undefined: none, only the end. */
  intervalMs?: number | undefined;
  signal?: AbortSignal;
}

const queryTimeoutMs = 2000;

/**
 * Follows a run to its end, which is seen at once and never polled for. A run that gave way to another is followed there.
 *
 * @throws HoldfastError `RunUnknown`; `Cancelled` when the signal fired; what the session's own worker failed with.
 */
export async function* followRun(
  session: Session,
  run: string,
  options: FollowOptions = {},
): AsyncGenerator<RunUpdate, RunDocument> {
  const { signal, intervalMs } = options;
  for (let current = run; ; ) {
    const end = new AbortController();
    const settled = outcome(session, current, end.signal).then((document) => ({ document }));
    settled.catch(() => undefined);
    const interrupted = abortion(signal, end.signal);
    interrupted.catch(() => undefined);
    const stops: Promise<{ document: RunDocument }>[] = [settled, interrupted];
    if (session.worker !== undefined) stops.push(session.worker.failure);
    let document: RunDocument | undefined;
    try {
      while (document === undefined) {
        if (intervalMs === undefined) {
          ({ document } = await Promise.race(stops));
          break;
        }
        const tick = sleep(intervalMs, undefined, { signal: end.signal }).then(() => look(session, current));
        tick.catch(() => undefined);
        const next = await Promise.race([...stops, tick]);
        if ('document' in next) document = next.document;
        else yield next;
      }
    } finally {
      end.abort();
    }
    if (document.status !== 'skipped' || document.joined === undefined || document.joined === current) return document;
    current = document.joined;
  }
}

/** One look at a run in progress. */
export async function look(session: Session, run: string): Promise<RunUpdate> {
  try {
    const [description, status] = await Promise.all([
      describeRun(session.temporal, run),
      queryStatus(session.temporal, run, queryTimeoutMs),
    ]);
    const pending = description === undefined ? { heartbeats: [], retries: [] } : pendingOf(description);
    return { run, status, ...pending, ...(status === undefined && !session.hosted() ? { waiting: 'worker' } : {}) };
  } catch (error) {
    if (!isPassing(error)) throw error;
    return { run, status: undefined, heartbeats: [], retries: [], waiting: 'server' };
  }
}

/** Waits for a run's end. The server may be away in between. */
async function outcome(session: Session, run: string, signal: AbortSignal): Promise<RunDocument> {
  const handle = session.temporal.client.workflow.getHandle(run);
  for (;;) {
    try {
      const document: unknown = await handle.result();
      return isRunDocument(document) ? document : closedDocument(session, run, 'failed', noDocument);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof WorkflowFailedError) return failedDocument(session, run, error);
      if (error instanceof WorkflowNotFoundError) throw unknownRun(run);
      if (!isPassing(error)) throw error;
      await sleep(250, undefined, { signal });
    }
  }
}

const noDocument = { code: 'Internal', message: 'the run ended without a report' };

function failedDocument(session: Session, run: string, error: WorkflowFailedError): RunDocument {
  const { cause } = error;
  if (cause instanceof CancelledFailure) return closedDocument(session, run, 'cancelled', undefined);
  if (cause instanceof TerminatedFailure) {
    const message = `the run was terminated in Temporal${cause.message ? `: ${cause.message}` : ''}`;
    return closedDocument(session, run, 'failed', { code: 'Cancelled', message });
  }
  const code = cause instanceof ApplicationFailure && cause.type ? cause.type : 'Internal';
  return closedDocument(session, run, 'failed', { code, message: rootMessage(error) });
}

/** The document the host's history has, or one made of the little that is known. */
function closedDocument(
  session: Session,
  run: string,
  status: RunStatus,
  error: { code: string; message: string } | undefined,
): RunDocument {
  const history = new History(session.loaded.config.state);
  try {
    const known = history.get(run);
    if (known !== undefined && known.endedAt !== null) return known;
    return {
      ...(known ?? emptyDocument(run, jobOfRun(run), new Date().toISOString(), status)),
      status,
      ...(error === undefined ? {} : { error }),
    };
  } finally {
    history.close();
  }
}

export function isRunDocument(value: unknown): value is RunDocument {
  return typeof value === 'object' && value !== null && 'run' in value && 'status' in value && 'files' in value;
}

export function unknownRun(run: string): HoldfastError {
  return new HoldfastError('RunUnknown', `there is no run ${run}`, { hint: '`holdfast runs list` shows them.' });
}

function rootMessage(error: Error): string {
  let last: Error = error;
  while (last.cause instanceof Error) last = last.cause;
  return last.message;
}

function abortion(signal: AbortSignal | undefined, end: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(new HoldfastError('Cancelled', 'interrupted'));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true, signal: end });
  });
}
