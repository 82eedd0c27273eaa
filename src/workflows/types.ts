/** Names and shapes that workflows, activities and the CLI share. No code that runs. */
import type { DeliveryStatus, DestinationState, RunDocument, RunStatus, Warning } from '../run-document.js';

export type { DeliveryStatus, DestinationState, RunDocument, RunStatus, Warning };

export const closedStatuses: readonly RunStatus[] = ['succeeded', 'partial', 'failed', 'cancelled', 'skipped'];

export type Phase =
  | 'queued'
  | 'begin'
  | 'dump'
  | 'snapshot'
  | 'store'
  | 'manifest'
  | 'archive'
  | 'commit'
  | 'prune'
  | 'notify'
  | 'done';

export interface BackupOptions {
  /** Start a new generation. */
  full?: boolean;
  /** This run only: refer to the last full snapshot alone. */
  differential?: boolean;
  /** Read every file and still deduplicate. */
  reread?: boolean;
  /** Take over a repository that another state folder owns. */
  takeOver?: boolean;
}

/** What starts a backup: it names, never describes. `sig` is an HMAC under the state folder's input key. */
export interface BackupInput {
  host: string;
  job: string;
  configHash: string;
  options: BackupOptions;
  sig: string;
  /** Set by continue-as-new only. */
  carried?: BackupCarried;
}

/** State handed over by continue-as-new. */
export interface BackupCarried {
  startedAt: string;
  nextBatch: number;
  batches: number;
  destinations: DestinationProgress[];
  paused: boolean;
  triggered: boolean;
  restarts: number;
  totals: Totals;
  warnings?: Warning[];
  /** The snapshot whose batches these are; another one after the spool was lost in between. */
  snapshot?: string;
  /** By destination: sealed groups that it has yet to be sent, as ranges of batches, ends included. */
  queues?: Record<string, [from: number, to: number][]>;
}

export interface Totals {
  files: number;
  newFiles: number;
  changedFiles: number;
  unreadable: number;
  sourceBytes: number;
  readBytes: number;
  newBytes: number;
  storedBytes: number;
}

export interface DestinationProgress {
  name: string;
  state: DestinationState;
  packs: number;
  bytes: number;
  /** Batches whose upload failed, to be healed at commit. */
  misses: number;
  error?: string;
  /** While it is tried again: when the run gives up on it (ISO 8601), unless it gets on before. */
  retryUntil?: string;
}

/** Answer to the query `status`. */
export interface BackupStatusAnswer {
  run: string;
  job: string;
  host: string;
  status: RunStatus;
  phase: Phase;
  batches: { done: number; total: number };
  totals: Totals;
  destinations: DestinationProgress[];
  startedAt: string;
  message?: string;
}

export const signalNames = {
  pause: 'pause',
  resume: 'resume',
  trigger: 'trigger',
  retry: 'retry',
  more: 'more',
} as const;
export const statusQuery = 'status';
/** Type of the failure that an activity of a dead worker gets. */
export const workerLost = 'WorkerLost';
/** Types of failures that say nothing of the step itself: its worker died, or was stopped (the SDK's own name). */
export const workerGone: readonly string[] = [workerLost, 'WorkerShutdown'];
export const controlQueue = 'holdfast';
export const hostQueue = (host: string): string => `holdfast.${host}`;
export const backupIdPrefix = (host: string, job: string): string => `backup/${host}/${job}`;
export const deliverId = (host: string, job: string, destination: string): string =>
  `deliver/${host}/${job}/${destination}`;

/** Heartbeat details of every long activity. */
export interface HeartbeatDetails {
  phase: Phase;
  destination?: string;
  files: number;
  read: number;
  new: number;
  stored: number;
  /** Bytes to do in this activity, where known. */
  total?: number;
}
