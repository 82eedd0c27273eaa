import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { ActivityFailure, ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { Logger } from 'pino';
import { signInput } from '../activities/auth.js';
import { History } from '../activities/history.js';
import { Host } from '../activities/host.js';
import { openRepository } from '../activities/open-repository.js';
import { prunePlan } from '../activities/prune-run.js';
import { findJob, findRepositoryJob, type LoadedConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { type ErrorCode, errorCodes, HoldfastError } from '../errors.js';
import {
  type CheckDocument,
  type CheckInput,
  checkIdPrefix,
  type PruneDocument,
  type PruneInput,
  pruneIdPrefix,
} from '../workflows/care-types.js';
import { type DrillInput, type DrillReport, drillIdPrefix } from '../workflows/drill-types.js';
import { controlQueue } from '../workflows/types.js';
import { stamp } from './backup.js';
import { isPassing } from './executions.js';
import { searchAttributePairs, usableSearchAttributes } from './search-attributes.js';
import type { Session } from './session.js';

const titles = { prune: 'Prune', check: 'Check', drill: 'Drill' } as const;

/** What `prune` would remove, without Temporal and without changing anything. */
export async function planPrune(
  loaded: LoadedConfig,
  job: string,
  log: Logger,
  options: { trustClock?: boolean } = {},
): Promise<PruneDocument> {
  findJob(loaded.config, job);
  const host = new Host(loaded, undefined, log);
  try {
    const destinations = await prunePlan(host, job, await openRepository(host, job, { sync: true }), options);
    return { run: null, job, dryRun: true, destinations };
  } finally {
    await host.close();
  }
}

/**
 * Starts a prune of one job.
 * @returns the run's id.
 */
export async function startPrune(session: Session, job: string, options: { trustClock?: boolean }): Promise<string> {
  const { config } = session.loaded;
  findJob(config, job);
  const fields = { host: config.host, job, ...(options.trustClock ? { trustClock: true } : {}) };
  const input: PruneInput = { ...fields, sig: signInput(config.state, 'prune', fields) };
  return start(session, 'prune', job, pruneIdPrefix(config.host, job), input);
}

/** Starts a check of one job; returns the run's id. */
export async function startCheck(
  session: Session,
  options: Omit<CheckInput, 'host' | 'sig' | 'scheduled'>,
): Promise<string> {
  const { config } = session.loaded;
  findJob(config, options.job);
  const fields = { host: config.host, ...options };
  const input: CheckInput = { ...fields, sig: signInput(config.state, 'check', fields) };
  return start(session, 'check', options.job, checkIdPrefix(config.host, options.job), input);
}

/** The arguments of a job's scheduled check. */
export function scheduledCheck({ config }: LoadedConfig, job: string): [CheckInput] {
  const fields = { host: config.host, job, readData: 0, scheduled: true, repair: false };
  return [{ ...fields, sig: signInput(config.state, 'check', fields) }];
}

/** @throws HoldfastError `JobUnknown`, `UsageInvalid` for a job whose snapshots are archives. */
export function checkDrill(config: Config, job: string): void {
  const hint = `'holdfast check ${job} --read-data' reads every file in its archives; 'holdfast restore' tries one.`;
  findRepositoryJob(config, job, 'a drill restores a sample of a snapshot, and an archive is read as a whole', hint);
}

/** Starts a drill of one job; returns its id. */
export async function startDrill(
  session: Session,
  options: Omit<DrillInput, 'host' | 'sig' | 'scheduled'>,
): Promise<string> {
  const { config } = session.loaded;
  checkDrill(config, options.job);
  const fields = { host: config.host, ...options };
  const input: DrillInput = { ...fields, sig: signInput(config.state, 'drill', fields) };
  return start(session, 'drill', options.job, drillIdPrefix(config.host, options.job), input);
}

/** The arguments of a job's scheduled drill. */
export function scheduledDrill({ config }: LoadedConfig, job: string): [DrillInput] {
  const fields = { host: config.host, job, scheduled: true };
  return [{ ...fields, sig: signInput(config.state, 'drill', fields) }];
}

/** Reports of drills from the history, newest first. */
export function listDrills({ config }: LoadedConfig, filter: { job?: string; limit: number }): DrillReport[] {
  const history = new History(config.state);
  try {
    return history.drills(filter);
  } finally {
    history.close();
  }
}

/** @throws HoldfastError RunUnknown */
export function showDrill({ config }: LoadedConfig, drill: string): DrillReport {
  const history = new History(config.state);
  try {
    const report = history.drill(drill);
    if (report) return report;
  } finally {
    history.close();
  }
  throw new HoldfastError('RunUnknown', `the history has no drill ${drill}`, {
    hint: "'holdfast drills list' shows those that have ended.",
  });
}

async function start(
  session: Session,
  type: keyof typeof titles,
  job: string,
  prefix: string,
  input: PruneInput | CheckInput | DrillInput,
): Promise<string> {
  const { client, connection, namespace } = session.temporal;
  const { host } = session.loaded.config;
  const usable = await usableSearchAttributes(connection, namespace);
  const workflowId = `${prefix}/${stamp(new Date())}`;
  await client.workflow.start(type, {
    workflowId,
    taskQueue: controlQueue,
    args: [input],
    memo: { job, host },
    staticSummary: `${titles[type]} of ${job} on ${host}`,
    typedSearchAttributes: searchAttributePairs(usable, { HoldfastJob: job, HoldfastHost: host }),
  });
  return workflowId;
}

/**
 * Waits for the end of a prune, a check or a drill.
 * @throws HoldfastError what it failed with; `Cancelled` when the signal fired: it goes on without this command.
 */
export async function waitFor<T extends PruneDocument | CheckDocument | DrillReport>(
  session: Session,
  run: string,
  signal: AbortSignal,
): Promise<T> {
  const interrupted = new Promise<never>((_, reject) => {
    const abort = (): void => reject(new HoldfastError('Cancelled', 'interrupted'));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
  });
  interrupted.catch(() => undefined);
  const ends: Promise<T>[] = [outcome<T>(session, run, signal), interrupted];
  if (session.worker !== undefined) ends.push(session.worker.failure);
  for (const end of ends) end.catch(() => undefined);
  return Promise.race(ends);
}

async function outcome<T>(session: Session, run: string, signal: AbortSignal): Promise<T> {
  const handle = session.temporal.client.workflow.getHandle(run);
  for (;;) {
    try {
      return (await handle.result()) as T;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof WorkflowFailedError) throw failureOf(error, run);
      if (error instanceof WorkflowNotFoundError) throw new HoldfastError('RunUnknown', `${run} is gone`);
      if (!isPassing(error)) throw error;
      await sleep(250, undefined, { signal });
    }
  }
}

function failureOf(error: WorkflowFailedError, run: string): HoldfastError {
  let cause: unknown = error.cause;
  if (cause instanceof CancelledFailure) return new HoldfastError('Cancelled', `${run} was cancelled`);
  while (cause instanceof ActivityFailure) cause = cause.cause;
  if (!(cause instanceof ApplicationFailure))
    return new HoldfastError('Internal', cause instanceof Error ? cause.message : `${run} failed`);
  const details: unknown = cause.details?.[0];
  const hint = typeof details === 'object' && details !== null && 'hint' in details ? String(details.hint) : undefined;
  const type = cause.type;
  const code: ErrorCode = errorCodes.find((known) => known === type) ?? 'Internal';
  return new HoldfastError(code, cause.message, hint === undefined ? {} : { hint });
}
