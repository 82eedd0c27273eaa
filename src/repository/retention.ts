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
}

/** Why a snapshot stays; no reason means that it goes. */
export type Verdict = { id: string; reasons: string[] };

const periods: [keyof RetentionRules, string, (date: Date) => string][] = [
  ['keepHourly', 'hourly', (date) => date.toISOString().slice(0, 13)],
  ['keepDaily', 'daily', (date) => date.toISOString().slice(0, 10)],
  ['keepWeekly', 'weekly', isoWeek],
  ['keepMonthly', 'monthly', (date) => date.toISOString().slice(0, 7)],
  ['keepYearly', 'yearly', (date) => date.toISOString().slice(0, 4)],
];

function isoWeek(date: Date): string {
  const thursday = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const week = Math.ceil(((thursday.getTime() - Date.UTC(thursday.getUTCFullYear(), 0, 1)) / 86_400_000 + 1) / 7);
  return `${thursday.getUTCFullYear()}-W${week}`;
}

/**
 * Decides for every snapshot why it stays. Order is by `seq`; only complete snapshots fill a rule's places; whatever is
 * newer than the newest complete one stays, and so does that one. `now` in ms bounds `keepWithin`.
 */
export function applyRetention(snapshots: readonly RetainedSnapshot[], rules: RetentionRules, now: number): Verdict[] {
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
  for (const [rule, name, period] of periods) {
    const count = rules[rule] ?? 0;
    const seen = new Set<string>();
    for (const snapshot of good) {
      if (seen.size >= count) break;
      const bucket = period(new Date(snapshot.time));
      if (seen.has(bucket)) continue;
      seen.add(bucket);
      keep(snapshot.id, name);
    }
  }
  const within = rules.keepWithin ?? 0;
  if (within > 0) {
    for (const snapshot of newestFirst) if (snapshot.time >= now - within) keep(snapshot.id, 'within');
  }
  return newestFirst.map(({ id }) => ({ id, reasons: reasons.get(id) ?? [] }));
}
