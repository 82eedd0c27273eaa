import { createHash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { ActivityFailure, ApplicationFailure, CancelledFailure, defaultPayloadConverter } from '@temporalio/common';
import type { Logger } from 'pino';
import { canonical, signInput } from '../activities/auth.js';
import { findJob } from '../config/load.js';
import { type ErrorCode, errorCodes, HoldfastError } from '../errors.js';
import { type Lock, tryExclusive } from '../worker/locks.js';
import type {
  RestoreDocument,
  RestoreHeartbeat,
  RestoreInput,
  RestoreStatusAnswer,
} from '../workflows/restore-types.js';
import { restoreIdPrefix } from '../workflows/restore-types.js';
import { statusQuery } from '../workflows/types.js';
import { stamp } from './backup.js';
import { connectNative } from './connection.js';
import { describeRun, isPassing } from './executions.js';
import { passingFolder } from './restore-database.js';
import { searchAttributePairs, usableSearchAttributes } from './search-attributes.js';
import { type Session, temporalOf } from './session.js';

/** A restore as the command line asks for it; host and signature are added here. */
export type RestoreRequest = Omit<RestoreInput, 'host' | 'sig'>;

export interface RestoreUpdate {
  run: string;
  status: RestoreStatusAnswer | undefined;
  heartbeats: RestoreHeartbeat[];
}

export interface RestoreOptions {
  log: Logger;
  intervalMs?: number | undefined;
  signal?: AbortSignal;
  /** Where a database goes in place of its source's own server; with its password, for this process alone. */
  targetUrl?: string | undefined;
  onUpdate?: (update: RestoreUpdate) => void;
  /** Told the run's id, and whether it is one that an earlier command left unfinished. */
  onStart?: (run: string, resumed: boolean) => void;
}

const queryTimeoutMs = 2000;

/**
 * Restores in this process's own worker, on a queue of its own. The same restore that an earlier command left unfinished is
 * taken up where it was left.
 *
 * @throws HoldfastError: what the restore failed with; `JobBusy` while another process does the same; `Cancelled` when the
 * signal fired: the run stays open for the next time.
 */
export async function restore(
  session: Session,
  request: RestoreRequest,
  options: RestoreOptions,
): Promise<RestoreDocument> {
  findJob(session.loaded.config, request.job);
  const lock = lockRequest(session, request);
  try {
    const { run, queue, resumed } = (await findUnfinished(session, request)) ?? (await start(session, request));
    options.onStart?.(run, resumed);
    const { startPrivateWorker } = await import('../worker/private.js');
    const { installRuntime } = await import('../worker/worker.js');
    const { loaded, temporal, embedded } = session;
    // The native connection makes the runtime, which takes its logger only once.
    installRuntime(options.log);
    const native = await connectNative(await temporalOf(loaded), embedded);
    try {
      const worker = await startPrivateWorker({
        loaded,
        client: temporal.client,
        native: native.connection,
        queue,
        log: options.log,
        targetUrl: options.targetUrl,
      });
      try {
        return await follow(session, run, worker.finished, options);
      } finally {
        await worker.shutdown();
      }
    } finally {
      await native.connection.close();
    }
  } finally {
    lock.release();
  }
}

interface Placed {
  run: string;
  queue: string;
  resumed: boolean;
}

async function start(session: Session, request: RestoreRequest): Promise<Placed> {
  const { config } = session.loaded;
  const { client, connection, namespace } = session.temporal;
  const { job } = request;
  const fields = { host: config.host, ...request };
  const input: RestoreInput = { ...fields, sig: signInput(config.state, 'restore', fields) };
  const usable = await usableSearchAttributes(connection, namespace);
  const queue = `holdfast.private.${randomUUID()}`;
  const run = `${restoreIdPrefix(config.host, job)}/${stamp(new Date())}-${queue.slice(-6)}`;
  await client.workflow.start('restore', {
    workflowId: run,
    taskQueue: queue,
    args: [input],
    memo: { job, host: config.host, queue, request: requestId(session, request) },
    staticSummary: `Restore of ${job} on ${config.host} to ${goal(request)}`,
    staticDetails: `**Snapshot** ${request.snapshot}\n\n**Paths** ${request.paths.slice(0, 10).join(', ') || 'all'}\n\n**Target** ${goal(request)}`,
    typedSearchAttributes: searchAttributePairs(usable, { HoldfastJob: job, HoldfastHost: config.host }),
  });
  return { run, queue, resumed: false };
}

/** Where it is restored to, for people. */
function goal({ target, database }: RestoreRequest): string {
  const load = database?.load;
  return load === undefined
    ? target
    : `the database ${load.into}${load.server === undefined ? '' : ` at ${load.server}`}`;
}

/** An open run of the same restore, whose process is gone: its lock was free. */
async function findUnfinished(session: Session, request: RestoreRequest): Promise<Placed | undefined> {
  const { config } = session.loaded;
  const prefix = `${restoreIdPrefix(config.host, request.job)}/`.replaceAll("'", "''");
  const query = `WorkflowType = 'restore' AND ExecutionStatus = 'Running' AND WorkflowId STARTS_WITH '${prefix}'`;
  const wanted = requestId(session, request);
  for await (const { workflowId, memo } of session.temporal.client.workflow.list({ query })) {
    if (memo?.request === wanted && typeof memo.queue === 'string') {
      return { run: workflowId, queue: memo.queue, resumed: true };
    }
  }
  return undefined;
}

/** The request with the folder that its dump passes through: the same for the same request. */
export function throughFolder(session: Session, request: RestoreRequest): RestoreRequest {
  return { ...request, target: passingFolder(session.loaded.config, requestId(session, request)) };
}

/** Names a request: the same one gives the same 16 hex digits. */
function requestId({ loaded }: Session, request: RestoreRequest): string {
  return createHash('sha256')
    .update(canonical({ host: loaded.config.host, ...request, paths: [...request.paths].sort() }))
    .digest('hex')
    .slice(0, 16);
}

function lockRequest(session: Session, request: RestoreRequest): Lock {
  const id = requestId(session, request);
  const lock = tryExclusive(join(session.loaded.config.state, 'run', `restore-${id}.lock`), {
    command: 'holdfast restore',
  });
  if (lock !== undefined) return lock;
  throw new HoldfastError('JobBusy', `another process is doing the same restore to ${goal(request)}`, {
    hint: 'Wait for its end, or restore to another folder.',
  });
}

async function follow(
  session: Session,
  run: string,
  worker: Promise<void>,
  { intervalMs, signal, onUpdate }: RestoreOptions,
): Promise<RestoreDocument> {
  const end = new AbortController();
  const ended = worker.then((): never => {
    throw new HoldfastError('WorkerMissing', "the restore's worker ended by itself", {
      hint: 'Run the same command again.',
    });
  });
  ended.catch(() => undefined);
  const interrupted = new Promise<never>((_, reject) => {
    const abort = () => reject(new HoldfastError('Cancelled', 'interrupted'));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true, signal: end.signal });
  });
  interrupted.catch(() => undefined);
  const settled = outcome(session, run, end.signal);
  settled.catch(() => undefined);
  const looking = intervalMs === undefined || onUpdate === undefined ? undefined : watch();
  looking?.catch(() => undefined);

  async function watch(): Promise<void> {
    while (!end.signal.aborted) {
      await sleep(intervalMs, undefined, { signal: end.signal });
      const update = await look(session, run);
      if (!end.signal.aborted && update !== undefined) onUpdate?.(update);
    }
  }

  try {
    return await Promise.race([settled, interrupted, ended]);
  } finally {
    end.abort();
  }
}

