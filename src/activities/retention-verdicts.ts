import type { JobConfig } from '../config/schema.js';
import { machineTimezone } from '../config/timezone.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import { checkClocks, clockToleranceMs } from '../repository/clock.js';
import type { Liveness } from '../repository/liveness.js';
import { applyRetention, type Verdict } from '../repository/retention.js';

const damageKey = (destination: string): string => `damaged:${destination}`;

/** Ids of the snapshots that the last prune of a destination found damaged beyond repair. */
export const damagedAt = (catalog: Catalog, destination: string): Set<string> =>
  new Set(JSON.parse(catalog.get(damageKey(destination)) ?? '[]') as string[]);

/** The next prune looks at everything again. */
export function forgetDamage(catalog: Catalog, destination: string): void {
  catalog.set(damageKey(destination), '[]');
  catalog.set(tidiedKey(destination), '');
}

/** Says '1' once a prune has found nothing more to do at a destination until a snapshot goes. */
export const tidiedKey = (destination: string): string => `tidied:${destination}`;

export function rememberDamage(catalog: Catalog, destination: string, { damaged }: Pick<Liveness, 'damaged'>): void {
  const ids = JSON.stringify([...damaged]);
  if ((catalog.get(damageKey(destination)) ?? '[]') !== ids) catalog.set(damageKey(destination), ids);
}

/**
 * Why each of a destination's snapshots stays, newest first; one without a reason goes. By the days of the job's time zone.
 * A damaged one stays where it would if it were whole, and so does what stays if it does not count as good.
 */
export function retentionVerdicts(
  catalog: Catalog,
  job: JobConfig,
  rows: readonly SnapshotRow[],
  now: number,
  damaged: ReadonlySet<string> = new Set(),
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
  const verdicts = applyRetention(snapshots, rules, now, timezoneOf(job));
  if (snapshots.some(({ id }) => damaged.has(id))) {
    const whole = snapshots.map((one) => ({ ...one, complete: one.complete && !damaged.has(one.id) }));
    const others = new Map(applyRetention(whole, rules, now, timezoneOf(job)).map((one) => [one.id, one.reasons]));
    for (const verdict of verdicts) {
      const why = others.get(verdict.id) ?? [];
      if (verdict.reasons.length === 0)
        verdict.reasons.push(...why.map((reason) => `${reason}, as others are damaged`));
    }
  }
  return [...ahead.map(({ id }) => ({ id, reasons: ['dated in the future'] })), ...verdicts];
}

const timezoneOf = ({ schedule }: JobConfig): string =>
  schedule !== undefined && 'timezone' in schedule ? schedule.timezone : machineTimezone();

/**
 * Refuses to remove anything at a destination by clocks that contradict one another or have jumped.
 * @throws HoldfastError ClockJumped.
 */
export function refuseJumpedClocks(job: JobConfig, destination: string, rows: readonly SnapshotRow[], now: Date): void {
  const times = rows.map(({ seq, root }) => ({ seq, time: Date.parse(root.time) }));
  checkClocks(destination, times, Date.now(), now.getTime(), job.retention?.keepWithin);
}
