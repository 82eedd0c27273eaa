/** Names and shapes of drills that workflow, activities and CLI share. No code that runs. */
import type { Warning } from './types.js';

/** What starts a drill. What it restores and asks is in the job's config. */
export interface DrillInput {
  host: string;
  job: string;
  /** Percent of the files to restore, in place of the config's. */
  sample?: number;
  /** As `restore` takes it, in place of the newest complete one. */
  snapshot?: string;
  scheduled?: boolean;
  sig: string;
}

/** A database that was restored into a temporary one. */
export interface DrillDatabase {
  source: string;
  name: string;
  status: 'passed' | 'failed';
  server: string | null;
  tables: number;
  rows: number;
  durationMs: number;
}

/** What an assertion found. */
export interface DrillAssertResult {
  kind: 'sql' | 'command';
  /** The query or the command. */
  assert: string;
  status: 'passed' | 'failed';
  /** sql: where it was asked, what was expected and found; null: no row, or NULL. */
  source?: string;
  database?: string;
  expected?: string;
  found?: string | null;
  /** command: its exit code (null: it was killed) and the end of what it printed. */
  exitCode?: number | null;
  output?: string;
}

export interface DrillProblem {
  code: string;
  message: string;
  /** The file concerned. */
  path?: string;
}

/** `drill --json`, and what the history keeps. Bytes are content. */
export interface DrillReport {
  drill: string;
  job: string;
  /** null: none could be chosen. */
  snapshot: string | null;
  status: 'passed' | 'failed';
  scheduled: boolean;
  /** Percent of the files that was asked for. */
  sample: number;
  /** Files restored and found as they should be, and their bytes. */
  files: number;
  bytes: number;
  /** Files that were to be restored, and all of the snapshot. */
  sampled: { files: number; bytes: number };
  total: { files: number; bytes: number };
  databases: DrillDatabase[];
  asserts: DrillAssertResult[];
  /** How long the sample took to restore; by its bytes, how long all files would take; null where nothing can be said. */
  restoreMs: number;
  wholeRestoreMs: number | null;
  problems: DrillProblem[];
  moreProblems: number;
  warnings: Warning[];
  startedAt: string;
  endedAt: string;
  durationMs: number;
}

export const drillIdPrefix = (host: string, job: string): string => `drill/${host}/${job}`;
