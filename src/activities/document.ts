import type { RunDocument, RunStatus } from '../workflows/types.js';

/** The document of a run that has not got anywhere yet. */
export function emptyDocument(run: string, job: string, startedAt: string, status: RunStatus): RunDocument {
  return {
    run,
    job,
    snapshot: null,
    status,
    mode: null,
    files: { total: 0, new: 0, changed: 0, unreadable: 0 },
    bytes: { source: 0, read: 0, new: 0, stored: 0 },
    destinations: [],
    warnings: [],
    startedAt,
    endedAt: null,
    durationMs: null,
  };
}