async function look(session: Session, run: string): Promise<RestoreUpdate | undefined> {
  const { client, connection } = session.temporal;
  const ask = () => client.workflow.getHandle(run).query<RestoreStatusAnswer>(statusQuery);
  try {
    const [status, description] = await Promise.all([
      connection.withDeadline(Date.now() + queryTimeoutMs, ask).catch(() => undefined),
      describeRun(session.temporal, run),
    ]);
    const heartbeats: RestoreHeartbeat[] = [];
    for (const { heartbeatDetails } of description?.raw.pendingActivities ?? []) {
      const payload = heartbeatDetails?.payloads?.[0];
      const details: unknown = payload ? defaultPayloadConverter.fromPayload(payload) : undefined;
      if (isHeartbeat(details)) heartbeats.push(details);
    }
    return { run, status, heartbeats };
  } catch {
    return undefined;
  }
}

async function outcome(session: Session, run: string, signal: AbortSignal): Promise<RestoreDocument> {
  const handle = session.temporal.client.workflow.getHandle(run);
  for (;;) {
    try {
      const document: unknown = await handle.result();
      if (isDocument(document)) return document;
      throw new HoldfastError('Internal', `the restore ${run} ended without a report`);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof WorkflowFailedError) throw failureOf(error, run);
      if (error instanceof WorkflowNotFoundError) throw new HoldfastError('RunUnknown', `the restore ${run} is gone`);
      if (!isPassing(error)) throw error;
      await sleep(250, undefined, { signal });
    }
  }
}

function failureOf(error: WorkflowFailedError, run: string): HoldfastError {
  let cause: unknown = error.cause;
  if (cause instanceof CancelledFailure) return new HoldfastError('Cancelled', `the restore ${run} was cancelled`);
  while (cause instanceof ActivityFailure) cause = cause.cause;
  if (!(cause instanceof ApplicationFailure)) {
    return new HoldfastError('Internal', cause instanceof Error ? cause.message : `the restore ${run} failed`);
  }
  const details: unknown = cause.details?.[0];
  const hint = typeof details === 'object' && details !== null && 'hint' in details ? String(details.hint) : undefined;
  return new HoldfastError(codeOf(cause.type), cause.message, hint === undefined ? {} : { hint });
}

function codeOf(type: string | null | undefined): ErrorCode {
  return errorCodes.find((code) => code === type) ?? 'Internal';
}

function isHeartbeat(value: unknown): value is RestoreHeartbeat {
  return typeof value === 'object' && value !== null && 'phase' in value && 'bytes' in value;
}

function isDocument(value: unknown): value is RestoreDocument {
  return typeof value === 'object' && value !== null && 'run' in value && 'damaged' in value;
}
