import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Client,
  ScheduleAlreadyRunning,
  type ScheduleDescription,
  type ScheduleHandle,
  ScheduleNotFoundError,
  type ScheduleOptionsStartWorkflowAction,
  ScheduleOverlapPolicy,
  type ScheduleUpdateOptions,
} from '@temporalio/client';
import type { SearchAttributePair, TypedSearchAttributes, Workflow } from '@temporalio/common';
import { nearest } from '../config/nearest.js';
import { formatDuration } from '../config/units.js';
import { HoldfastError } from '../errors.js';
import { fingerprint, type PlannedChange, planSchedules, type ScheduleFacts } from './schedule-plan.js';
import { type ScheduleConfig, specText, timingText, toSpec } from './schedule-timing.js';
import { type SearchAttributeName, searchAttributePairs } from './search-attributes.js';

/** Missed firings of any age count, and overlap SKIP makes one run of them: a machine that was off backs up once when it is back. */
export const catchupWindowMs = 365 * 86_400_000;
const overlap = ScheduleOverlapPolicy.SKIP;
const taskQueue = 'holdfast';

export interface ScheduledJob {
  name: string;
  /** Left out: the job runs by hand only, and a schedule it had is not in the config any more. */
  schedule?: ScheduleConfig | undefined;
  /** When the job's repository is checked. */
  check?: ScheduleConfig | undefined;
  /** When a restore is tried. */
  drill?: ScheduleConfig | undefined;
}

export interface ApplyOptions {
  host: string;
  jobs: readonly ScheduledJob[];
  /** Only says what would be done. */
  dryRun?: boolean;
  /** Deletes this host's schedules that are not in the config. */
  prune?: boolean;
  /** The arguments a scheduled run is started with. Equal configs must give equal ones, or every apply is an update. */
  makeAction: (job: string) => readonly unknown[] | Promise<readonly unknown[]>;
  /** The same of a scheduled check. */
  makeCheck?: (job: string) => readonly unknown[];
  /** The same of a scheduled drill. */
  makeDrill?: (job: string) => readonly unknown[];
  searchAttributes?: ReadonlySet<SearchAttributeName>;
}

export interface ScheduleChange extends PlannedChange {
  job: string;
}

export type ScheduleKind = 'backup' | 'check' | 'drill';

/** What the schedule with this id starts: names of jobs have no slash. */
export const kindOf = (id: string): ScheduleKind => (/\/(check|drill)$/.exec(id)?.[1] as ScheduleKind) ?? 'backup';

/** One schedule, for people and `--json`. Times are ISO 8601 in UTC. */
export interface ScheduleInfo {
  id: string;
  job: string;
  /** What it starts. */
  kind: ScheduleKind;
  host: string;
  paused: boolean;
  note: string | null;
  /** `cron 0 3 * * * (Europe/Berlin), jitter 5m` or `every 6h`. */
  schedule: string;
  overlap: string;
  catchupWindowMs: number;
  /** The next firings, at most ten; none while paused. */
  nextRuns: string[];
  lastRun: { run: string; scheduledAt: string; startedAt: string } | null;
  /** Runs in progress that this schedule started. */
  running: string[];
  counts: { started: number; skippedOverlap: number; missedCatchup: number };
  createdAt: string;
  updatedAt: string | null;
}

export interface TriggerResult {
  id: string;
  job: string;
  /** `skipped`: a run of this schedule is in progress. */
  outcome: 'started' | 'skipped';
  /** The run that was started, or that is in progress. */
  run: string | null;
}

export function scheduleId(host: string, job: string): string {
  return `holdfast/${host}/${job}`;
}

export const checkScheduleId = (host: string, job: string): string => `${scheduleId(host, job)}/check`;
export const drillScheduleId = (host: string, job: string): string => `${scheduleId(host, job)}/drill`;

/**
 * Makes this host's schedules match the config; others' are left alone, and so is whether one is paused.
 *
 * @returns what was, or with `dryRun` would be, done, sorted by id.
 */
export async function applySchedules(client: Client, options: ApplyOptions): Promise<ScheduleChange[]> {
  const { host } = options;
  const desired = new Map<string, Desired>();
  for (const job of options.jobs) {
    if (job.check !== undefined && options.makeCheck !== undefined) {
      const args = [...options.makeCheck(job.name)];
      desired.set(checkScheduleId(host, job.name), toDesired(options, 'check', job.name, job.check, args));
    }
    if (job.drill !== undefined && options.makeDrill !== undefined) {
      const args = [...options.makeDrill(job.name)];
      desired.set(drillScheduleId(host, job.name), toDesired(options, 'drill', job.name, job.drill, args));
    }
    if (job.schedule === undefined) continue;
    const args = [...(await options.makeAction(job.name))];
    desired.set(scheduleId(host, job.name), toDesired(options, 'backup', job.name, job.schedule, args));
  }
  const existing = await describeAll(
    client,
    host,
    options.jobs.map((job) => job.name),
  );
  const plan = planSchedules(
    [...desired].map(([id, { facts }]) => ({ id, facts })),
    existing.map(factsOf),
    options.prune,
  );
  if (!options.dryRun) {
    for (const step of plan) await carryOut(client, step, desired.get(step.id));
  }
  return plan.map((step) => ({ ...step, job: jobOf(host, step.id) ?? step.id }));
}

