import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkflowExecutionInfo } from '@temporalio/client';
import { emptyDocument } from '../activities/document.js';
import { History } from '../activities/history.js';
import { nearest } from '../config/nearest.js';
import { HoldfastError } from '../errors.js';
import { jobOfRun } from '../run-document.js';
import { closedStatuses, deliverId, type RunDocument, type RunStatus, signalNames } from '../workflows/types.js';
import { describeRun, isPassing, queryDelivery, queryStatus } from './executions.js';
import { isRunDocument, look, type RunUpdate, unknownRun } from './follow.js';
import type { Session } from './session.js';

export interface ListOptions {
  job?: string;
  limit: number;
}

export interface RunDetails {
  document: RunDocument;
  /** How a run in progress stands. */
  update?: RunUpdate;
}

const queryTimeoutMs = 1000;
/** Runs in progress that are asked how they stand; of more than these, Temporal's own status has to do. */
const maxAsked = 20;

/**
 * This host's runs, newest first: Temporal's, and those in the host's history that Temporal has forgotten.
 *
 * @param session undefined when no Temporal server is up: the history alone.
 */
export async function listRuns(
  loaded: Session['loaded'],
  session: Session | undefined,
  options: ListOptions,
): Promise<RunDocument[]> {
  const history = new History(loaded.config.state);
  try {
    const { job, limit } = options;
    const runs = new Map(history.list({ ...(job === undefined ? {} : { job }), limit }).map((run) => [run.run, run]));
    if (session !== undefined) {
      let asked = 0;
      for (const info of await executions(session, options)) {
        const known = runs.get(info.workflowId) ?? history.get(info.workflowId);
        const open = info.status.name === 'RUNNING';
        if (known !== undefined && !open && isClosed(known.status)) continue;
        const ask = open ? session.hosted() && asked++ < maxAsked : known === undefined && asked++ < maxAsked;
        runs.set(info.workflowId, await documentOf(session, info, known, ask));
      }
    }
    return [...runs.values()].sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1)).slice(0, limit);
  } finally {
    history.close();
  }
}

/**
 * One run, with what is known of its progress.
 *
 * @throws HoldfastError `RunUnknown`, with the nearest id.
 */
export async function showRun(
  loaded: Session['loaded'],
  session: Session | undefined,
  run: string,
): Promise<RunDetails> {
  const history = new History(loaded.config.state);
  try {
    const known = history.get(run);
    const info = session === undefined ? undefined : await describeRun(session.temporal, run);
    if (session === undefined || info === undefined) {
      if (known === undefined) throw closest(run, history);
      return { document: known };
    }
    if (info.type !== 'backup') throw unknownRun(run);
    if (info.status.name !== 'RUNNING') {
      const closed = known !== undefined && isClosed(known.status);
      const document = closed ? known : await documentOf(session, info, known, true);
      return { document: await withDeliveries(session, document) };
    }
    const update = await look(session, run);
    const document = known ?? emptyDocument(run, jobOfRun(run), info.startTime.toISOString(), 'running');
    const destinations = update.status?.destinations.map(({ state, misses: _, error, ...rest }) => ({
      ...rest,
      status: state,
      error: error ?? null,
    }));
    const status = update.status?.status ?? openStatus(document.status);
    return { document: { ...document, status, ...(destinations === undefined ? {} : { destinations }) }, update };
  } finally {
    history.close();
  }
}

/** The document with how the deliveries of what destinations missed stand, as far as a worker is up to tell. */
async function withDeliveries(session: Session, document: RunDocument): Promise<RunDocument> {
  const destinations = await Promise.all(
    document.destinations.map(async (destination) => {
      if (destination.status !== 'missed') return destination;
      const id = deliverId(session.loaded.config.host, document.job, destination.name);
      const delivery = await queryDelivery(session.temporal, id, queryTimeoutMs);
      return delivery === undefined ? destination : { ...destination, delivery };
    }),
  );
  return { ...document, destinations };
}

/**
 * Tells every run in progress and every delivery of this host to try its destinations again now, such as after a login.
 *
 * @returns how many were told.
 */
export async function retryNow(session: Session): Promise<number> {
  const { client } = session.temporal;
  const own = session.loaded.config.host.replaceAll("'", "''");
  let told = 0;
  for (const [type, signal] of [
    ['backup', signalNames.retry],
    ['deliver', signalNames.more],
  ] as const) {
    const query = `WorkflowType = '${type}' AND ExecutionStatus = 'Running' AND WorkflowId STARTS_WITH '${type}/${own}/'`;
    for await (const { workflowId } of client.workflow.list({ query })) {
      const sent = client.workflow.getHandle(workflowId).signal(signal);
      if (
        await sent.then(
          () => true,
          () => false,
        )
      )
        told++;
    }
  }
  return told;
}

/**
 * Asks a run to pause between batches, or to go on. Durable: where no worker is up, it is done once one is.
 *
 * @throws HoldfastError `RunUnknown`, also for runs that have ended.
 */
