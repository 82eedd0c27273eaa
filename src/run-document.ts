/** What is known of one run: the shape that workflows, the history, the CLI and notifications share. */

export type RunStatus = 'queued' | 'running' | 'paused' | 'succeeded' | 'partial' | 'failed' | 'cancelled' | 'skipped';

export type DestinationState = 'pending' | 'stored' | 'missed' | 'healed' | 'failed';

export interface Warning {
  code: string;
  message: string;
  path?: string;
}

/** How the delivery of what a destination missed stands. */
export interface DeliveryStatus {
  /** Snapshots it still misses; null before that is known. */
  left: number | null;
  error: string | null;
  /** When it is tried again (ISO 8601); null while it is being tried. */
  nextTry: string | null;
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
  destinations: {
    name: string;
    status: DestinationState;
    packs: number;
    bytes: number;
    error: string | null;
    /** `runs show`, while it is tried again: when the run gives up on it (ISO 8601). */
    retryUntil?: string;
    /** `runs show`: how the delivery of what it missed stands. */
    delivery?: DeliveryStatus;
  }[];
  warnings: Warning[];
  startedAt: string;
  endedAt: string | null;
  durationMs: number | null;
  /** For `skipped`: the run this one gave way to. */
  joined?: string;
  error?: { code: string; message: string; hint?: string };
}

/** `backup/web-1/site/2026...` and, of a schedule, `backup/web-1/site-2026...`. */
export function jobOfRun(run: string): string {
  const name = run.split('/')[2] ?? run;
  return name.replace(/-\d{4}-\d\d-\d\dT[\d:.]+Z$/, '');
}