/**
 * This host's schedules, sorted by job.
 *
 * @param known jobs that may have a schedule: the server's list lags behind by a moment, so those are asked for by name.
 */
export async function listSchedules(
  client: Client,
  host: string,
  known: readonly string[] = [],
): Promise<ScheduleInfo[]> {
  return (await describeAll(client, host, known)).map((description) => toInfo(host, description));
}

/** @throws HoldfastError `JobUnknown`, here and below, where the job has no schedule. */
export async function showSchedule(client: Client, host: string, job: string): Promise<ScheduleInfo> {
  return withSchedule(client, host, job, async (handle) => toInfo(host, await handle.describe()));
}

export async function pauseSchedule(client: Client, host: string, job: string, note?: string): Promise<ScheduleInfo> {
  return withSchedule(client, host, job, async (handle) => {
    await handle.pause(note || 'paused with `holdfast schedule pause`');
    return toInfo(host, await handle.describe());
  });
}

export async function resumeSchedule(client: Client, host: string, job: string, note?: string): Promise<ScheduleInfo> {
  return withSchedule(client, host, job, async (handle) => {
    await handle.unpause(note || 'resumed with `holdfast schedule resume`');
    return toInfo(host, await handle.describe());
  });
}

export async function deleteSchedule(client: Client, host: string, job: string): Promise<{ id: string; job: string }> {
  return withSchedule(client, host, job, async (handle) => {
    await handle.delete();
    return { id: handle.scheduleId, job };
  });
}

/** Fires a schedule now, unless a run of it is in progress, and says which. */
export async function triggerSchedule(client: Client, host: string, job: string): Promise<TriggerResult> {
  return withSchedule(client, host, job, async (handle) => {
    const before = (await handle.describe()).info;
    // The default, ALLOW_ALL, would go past the overlap policy.
    await handle.trigger(overlap);
    const deadline = Date.now() + 10_000;
    for (;;) {
      const { info } = await handle.describe();
      const last = info.recentActions.at(-1)?.action.workflow.workflowId;
      if (info.numActionsTaken > before.numActionsTaken && last !== undefined) {
        return { id: handle.scheduleId, job, outcome: 'started', run: last };
      }
      if (info.numActionsSkippedOverlap > before.numActionsSkippedOverlap || Date.now() > deadline) {
        return {
          id: handle.scheduleId,
          job,
          outcome: 'skipped',
          run: info.runningActions[0]?.workflow.workflowId ?? null,
        };
      }
      await sleep(50);
    }
  });
}

type Definition = Omit<ScheduleUpdateOptions<ScheduleOptionsStartWorkflowAction<Workflow>>, 'state'>;
interface Desired {
  facts: ScheduleFacts['facts'];
  definition: Definition;
  memo: Record<string, unknown>;
}

function toDesired(
  options: ApplyOptions,
  workflowType: 'backup' | 'check' | 'drill',
  job: string,
  schedule: ScheduleConfig,
  args: unknown[],
): Desired {
  const { host } = options;
  const attributes = searchAttributePairs(options.searchAttributes ?? new Set(), {
    HoldfastJob: job,
    HoldfastHost: host,
    ...(workflowType === 'backup' ? { HoldfastOutcome: 'running' } : {}),
  });
  const memo = { job, host };
  const staticSummary = `Scheduled ${workflowType} of ${job} on ${host}`;
  const workflowId = `${workflowType}/${host}/${job}`;
  const definition: Definition = {
    spec: toSpec(schedule),
    policies: { overlap, catchupWindow: schedule.catchupWindow ?? catchupWindowMs },
    action: {
      type: 'startWorkflow',
      workflowType,
      workflowId,
      taskQueue,
      args,
      memo,
      staticSummary,
      typedSearchAttributes: attributes,
    },
    typedSearchAttributes: attributes,
  };
  const facts = {
    schedule: timingText(schedule),
    overlap,
    'catch-up window': formatDuration(schedule.catchupWindow ?? catchupWindowMs),
    workflow: workflowText(workflowType, workflowId, taskQueue),
    summary: staticSummary,
    input: fingerprint(args),
    memo: fingerprint(memo),
    'search attributes': attributesText(attributes),
  };
  return { facts, definition, memo };
}