export async function signalRun(session: Session, run: string, signal: 'pause' | 'resume'): Promise<RunStatus> {
  await openRun(session, run);
  await session.temporal.client.workflow.getHandle(run).signal(signalNames[signal]);
  const wanted: RunStatus = signal === 'pause' ? 'paused' : 'running';
  if (!session.hosted()) return wanted;
  const deadline = Date.now() + 3000;
  for (;;) {
    const status = (await queryStatus(session.temporal, run, queryTimeoutMs))?.status;
    const settled = status !== undefined && (status === 'paused') === (signal === 'pause');
    if (settled || Date.now() > deadline) return status ?? wanted;
    await sleep(50);
  }
}

/**
 * Cancels a run and waits a moment for it to leave everything in order.
 *
 * @returns `cancelled`, or how it stands when it needs longer.
 * @throws HoldfastError `RunUnknown`, also for runs that have ended.
 */
export async function cancelRun(session: Session, run: string, waitMs = 10_000): Promise<RunStatus> {
  await openRun(session, run);
  const handle = session.temporal.client.workflow.getHandle(run);
  await handle.cancel();
  if (!session.hosted()) return 'running';
  const closed = async (): Promise<RunStatus> => {
    const result: unknown = await handle.result();
    return isRunDocument(result) ? result.status : 'cancelled';
  };
  const end = new AbortController();
  const late = sleep<RunStatus>(waitMs, 'running', { signal: end.signal });
  late.catch(() => undefined);
  try {
    return await Promise.race([closed().catch((): RunStatus => 'cancelled'), late]);
  } finally {
    end.abort();
  }
}

async function openRun(session: Session, run: string): Promise<void> {
  const info = await describeRun(session.temporal, run);
  if (info === undefined) {
    const history = new History(session.loaded.config.state);
    try {
      throw history.get(run) === undefined ? closest(run, history) : ended(run);
    } finally {
      history.close();
    }
  }
  if (info.status.name !== 'RUNNING') throw ended(run);
}

async function executions(session: Session, { job, limit }: ListOptions): Promise<WorkflowExecutionInfo[]> {
  const { host } = session.loaded.config;
  const prefix = `backup/${host}/${job ?? ''}`.replaceAll("'", "''");
  const query = `WorkflowType = 'backup' AND WorkflowId STARTS_WITH '${prefix}'`;
  const found = new Map<string, WorkflowExecutionInfo>();
  // Newest first, so the first execution of a run that went through continue-as-new is its current one.
  for await (const info of session.temporal.client.workflow.list({ query, pageSize: Math.min(1000, limit * 2) })) {
    if (job !== undefined && jobOfRun(info.workflowId) !== job) continue;
    if (info.workflowId.split('/')[1] !== host) continue;
    const newer = found.get(info.workflowId);
    if (newer === undefined || newer.startTime < info.startTime) found.set(info.workflowId, info);
    if (found.size >= limit) break;
  }
  return [...found.values()];
}

const closedBy: Readonly<Record<string, RunStatus>> = {
  COMPLETED: 'succeeded',
  CANCELLED: 'cancelled',
  FAILED: 'failed',
  TERMINATED: 'failed',
  TIMED_OUT: 'failed',
};

async function documentOf(
  session: Session,
  info: Pick<WorkflowExecutionInfo, 'workflowId' | 'status' | 'startTime' | 'closeTime'>,
  known: RunDocument | undefined,
  ask: boolean,
): Promise<RunDocument> {
  const run = info.workflowId;
  const base = known ?? emptyDocument(run, jobOfRun(run), info.startTime.toISOString(), 'running');
  if (info.status.name === 'RUNNING') {
    const status = ask ? (await queryStatus(session.temporal, run, queryTimeoutMs))?.status : undefined;
    return { ...base, status: status ?? openStatus(base.status) };
  }
  if (ask && info.status.name === 'COMPLETED') {
    const result: unknown = await session.temporal.client.workflow
      .getHandle(run)
      .result()
      .catch((error: unknown) => {
        if (isPassing(error)) throw error;
      });
    if (isRunDocument(result)) return result;
  }
  const endedAt = info.closeTime;
  return {
    ...base,
    status: closedBy[info.status.name] ?? 'failed',
    endedAt: endedAt?.toISOString() ?? null,
    durationMs: endedAt === undefined ? null : endedAt.getTime() - new Date(base.startedAt).getTime(),
  };
}

function isClosed(status: RunStatus): boolean {
  return closedStatuses.includes(status);
}

/** What the history says last of a run that Temporal says is in progress. */
function openStatus(status: RunStatus): RunStatus {
  return isClosed(status) ? 'running' : status;
}

function ended(run: string): HoldfastError {
  return new HoldfastError('RunUnknown', `the run ${run} is not in progress any more`, {
    hint: `\`holdfast runs show ${run}\` tells how it ended.`,
  });
}

function closest(run: string, history: History): HoldfastError {
  const near = nearest(
    run,
    history.list({ limit: 200 }).map((document) => document.run),
  );
  return near === undefined
    ? unknownRun(run)
    : new HoldfastError('RunUnknown', `there is no run ${run}`, { hint: `Did you mean ${near}?` });
}
