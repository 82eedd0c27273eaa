import type { SnapshotMode } from './root.js';

/** How many snapshots to keep, by period; `keepWithin` in milliseconds. */
export interface RetentionRules {
  keepLast?: number;
  keepHourly?: number;
  keepDaily?: number;
  keepWeekly?: number;
  keepMonthly?: number;
  keepYearly?: number;
  keepWithin?: number;
}

export interface RetainedSnapshot {
  id: string;
  seq: number;
  /** When it was taken, ms since 1970. */
  time: number;
  complete: boolean;
  pinned: boolean;
  mode?: SnapshotMode;
  generation?: string;
  /** The snapshot whose archive this one's builds on. */
  base?: string;
}

/** Why a snapshot stays; no reason means that it goes. */
export type Verdict = { id: string; reasons: string[] };

/** The calendar of one time zone: the hour, day, week, month and year that a moment belongs to there. */
function calendar(timezone: string): [keyof RetentionRules, string, (time: number) => string][] {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    calendar: 'iso8601',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    era: 'short',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  });
  /** What a clock on the wall shows, as if it were UTC. */
  const local = (time: number): Date => {
    const parts = Object.fromEntries(format.formatToParts(time).map(({ type, value }) => [type, value]));
    const year = Number(parts.year) * (parts.era === 'BC' || parts.era === 'B' ? -1 : 1);
    const [month, day] = [Number(parts.month), Number(parts.day)];
    return new Date(Date.UTC(year, month - 1, day, Number(parts.hour), Number(parts.minute), Number(parts.second)));
  };
  /** To whole seconds, as the clock on the wall shows no others. */
  const offset = (time: number): number => local(time).getTime() - Math.floor(time / 1000) * 1000;
  return [
    // With the offset: the hour that a change of the clocks repeats counts as two.
    ['keepHourly', 'hourly', (time) => `${local(time).toISOString().slice(0, 13)} ${offset(time)}`],
    ['keepDaily', 'daily', (time) => local(time).toISOString().slice(0, 10)],
    ['keepWeekly', 'weekly', (time) => isoWeek(local(time))],
    ['keepMonthly', 'monthly', (time) => local(time).toISOString().slice(0, 7)],
    ['keepYearly', 'yearly', (time) => local(time).toISOString().slice(0, 4)],
  ];
}

function isoWeek(date: Date): string {
  const thursday = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const week = Math.ceil(((thursday.getTime() - Date.UTC(thursday.getUTCFullYear(), 0, 1)) / 86_400_000 + 1) / 7);
  return `${thursday.getUTCFullYear()}-W${week}`;
}

/**
 * Decides for every snapshot why it stays. Order is by `seq`; only complete snapshots fill a rule's places; whatever is
 * newer than the newest complete one stays, and so does that one. `now` in ms bounds `keepWithin`; hours, days, weeks (from Monday), months and years are those of `timezone`.
 */
export function applyRetention(
  snapshots: readonly RetainedSnapshot[],
  rules: RetentionRules,
  now: number,
  timezone = 'UTC',
): Verdict[] {
  const newestFirst = [...snapshots].sort((a, b) => b.seq - a.seq || (a.id < b.id ? -1 : 1));
  const good = newestFirst.filter((snapshot) => snapshot.complete);
  const reasons = new Map<string, string[]>(newestFirst.map((snapshot) => [snapshot.id, []]));
  const keep = (id: string, why: string): void => {
    reasons.get(id)?.push(why);
  };
  const newestGood = good[0];
  for (const snapshot of newestFirst) {
    if (snapshot.pinned) keep(snapshot.id, 'pinned');
    if (!newestGood || snapshot.seq > newestGood.seq) keep(snapshot.id, 'newer than the last complete snapshot');
  }
  if (newestGood) keep(newestGood.id, 'the last complete snapshot');
  for (const snapshot of good.slice(0, rules.keepLast ?? 0)) keep(snapshot.id, 'last');
  for (const [rule, name, period] of calendar(timezone)) {
    const count = rules[rule] ?? 0;
    const seen = new Set<string>();
    for (const snapshot of good) {
      if (seen.size >= count) break;
      const bucket = period(snapshot.time);
      if (seen.has(bucket)) continue;
      seen.add(bucket);
      keep(snapshot.id, name);
    }
  }
  const within = rules.keepWithin ?? 0;
  if (within > 0) {
    for (const snapshot of newestFirst) if (snapshot.time >= now - within) keep(snapshot.id, 'within');
  }
  // The next differential snapshot refers to the newest full one, which those that are kept share their packs with anyway.
  const base = newestFirst.find((snapshot) => snapshot.mode === 'full');
  const isBase = (snapshot: RetainedSnapshot): boolean =>
    snapshot.mode === 'differential' &&
    snapshot.generation === base?.generation &&
    (reasons.get(snapshot.id)?.length ?? 0) > 0;
  if (base && newestFirst.some(isBase)) keep(base.id, 'differential snapshots build on it');
  for (const { id, base: needed } of newestFirst) {
    if (needed === undefined || reasons.get(id)?.length === 0 || reasons.get(needed)?.length !== 0) continue;
    keep(needed, 'a differential archive builds on it');
  }
  return newestFirst.map(({ id }) => ({ id, reasons: reasons.get(id) ?? [] }));
}
