import { isGrpcServiceError, type WorkflowExecutionDescription, WorkflowNotFoundError } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import type { BackupStatusAnswer, DeliveryStatus, HeartbeatDetails } from '../workflows/types.js';
import { statusQuery } from '../workflows/types.js';
import type { TemporalClient } from './connection.js';

/** An activity that is tried again, and why. */
export interface Retry {
  activity: string;
  attempt: number;
  message: string;
}

/** What Temporal itself knows of a run in progress; needs no worker. */
export interface Pending {
  heartbeats: HeartbeatDetails[];
  retries: Retry[];
}

const grpcDown = new Set([1, 4, 8, 13, 14]);

/** Whether a call failed because the server was away for the moment, and not because of what was asked. */
export function isPassing(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (isGrpcServiceError(cause)) return grpcDown.has(cause.code);
  }
  return false;
}

/** The description of a run; undefined where Temporal doesn't know it (any more). */
export async function describeRun(
  temporal: TemporalClient,
  run: string,
): Promise<WorkflowExecutionDescription | undefined> {
  try {
    return await temporal.client.workflow.getHandle(run).describe();
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}

export async function isRunning(temporal: TemporalClient, run: string): Promise<boolean> {
  return (await describeRun(temporal, run))?.status.name === 'RUNNING';
}

/** Heartbeats and failures of the activities that are in progress. */
export function pendingOf(description: WorkflowExecutionDescription): Pending {
  const pending: Pending = { heartbeats: [], retries: [] };
  for (const activity of description.raw.pendingActivities ?? []) {
    const payload = activity.heartbeatDetails?.payloads?.[0];
    if (payload) {
      const details = decode(payload);
      if (isHeartbeat(details)) pending.heartbeats.push(details);
    }
    if ((activity.attempt ?? 1) > 1 && activity.lastFailure?.message) {
      pending.retries.push({
        activity: activity.activityType?.name ?? 'activity',
        attempt: activity.attempt ?? 1,
        message: activity.lastFailure.message,
      });
    }
  }
  return pending;
}

/** The workflow's own answer; undefined when no worker gives one in time. */
export function queryStatus(
  temporal: TemporalClient,
  run: string,
  timeoutMs: number,
): Promise<BackupStatusAnswer | undefined> {
  return query<BackupStatusAnswer>(temporal, run, timeoutMs);
}

/** How a delivery stands; undefined when there is none, or no worker answers in time. */
export async function queryDelivery(
  temporal: TemporalClient,
  id: string,
  timeoutMs: number,
): Promise<DeliveryStatus | undefined> {
  return (await isRunning(temporal, id)) ? query<DeliveryStatus>(temporal, id, timeoutMs) : undefined;
}

async function query<Answer>(temporal: TemporalClient, id: string, timeoutMs: number): Promise<Answer | undefined> {
  const handle = temporal.client.workflow.getHandle(id);
  try {
    const ask = () => handle.query<Answer>(statusQuery);
    return await temporal.connection.withDeadline(Date.now() + timeoutMs, ask);
  } catch {
    return undefined;
  }
}

function decode(payload: Parameters<typeof defaultPayloadConverter.fromPayload>[0]): unknown {
  try {
    return defaultPayloadConverter.fromPayload(payload);
  } catch {
    return undefined;
  }
}

function isHeartbeat(value: unknown): value is HeartbeatDetails {
  return typeof value === 'object' && value !== null && 'phase' in value && 'read' in value && 'stored' in value;
}
