/** Names and shapes of a restore that workflow, activities and CLI share. No code that runs. */
import type { RunStatus, Warning } from './types.js';

export type OverwriteMode = 'never' | 'changed' | 'always';

/** What starts a restore: it names, never describes. `sig` is an HMAC under the state folder's input key. */
export interface RestoreInput {
  host: string;
  job: string;
  /** `latest`, a snapshot's id or its unique beginning, or an ISO time: the newest snapshot not after it. */
  snapshot: string;
  /** Absolute source paths; none means everything. */
  paths: string[];
  /** Absolute path of the directory to restore into. */
  target: string;
  overwrite: OverwriteMode;
  /** A database in place of `paths`. */
  database?: RestoreDatabase;
  /** Take packs from this destination alone. */
  destination?: string;
  sig: string;
}

/** Which database of a job is restored. */
export interface RestoreDatabase {
  source: string;
  /** Its name at its server; for SQLite the file's absolute path. */
  name: string;
  /** Left out: only the dump's files are restored, to `target`. Else `target` is a private folder they pass through. */
  load?: LoadDatabase;
}

/** Where a dump is loaded to. */
export interface LoadDatabase {
  /** The database to fill; for SQLite an absolute path. */
  into: string;
  create: boolean;
  clean: boolean;
  globals: boolean;
  jobs?: number;
  /** The server in place of the source's own, for people: without user, password and options. */
  server?: string;
}

export type RestorePhase = 'plan' | 'files' | 'finish' | 'database' | 'done';

/** Answer to the query `status`. Bytes are content, not stored bytes. */
export interface RestoreStatusAnswer {
  run: string;
  job: string;
  host: string;
  status: RunStatus;
  phase: RestorePhase;
  snapshot: string | null;
  target: string;
  files: { total: number; restored: number; skipped: number; failed: number };
  bytes: { total: number; restored: number };
  slices: { done: number; total: number };
  startedAt: string;
}

/** `restore --json`: one run's document. Lists are cut; `more` says how many entries each lost. */
export interface RestoreDocument {
  run: string;
  job: string;
  snapshot: string;
  status: RunStatus;
  files: { restored: number; skipped: number; failed: number };
  bytes: number;
  /** What could not be restored, by source path. */
  damaged: { path: string; message: string }[];
  warnings: (Warning & { count: number })[];
  more: { damaged: number; warnings: number };
  /** What a database holds now. */
  database?: RestoredDatabase;
  target: string;
  startedAt: string;
  endedAt: string;
  durationMs: number;
}

export interface RestoredDatabase {
  source: string;
  name: string;
  into: string;
  server: string;
  tables: number;
  rows: number;
}

/** Heartbeat details of every restore activity; only that attempt's own work. */
export interface RestoreHeartbeat {
  phase: RestorePhase;
  slice?: number;
  files: number;
  failed: number;
  /** Bytes of content written. */
  bytes: number;
}

export const restoreIdPrefix = (host: string, job: string): string => `restore/${host}/${job}`;
