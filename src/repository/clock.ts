import { HoldfastError } from '../errors.js';
import type { RetainedSnapshot } from './retention.js';

/** Clocks this far apart contradict one another. */
export const clockToleranceMs = 3600 * 1000;
const dayMs = 86_400_000;
/** A gap between two snapshots is strange from this length on, and from this many times the usual one. */
const strangeGapMs = 31 * dayMs;
const strangeFactor = 8;
/** With `keepWithin` half of that is enough, so that it can't pass in one jump; but not what a machine is off for now and then. */
const leastStrangeMs = 7 * dayMs;
/** What came behind a strange gap is believed once it is this many snapshots over this time. */
const believedCount = 3;
const believedMs = 3 * dayMs;

const iso = (time: number): string => new Date(time).toISOString();

/**
 * Refuses to go by clocks that contradict one another, or that jumped ahead a short while ago: retention by such a clock
 * could empty a repository.
 * @param host, destination: what either's clock says now, ms since 1970.
 * @param keepWithin the rule of that name, ms: the one that goes by age alone.
 * @throws HoldfastError ClockJumped, not retryable.
 */
export function checkClocks(
  name: string,
  snapshots: readonly Pick<RetainedSnapshot, 'seq' | 'time'>[],
  host: number,
  destination: number,
  keepWithin = Number.POSITIVE_INFINITY,
): void {
  const refuse = (what: string, hint: string): never => {
    throw new HoldfastError('ClockJumped', `${name}: ${what}; nothing is removed`, { hint, retryable: false });
  };
  if (Math.abs(destination - host) > clockToleranceMs) {
    refuse(
      `its clock says ${iso(destination)}, more than an hour from this host's (${iso(host)})`,
      'Set both clocks right; retention goes on with the next run.',
    );
  }
  const newestFirst = [...snapshots].sort((a, b) => b.seq - a.seq);
  const newest = newestFirst[0];
  if (!newest) return;
  if (newest.time > destination + clockToleranceMs) {
    refuse(
      `the newest snapshot was taken at ${iso(newest.time)}, but it is ${iso(destination)} now`,
      'Set the clock right; retention goes on with the next run.',
    );
  }
  const gaps = newestFirst.slice(1).map((snapshot, at) => (newestFirst[at]?.time ?? 0) - snapshot.time);
  const usual = [...gaps].sort((a, b) => a - b)[(gaps.length - 1) >> 1] ?? 0;
  const strange = Math.min(strangeGapMs, Math.max(leastStrangeMs, keepWithin / 2));
  const steps = [Math.max(destination, newest.time) - newest.time, ...gaps];
  for (const [at, gap] of steps.entries()) {
    const since = at === 0 ? 0 : destination - (newestFirst[at - 1]?.time ?? 0);
    if (at >= believedCount && since >= believedMs) return;
    if (gaps.length > 1 && gap > strange && gap > strangeFactor * usual) {
      refuse(
        `${Math.round(gap / dayMs)} days passed, by the clock, between ${iso(newestFirst[at]?.time ?? 0)} and what followed: it may have jumped`,
        'Retention goes on by itself after three more snapshots over three days; if the clock is right, `holdfast prune JOB --trust-clock`.',
      );
    }
  }
}
