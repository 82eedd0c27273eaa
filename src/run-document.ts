/** What is known of one run: the shape that workflows, the history, the CLI and notifications share. */

export type RunStatus = 'queued' | 'running' | 'paused' | 'succeeded' | 'partial' | 'failed' | 'cancelled' | 'skipped';

export type DestinationState = 'pending' | 'stored' | 'missed' | 'healed' | 'failed';

export interface Warning {
  code: string;
  message: string;
  path?: string;
}

/** `backup --json`: one run's document. */
export interface RunDocument {
  run: string;
  job: string;
  snapshot: string | null;
  status: RunStatus;
  mode: 'full' | 'differential' | 'incremental' | null;
  files: { total: number; new: number; changed: number; unreadable: number };
  bytes: { source: number; read: number; new: number; stored: number };
  destinations: { name: string; status: DestinationState; packs: number; bytes: number; error: string | null }[];
  warnings: Warning[];
  startedAt: string;
  endedAt: string | null;
  durationMs: number | null;
  /** For `skipped`: the run this one gave way to. */
  joined?: string;
  error?: { code: string; message: string; hint?: string };
}
