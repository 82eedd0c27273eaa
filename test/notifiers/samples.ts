import type { RunDocument } from '../../src/run-document.js';

/** A run of three destinations that went well, but for what `change` says. */
export function run(change: Partial<RunDocument> = {}): RunDocument {
  return {
    run: 'backup/web-1/site/20261122T030000.000Z',
    job: 'site',
    snapshot: '00112233445566aa',
    status: 'succeeded',
    mode: 'incremental',
    files: { total: 1200, new: 10, changed: 5, unreadable: 0 },
    bytes: { source: 5e9, read: 2e8, new: 1e8, stored: 4e7 },
    destinations: ['nas', 'vault', 'offsite'].map((name) => ({
      name,
      status: 'stored' as const,
      packs: 2,
      bytes: 100,
      error: null,
    })),
    warnings: [],
    startedAt: '2026-11-22T03:00:00.000Z',
    endedAt: '2026-11-22T03:04:10.000Z',
    durationMs: 250_000,
    ...change,
  };
}

/** The same, failed for want of `offsite`. */
export function failed(change: Partial<RunDocument> = {}): RunDocument {
  const { destinations } = run();
  return run({
    status: 'failed',
    destinations: destinations.map((one) =>
      one.name === 'offsite'
        ? { ...one, status: 'missed', error: 'AuthDenied: offsite refused the key (403 InvalidAccessKeyId)' }
        : one,
    ),
    error: { code: 'DestinationMissing', message: 'stored at 2 of 3 destinations, at least 3 are needed' },
    ...change,
  });
}
