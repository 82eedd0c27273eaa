import { HoldfastError } from '../errors.js';
import type { Catalog, SnapshotRow } from './catalog.js';

const isoTime = /^\d{4}-\d{2}-\d{2}([T ]|$)/;

/**
 * The snapshot that `reference` means: `latest` (by seq), an id or its unique beginning, or an ISO time (the newest one
 * not after it; a bare date is that day's end in UTC).
 * @throws HoldfastError SnapshotUnknown saying what there is.
 */
export function resolveSnapshot(catalog: Catalog, reference: string): SnapshotRow {
  const rows = catalog.snapshots();
  const newest = rows[0];
  if (!newest) {
    throw new HoldfastError('SnapshotUnknown', 'there is no snapshot yet', {
      hint: "Make one with 'holdfast backup JOB'.",
    });
  }
  if (reference === 'latest') return newest;
  if (isoTime.test(reference)) {
    const limit = Date.parse(/^\d{4}-\d{2}-\d{2}$/.test(reference) ? `${reference}T23:59:59.999Z` : reference);
    if (!Number.isNaN(limit)) {
      const found = rows.find((row) => Date.parse(row.root.time) <= limit);
      if (found) return found;
      throw new HoldfastError(
        'SnapshotUnknown',
        `no snapshot is as old as ${reference}; the oldest is of ${rows.at(-1)?.root.time}`,
      );
    }
  }
  const matches = /^[0-9a-f]{1,16}$/.test(reference) ? rows.filter((row) => row.id.startsWith(reference)) : [];
  const only = matches[0];
  if (only && matches.length === 1) return only;
  const hint =
    "Name 'latest', an id from 'holdfast snapshots', its unique beginning, or a time such as 2026-11-22T03:00Z.";
  if (only) {
    const ids = matches.slice(0, 5).map((row) => row.id);
    throw new HoldfastError(
      'SnapshotUnknown',
      `${matches.length} snapshots begin with ${reference}: ${ids.join(', ')}`,
      { hint },
    );
  }
  throw new HoldfastError('SnapshotUnknown', `there is no snapshot ${reference}; the newest is ${newest.id}`, { hint });
}

/**
 * The snapshot that `reference` means, which must hold a path of a source; `latest` is the newest one that does.
 * @throws HoldfastError SnapshotUnknown, naming what is wanted as `what`.
 */
export function resolveHolding(
  catalog: Catalog,
  reference: string,
  { source, path }: { source: string; path: string },
  what: string,
): SnapshotRow {
  const holds = (row: SnapshotRow): boolean =>
    row.root.sources.some((result) => result.name === source && result.paths.includes(path));
  const resolved = resolveSnapshot(catalog, reference);
  if (holds(resolved)) return resolved;
  const newest = catalog.snapshots().find(holds);
  if (!newest) throw new HoldfastError('SnapshotUnknown', `no snapshot holds ${what}`);
  if (reference === 'latest') return newest;
  throw new HoldfastError('SnapshotUnknown', `snapshot ${resolved.id} does not hold ${what}`, {
    hint: `The newest that does is ${newest.id} of ${newest.root.time}.`,
  });
}
