import { createHash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { ActivityFailure, ApplicationFailure, CancelledFailure, defaultPayloadConverter } from '@temporalio/common';
import type { Logger } from 'pino';
import { canonical, signInput } from '../activities/auth.js';
import type { TargetServer } from '../activities/restore-database.js';
import { type ErrorCode, errorCodes, HoldfastError } from '../errors.js';
import { type Lock, tryExclusive } from '../worker/locks.js';
import type { PrivateWorkerOptions } from '../worker/private.js';
import { controlQueue, statusQuery } from '../workflows/types.js';
import { stamp } from './backup.js';
import { connectNative } from './connection.js';
import { describeRun, isPassing } from './executions.js';
import { searchAttributePairs, usableSearchAttributes } from './search-attributes.js';
import { type Session, temporalOf } from './session.js';

/** A run of a command's own, in this process's worker on a queue of its own: a restore, a copy. */
export interface PrivateRun<Heartbeat, Document> {
  /** The command's name, for what the input is signed, and the workflow's type. */
  type: string;
  /** The workflow's type, where that is another. */
  workflow?: string;
  job: string;
  /** The workflow's input but for the signature. */
  fields: object;
  /** What makes two requests the same one. */
  identity: object;
  /** Of the run's id. */
  idPrefix: string;
  /** For the Web UI. */
  summary: string;
  details: string;
  /** What to say while another process does the same. */
  busy: { message: string; hint: string };
  isDocument(value: unknown): value is Document;
  isHeartbeat(value: unknown): value is Heartbeat;
}

export interface PrivateUpdate<Status, Heartbeat> {
  run: string;
  status: Status | undefined;
  heartbeats: Heartbeat[];
}

export interface PrivateOptions<Update> {
  intervalMs?: number | undefined;
  signal?: AbortSignal;
  onUpdate?: (update: Update) => void;
  /** Where a database is restored to; never part of the request. */
  targetServer?: TargetServer | undefined;
  /** Told the run's id, and whether it is one that an earlier command left unfinished. */
  onStart?: (run: string, resumed: boolean) => void;
}

const queryTimeoutMs = 2000;

/**
 * Runs it to its end. The same request that an earlier command left unfinished is taken up where it was left.
 *
 * @throws HoldfastError: what the run failed with; `JobBusy` while another process does the same; `Cancelled` when the
 * signal fired: the run stays open for the next time.
 */
export async function runPrivately<Status, Heartbeat, Document>(
  session: Session,
  what: PrivateRun<Heartbeat, Document>,
  options: PrivateOptions<PrivateUpdate<Status, Heartbeat>> & { log: Logger },
): Promise<Document> {
  const lock = lockRequest(session, what);
  try {
    const { run, queue, resumed } =
      (await findUnfinished(session, what)) ?? (await start(session, what, privateQueue()));
    options.onStart?.(run, resumed);
    return await withPrivateWorker(
      session,
      { queue, log: options.log, targetServer: options.targetServer },
      (finished) => follow<Status, Heartbeat, Document>(session, what, run, finished, options),
    );
  } finally {
    lock.release();
  }
}

/** Calls `work` while this process's own worker serves `queue`; it is given the promise of the worker's end. */
export async function withPrivateWorker<T>(
  session: Session,
  options: Pick<PrivateWorkerOptions, 'queue' | 'log' | 'targetServer' | 'archivePassword'>,
  work: (finished: Promise<void>) => Promise<T>,
): Promise<T> {
  const { startPrivateWorker } = await import('../worker/private.js');
  const { installRuntime } = await import('../worker/worker.js');
  const { loaded, temporal, embedded, tracing } = session;
  // The native connection makes the runtime, which takes its logger only once.
  installRuntime(options.log);
  const native = await connectNative(await temporalOf(loaded), embedded);
  try {
    const { client } = temporal;
    const worker = await startPrivateWorker({
      ...options,
      loaded,
      client,
      native: native.connection,
      tracing,
      sharesThreads: session.worker !== undefined,
    });
    try {
      return await work(worker.finished);
    } finally {
      await worker.shutdown();
    }
  } finally {
    await native.connection.close();
  }
}

type Any = PrivateRun<unknown, unknown>;

/** A queue that only one command's run uses. */
export const privateQueue = (): string => `holdfast.private.${randomUUID()}`;

/**
 * Runs it to its end in the host's own worker, which the session has or somebody else runs. The same request that is under way
 * is joined.
 *
 * @throws HoldfastError: what the run failed with; `Cancelled` when the signal fired: the run goes on without this command.
 */
export async function runOnHost<Status, Heartbeat, Document>(
  session: Session,
  what: PrivateRun<Heartbeat, Document>,
  options: PrivateOptions<PrivateUpdate<Status, Heartbeat>>,
): Promise<Document> {
  const placed = { ...what, identity: { ...what.identity, queue: controlQueue } };
  const { run, resumed } = (await findUnfinished(session, placed)) ?? (await start(session, placed, controlQueue));
  options.onStart?.(run, resumed);
  const worker = session.worker?.failure ?? new Promise<never>(() => undefined);
  return follow<Status, Heartbeat, Document>(session, placed, run, worker, options);
}

interface Placed {
  run: string;
  queue: string;
  resumed: boolean;
}

async function start(session: Session, what: Any, queue: string): Promise<Placed> {
  const { config } = session.loaded;
  const { client, connection, namespace } = session.temporal;
  const { type, workflow = type, job, fields } = what;
  const usable = await usableSearchAttributes(connection, namespace);
  const run = `${what.idPrefix}/${stamp(new Date())}-${randomUUID().slice(-6)}`;
  await client.workflow.start(workflow, {
    workflowId: run,
    taskQueue: queue,
    args: [{ ...fields, sig: signInput(config.state, type, fields) }],
    memo: { job, host: config.host, queue, request: requestId(what.identity) },
    staticSummary: what.summary,
    staticDetails: what.details,
    typedSearchAttributes: searchAttributePairs(usable, { HoldfastJob: job, HoldfastHost: config.host }),
  });
  return { run, queue, resumed: false };
}

/** An open run of the same request; a command's own one has lost its process: its lock was free. */
async function findUnfinished(session: Session, what: Any): Promise<Placed | undefined> {
  const prefix = `${what.idPrefix}/`.replaceAll("'", "''");
  const query = `WorkflowType = '${what.workflow ?? what.type}' AND ExecutionStatus = 'Running' AND WorkflowId STARTS_WITH '${prefix}'`;
  const wanted = requestId(what.identity);
  for await (const { workflowId, memo } of session.temporal.client.workflow.list({ query })) {
    if (memo?.request === wanted && typeof memo.queue === 'string') {
      return { run: workflowId, queue: memo.queue, resumed: true };
    }
  }
  return undefined;
}

/** Names a request: the same one gives the same 16 hex digits. */
export function requestId(identity: object): string {
  return createHash('sha256').update(canonical(identity)).digest('hex').slice(0, 16);
}

function lockRequest(session: Session, what: Any): Lock {
  const path = join(session.loaded.config.state, 'run', `${what.type}-${requestId(what.identity)}.lock`);
  const lock = tryExclusive(path, { command: `holdfast ${what.type}` });
  if (lock !== undefined) return lock;
  throw new HoldfastError('JobBusy', what.busy.message, { hint: what.busy.hint });
}

/** What following a run needs to know of it. */
type Followed<Heartbeat, Document> = Pick<PrivateRun<Heartbeat, Document>, 'type' | 'isDocument' | 'isHeartbeat'>;

/** Waits for the end of a run; errors as `runPrivately`. */
export async function follow<Status, Heartbeat, Document>(
  session: Session,
  what: Followed<Heartbeat, Document>,
  run: string,
  worker: Promise<void>,
  { intervalMs, signal, onUpdate }: PrivateOptions<PrivateUpdate<Status, Heartbeat>>,
): Promise<Document> {
  const end = new AbortController();
  const ended = worker.then((): never => {
    throw new HoldfastError('WorkerMissing', `the worker of the ${what.type} ended by itself`, {
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
  const settled = outcome(session, what, run, end.signal);
  settled.catch(() => undefined);
  const looking = intervalMs === undefined || onUpdate === undefined ? undefined : watch();
  looking?.catch(() => undefined);

  async function watch(): Promise<void> {
    while (!end.signal.aborted) {
      await sleep(intervalMs, undefined, { signal: end.signal });
      const update = await look<Status, Heartbeat>(session, what, run);
      if (!end.signal.aborted && update !== undefined) onUpdate?.(update);
    }
  }

  try {
    return await Promise.race([settled, interrupted, ended]);
  } finally {
    end.abort();
  }
}

async function look<Status, Heartbeat>(
  session: Session,
  what: Followed<Heartbeat, unknown>,
  run: string,
): Promise<PrivateUpdate<Status, Heartbeat> | undefined> {
  const { client, connection } = session.temporal;
  const ask = () => client.workflow.getHandle(run).query<Status>(statusQuery);
  try {
    const [status, description] = await Promise.all([
      connection.withDeadline(Date.now() + queryTimeoutMs, ask).catch(() => undefined),
      describeRun(session.temporal, run),
    ]);
    const heartbeats: Heartbeat[] = [];
    for (const { heartbeatDetails } of description?.raw.pendingActivities ?? []) {
      const payload = heartbeatDetails?.payloads?.[0];
      const details: unknown = payload ? defaultPayloadConverter.fromPayload(payload) : undefined;
      if (what.isHeartbeat(details)) heartbeats.push(details);
    }
    return { run, status, heartbeats };
  } catch {
    return undefined;
  }
}

async function outcome<Document>(
  session: Session,
  what: Followed<unknown, Document>,
  run: string,
  signal: AbortSignal,
): Promise<Document> {
  const handle = session.temporal.client.workflow.getHandle(run);
  for (;;) {
    try {
      const document: unknown = await handle.result();
      if (what.isDocument(document)) return document;
      throw new HoldfastError('Internal', `the ${what.type} ${run} ended without a report`);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof WorkflowFailedError) throw failureOf(error, what.type, run);
      if (error instanceof WorkflowNotFoundError)
        throw new HoldfastError('RunUnknown', `the ${what.type} ${run} is gone`);
      if (!isPassing(error)) throw error;
      await sleep(250, undefined, { signal });
    }
  }
}

function failureOf(error: WorkflowFailedError, type: string, run: string): HoldfastError {
  let cause: unknown = error.cause;
  if (cause instanceof CancelledFailure) return new HoldfastError('Cancelled', `the ${type} ${run} was cancelled`);
  while (cause instanceof ActivityFailure) cause = cause.cause;
  if (!(cause instanceof ApplicationFailure)) {
    return new HoldfastError('Internal', cause instanceof Error ? cause.message : `the ${type} ${run} failed`);
  }
  const details: unknown = cause.details?.[0];
  const hint = typeof details === 'object' && details !== null && 'hint' in details ? String(details.hint) : undefined;
  return new HoldfastError(codeOf(cause.type), cause.message, hint === undefined ? {} : { hint });
}

function codeOf(type: string | null | undefined): ErrorCode {
  return errorCodes.find((code) => code === type) ?? 'Internal';
}

/** Whether it is an object with these keys. */
export function isObjectWith(value: unknown, ...keys: string[]): boolean {
  return typeof value === 'object' && value !== null && keys.every((key) => key in value);
}
