import type { JobConfig } from '../config/schema.js';
import { machineTimezone } from '../config/timezone.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import { clockToleranceMs } from '../repository/clock.js';
import { applyRetention, type Verdict } from '../repository/retention.js';

/** Why each of a destination's snapshots stays, newest first; one without a reason goes. By the days of the job's time zone. */
export function retentionVerdicts(
  catalog: Catalog,
  job: JobConfig,
  rows: readonly SnapshotRow[],
  now: number,
): Verdict[] {
  const rules = job.retention;
  if (!rules) return rows.map(({ id }) => ({ id, reasons: ['the job has no retention'] }));
  // Taken while a clock was wrong: how old it is can't be told, so it stays and fills no rule's place.
  const isAhead = (time: string): boolean => Date.parse(time) > now + clockToleranceMs;
  const ahead = rows.filter(({ root }) => isAhead(root.time));
  const snapshots = rows
    .filter((row) => !ahead.includes(row))
    .map(({ root }) => ({
      id: root.id,
      seq: root.seq,
      time: Date.parse(root.time),
      complete: root.complete,
      pinned: root.pinned === true || catalog.isPinned(root.id),
      mode: root.mode,
      generation: root.generation,
      ...(root.archive?.base === undefined ? {} : { base: root.archive.base.snapshot }),
    }));
  return [
    ...ahead.map(({ id }) => ({ id, reasons: ['dated in the future'] })),
    ...applyRetention(snapshots, rules, now, timezoneOf(job)),
  ];
}

const timezoneOf = ({ schedule }: JobConfig): string =>
  schedule !== undefined && 'timezone' in schedule ? schedule.timezone : machineTimezone();
