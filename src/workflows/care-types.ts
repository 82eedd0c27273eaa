/** Names and shapes of prunes and checks that workflows, activities and CLI share. No code that runs. */
import type { Warning } from './types.js';

/** What starts a prune: it names, never describes. `sig` is an HMAC under the state folder's input key. */
export interface PruneInput {
  host: string;
  job: string;
  /** Believe the clocks though they seem to have jumped. */
  trustClock?: boolean;
  sig: string;
}

/** Why one snapshot stays at a destination; no reason: it goes. */
export interface PruneVerdict {
  id: string;
  time: string;
  mode: string;
  complete: boolean;
  keep: boolean;
  reasons: string[];
}

export interface PruneDestination {
  name: string;
  /** `planned` with --dry-run; `skipped`: nothing may be removed there, `error` says why. */
  status: 'pruned' | 'planned' | 'skipped' | 'failed';
  error: string | null;
  /** Roots removed, or that would be. */
  removed: number;
  /** Packs and indexes marked for deletion, deleted, put together anew. */
  marked: number;
  deleted: number;
  repacked: number;
  /** Stored bytes of the deleted ones. */
  freed: number;
  snapshots: PruneVerdict[];
  /** What somebody should hear of: locked objects, damaged snapshots. Absent of what an older worker did. */
  warnings?: Warning[];
}

/** `prune --json`: one job's document. */
export interface PruneDocument {
  run: string | null;
  job: string;
  dryRun: boolean;
  destinations: PruneDestination[];
}

/** What starts a check. */
export interface CheckInput {
  host: string;
  job: string;
  /** This destination alone. */
  destination?: string;
  /** Percent of the stored bytes to read, those read longest ago first; 0: none. */
  readData: number;
  /** By the schedule: read as much as `check.readAllWithin` asks for. */
  scheduled?: boolean;
  repair: boolean;
  sig: string;
}

export type FindingKind = 'missing' | 'size' | 'damaged' | 'unresolved' | 'rolledBack' | 'replaced' | 'unreachable';

/** Something that is not as it should be. */
export interface Finding {
  destination: string;
  kind: FindingKind;
  /** The object's name below the repository, or the snapshot or chunk concerned. */
  object: string;
  message: string;
  /** Files that can't be restored from this destination for it, at most 100. */
  files: { path: string; snapshots: string[] }[];
  /** How many more files. */
  moreFiles: number;
  /** Snapshots concerned. */
  snapshots: string[];
  /** Where the content was taken from; absent: it is as it was. */
  repaired?: string;
}

export interface CheckDestination {
  name: string;
  error: string | null;
  snapshots: number;
  objects: number;
  bytes: number;
  /** Packs and bytes downloaded, decrypted and hashed by this run. */
  read: { packs: number; bytes: number };
  /** Packs that no snapshot needs. */
  unneeded: { packs: number; bytes: number };
  /** When the pack whose last reading is longest ago was read; null: one was never read. */
  oldestRead: string | null;
}

/** `check --json`. */
export interface CheckDocument {
  run: string;
  job: string;
  /** `partial`: what could be read is clean, but not every destination could. */
  status: 'clean' | 'partial' | 'repaired' | 'damaged';
  destinations: CheckDestination[];
  findings: Finding[];
  moreFindings: number;
  warnings: Warning[];
  startedAt: string;
  endedAt: string;
  durationMs: number;
}

export const pruneIdPrefix = (host: string, job: string): string => `prune/${host}/${job}`;
export const checkIdPrefix = (host: string, job: string): string => `check/${host}/${job}`;