function factsOf(description: ScheduleDescription): ScheduleFacts {
  const { action, policies } = description;
  return {
    id: description.scheduleId,
    facts: {
      schedule: specText(description.spec),
      overlap: policies.overlap ?? 'UNSPECIFIED',
      'catch-up window': formatDuration(policies.catchupWindow),
      workflow: workflowText(action.workflowType, action.workflowId, action.taskQueue),
      summary: action.staticSummary ?? '',
      input: fingerprint(action.args ?? []),
      memo: fingerprint(action.memo ?? {}),
      'search attributes': attributesText(action.typedSearchAttributes ?? []),
    },
  };
}

async function carryOut(client: Client, step: PlannedChange, desired: Desired | undefined): Promise<void> {
  const handle = client.schedule.getHandle(step.id);
  if (step.action === 'delete') {
    await handle.delete().catch((error: unknown) => {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
    });
  } else if (step.action === 'create' && desired !== undefined) {
    try {
      await client.schedule.create({ scheduleId: step.id, ...desired.definition, memo: desired.memo });
    } catch (error) {
      // Another process applied the same config a moment ago.
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      await update(handle, desired.definition);
    }
  } else if (step.action === 'update' && desired !== undefined) {
    await update(handle, desired.definition);
  }
}

async function update(handle: ScheduleHandle, definition: Definition): Promise<void> {
  // An update replaces the state: what is left out of it, such as `paused`, is reset.
  await handle.update<Workflow>(({ state }) => ({ ...definition, state: { ...state } }));
}

async function describeAll(client: Client, host: string, known: readonly string[]): Promise<ScheduleDescription[]> {
  const ids = new Set(
    known.flatMap((job) => [scheduleId(host, job), checkScheduleId(host, job), drillScheduleId(host, job)]),
  );
  for await (const summary of client.schedule.list()) {
    const owner = summary.memo?.host;
    const ours = jobOf(host, summary.scheduleId) !== undefined && (owner === undefined || owner === host);
    if (ours) ids.add(summary.scheduleId);
  }
  const found: ScheduleDescription[] = [];
  for (const id of [...ids].sort()) {
    try {
      found.push(await client.schedule.getHandle(id).describe());
    } catch (error) {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
    }
  }
  return found;
}

async function withSchedule<T>(
  client: Client,
  host: string,
  job: string,
  action: (handle: ScheduleHandle) => Promise<T>,
): Promise<T> {
  try {
    return await action(client.schedule.getHandle(scheduleId(host, job)));
  } catch (error) {
    if (!(error instanceof ScheduleNotFoundError)) throw error;
    const jobs = (await describeAll(client, host, [])).map(({ scheduleId: id }) => jobOf(host, id) ?? id);
    const near = nearest(job, jobs);
    const known = jobs.length === 0 ? 'no job has one' : `jobs with one: ${jobs.join(', ')}`;
    throw new HoldfastError('JobUnknown', `${host} has no schedule for the job ${JSON.stringify(job)}`, {
      hint: `${near === undefined ? '' : `Did you mean ${near}? `}(${known}) \`holdfast schedule apply\` makes those of the config.`,
      cause: error,
    });
  }
}

function toInfo(host: string, description: ScheduleDescription): ScheduleInfo {
  const { scheduleId: id, info, state, policies } = description;
  const last = info.recentActions.at(-1);
  return {
    id,
    job: jobOf(host, id) ?? id,
    kind: kindOf(id),
    host,
    paused: state.paused,
    note: state.note || null,
    schedule: specText(description.spec),
    overlap: policies.overlap ?? 'UNSPECIFIED',
    catchupWindowMs: policies.catchupWindow,
    nextRuns: state.paused ? [] : info.nextActionTimes.map((time) => time.toISOString()),
    lastRun:
      last === undefined
        ? null
        : {
            run: last.action.workflow.workflowId,
            scheduledAt: last.scheduledAt.toISOString(),
            startedAt: last.takenAt.toISOString(),
          },
    running: info.runningActions.map(({ workflow }) => workflow.workflowId),
    counts: {
      started: info.numActionsTaken,
      skippedOverlap: info.numActionsSkippedOverlap,
      missedCatchup: info.numActionsMissedCatchupWindow,
    },
    createdAt: info.createdAt.toISOString(),
    updatedAt: info.lastUpdatedAt?.toISOString() ?? null,
  };
}

/** The job of a schedule of this host; undefined for others'. */
function jobOf(host: string, id: string): string | undefined {
  const prefix = scheduleId(host, '');
  const job = id.slice(prefix.length).replace(/\/(check|drill)$/, '');
  return id.startsWith(prefix) && job !== '' && !job.includes('/') ? job : undefined;
}

function workflowText(type: string, id: string, queue: string): string {
  return `${type} ${id} on ${queue}`;
}

function attributesText(attributes: TypedSearchAttributes | SearchAttributePair[]): string {
  const pairs: { key: { name: string }; value: unknown }[] = Array.isArray(attributes)
    ? attributes
    : attributes.getAll();
  return pairs
    .map(({ key, value }) => `${key.name}=${String(value)}`)
    .sort()
    .join(', ');
}
