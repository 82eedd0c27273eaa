/** Names and shapes of a copy between destinations that workflow, activities and CLI share. No code that runs. */
import type { RunStatus } from './types.js';

/** What starts a copy: it names, never describes. `sig` is an HMAC under the state folder's input key. */
export interface CopyInput {
  host: string;
  job: string;
  /** Names of destinations. */
  from: string;
  to: string;
  sig: string;
}

export type CopyPhase = 'plan' | 'packs' | 'finish' | 'done';

/** Answer to the query `status`. */
export interface CopyStatusAnswer {
  run: string;
  job: string;
  from: string;
  to: string;
  status: RunStatus;
  phase: CopyPhase;
  packs: { total: number; copied: number };
  bytes: { total: number; copied: number };
}

/** What has to be brought over, as the plan found it. */
export interface CopyPlan {
  snapshots: number;
  /** All that the snapshots need. */
  packs: number;
  /** Those that are not there yet. */
  missing: number;
  missingBytes: number;
}

export interface CopyCounts {
  packs: number;
  bytes: number;
  /** Objects that could not be copied because they are damaged or missing at the source. */
  damaged: { name: string; message: string }[];
}

/** `copy --json`: one copy's document. */
export interface CopyDocument {
  run: string;
  job: string;
  from: string;
  to: string;
  status: RunStatus;
  /** `copied`: by this copy; `present`: whole at the target now; `total`: at the source. */
  snapshots: { total: number; copied: number; present: number };
  packs: { total: number; copied: number };
  /** Bytes copied. */
  bytes: number;
  /** What could not be copied, cut to the first hundred. */
  damaged: { name: string; message: string }[];
  startedAt: string;
  endedAt: string;
  durationMs: number;
}

/** Heartbeat details of a copy's activities; only that attempt's own work. */
export interface CopyHeartbeat {
  phase: CopyPhase;
  packs: number;
  bytes: number;
}

export const copyIdPrefix = (host: string, job: string): string => `copy/${host}/${job}`;
