import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkClocks } from '../../src/repository/clock.js';
import { applyRetention, type RetainedSnapshot, type RetentionRules } from '../../src/repository/retention.js';

const day = 86_400_000;
const start = Date.UTC(2026, 0, 1, 3);

const snapshot = (seq: number, time: number, change: Partial<RetainedSnapshot> = {}): RetainedSnapshot => ({
  id: String(seq).padStart(4, '0'),
  seq,
  time,
  complete: true,
  pinned: false,
  ...change,
});
const daily = (count: number): RetainedSnapshot[] =>
  Array.from({ length: count }, (_, at) => snapshot(at + 1, start + at * day));

/** The seqs that stay, ascending. */
function kept(snapshots: RetainedSnapshot[], rules: RetentionRules, now = start + 1000 * day): number[] {
  return applyRetention(snapshots, rules, now)
    .filter(({ reasons }) => reasons.length > 0)
    .map(({ id }) => Number(id))
    .sort((a, b) => a - b);
}

describe('rules', () => {
  test('keepLast counts snapshots', () => {
    expect(kept(daily(10), { keepLast: 3 })).toEqual([8, 9, 10]);
  });

  test('keepDaily keeps the newest of a day', () => {
    const twice = [
      snapshot(1, start),
      snapshot(2, start + 3600_000),
      snapshot(3, start + day),
      snapshot(4, start + day + 60_000),
    ];
    expect(kept(twice, { keepDaily: 7 })).toEqual([2, 4]);
  });

  test('keepWeekly goes by ISO weeks, also around the new year', () => {
    // 2026-01-01 is a Thursday of week 1, which began on 2025-12-29.
    const days = Array.from({ length: 20 }, (_, at) => snapshot(at + 1, Date.UTC(2025, 11, 22) + at * day));
    expect(kept(days, { keepWeekly: 10 })).toEqual([7, 14, 20]);
  });

  test('keepMonthly and keepYearly', () => {
    const months = Array.from({ length: 30 }, (_, at) => snapshot(at + 1, Date.UTC(2024, at, 15)));
    expect(kept(months, { keepMonthly: 3 })).toEqual([28, 29, 30]);
    expect(kept(months, { keepYearly: 5 })).toEqual([12, 24, 30]);
  });

  test('keepHourly and keepWithin', () => {
    // Runs don't begin at whole seconds.
    const quarters = Array.from({ length: 12 }, (_, at) => snapshot(at + 1, start + at * 900_000 + at * 17));
    expect(kept(quarters, { keepHourly: 2 })).toEqual([8, 12]);
    expect(kept(quarters, { keepWithin: 3600_000 }, start + 12 * 900_000)).toEqual([9, 10, 11, 12]);
  });

  test('rules add up, and every one that applies is named', () => {
    const verdict = applyRetention(daily(40), { keepLast: 1, keepDaily: 2, keepMonthly: 2 }, start + 40 * day)[0];
    expect(verdict).toEqual({ id: '0040', reasons: ['the last complete snapshot', 'last', 'daily', 'monthly'] });
    expect(kept(daily(40), { keepLast: 1, keepDaily: 2, keepMonthly: 2 })).toEqual([31, 39, 40]);
  });
});

describe('what protects data', () => {
  test('without rules the last complete snapshot stays', () => {
    expect(kept(daily(5), {})).toEqual([5]);
    expect(kept([], { keepLast: 3 })).toEqual([]);
  });

  test('incomplete ones fill no place, and stay while nothing better follows them', () => {
    const mixed = daily(6).map((each) => ({ ...each, complete: each.seq < 4 }));
    expect(kept(mixed, { keepLast: 2 })).toEqual([2, 3, 4, 5, 6]);
    expect(kept([...mixed, snapshot(7, start + 7 * day)], { keepLast: 2 })).toEqual([3, 7]);
    expect(
      kept(
        mixed.map((each) => ({ ...each, complete: false })),
        { keepLast: 1 },
      ),
    ).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('pinned ones stay', () => {
    expect(
      kept([snapshot(1, start, { pinned: true, complete: false }), ...daily(5).slice(1)], { keepLast: 1 }),
    ).toEqual([1, 5]);
  });

  test('order is by seq: a clock that jumps makes nothing newer or older', () => {
    // The third was taken while the clock stood ten years ahead.
    const jumped = [
      snapshot(1, start),
      snapshot(2, start + day),
      snapshot(3, start + 3650 * day),
      snapshot(4, start + 3 * day),
    ];
    expect(kept(jumped, { keepLast: 2 })).toEqual([3, 4]);
    expect(kept(jumped, {})).toEqual([4]);
    const backwards = daily(5).map((each) => ({ ...each, time: start - each.seq * day }));
    expect(kept(backwards, { keepLast: 1 })).toEqual([5]);
    expect(kept(backwards, { keepDaily: 2 })).toEqual([4, 5]);
  });
});

/** Any of the rules, or none: up to `most` of a kind, within `withinMs`. */
const anyRules = (most: number, withinMs: number) => {
  const count = fc.option(fc.nat({ max: most }), { nil: undefined });
  return fc.record({
    keepLast: count,
    keepHourly: count,
    keepDaily: count,
    keepWeekly: count,
    keepMonthly: count,
    keepYearly: count,
    keepWithin: fc.option(fc.nat({ max: withinMs }), { nil: undefined }),
  });
};

describe('properties', () => {
  const snapshots = fc
    .array(fc.record({ time: fc.integer({ min: 0, max: 4e12 }), complete: fc.boolean(), pinned: fc.boolean() }), {
      maxLength: 40,
    })
    .map((list) => list.map((each, at) => snapshot(at + 1, each.time, each)));
  const rules = anyRules(5, 1e11);
  const now = fc.integer({ min: 0, max: 5e12 });

  test('the order of the input does not matter, even with equal seqs', () => {
    fc.assert(
      fc.property(
        snapshots.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
        rules,
        now,
        fc.boolean(),
        ([list, shuffled], rule, at, equal) => {
          const same = (each: RetainedSnapshot): RetainedSnapshot =>
            equal ? { ...each, seq: Math.ceil(each.seq / 2) } : each;
          expect(applyRetention(shuffled.map(same), rule, at)).toEqual(applyRetention(list.map(same), rule, at));
        },
      ),
    );
  });

  test('the newest complete one, pinned ones, and whatever is newer always stay', () => {
    fc.assert(
      fc.property(snapshots, rules, now, (list, rule, at) => {
        const stay = new Set(kept(list, rule, at));
        const newestGood = Math.max(0, ...list.filter((each) => each.complete).map((each) => each.seq));
        for (const each of list) if (each.pinned || each.seq >= newestGood) expect(stay.has(each.seq)).toBe(true);
        expect(applyRetention(list, rule, at)).toHaveLength(list.length);
      }),
    );
  });

  test('more generous rules never remove more; applying twice removes nothing more', () => {
    fc.assert(
      fc.property(snapshots, rules, now, (list, rule, at) => {
        const stay = kept(list, rule, at);
        const generous = Object.fromEntries(Object.entries(rule).map(([name, value]) => [name, (value ?? 0) + 1]));
        const more = new Set(kept(list, generous, at));
        for (const seq of stay) expect(more.has(seq)).toBe(true);
        expect(
          kept(
            list.filter((each) => stay.includes(each.seq)),
            rule,
            at,
          ),
        ).toEqual(stay);
      }),
    );
  });
});

describe('clocks', () => {
  const day = 86_400_000;
  const daily = Array.from({ length: 10 }, (_, at) => ({ seq: at + 1, time: at * day }));
  const refusedAfter = (days: number, keepWithin?: number): boolean => {
    const now = (9 + days) * day;
    try {
      checkClocks('nas', daily, now, now, keepWithin);
      return false;
    } catch {
      return true;
    }
  };

  test('a jump is told from a pause by what is usual, and sooner where a rule goes by age alone', () => {
    expect([7, 30, 32].map((days) => refusedAfter(days))).toEqual([false, false, true]);
    expect([8, 9, 20].map((days) => refusedAfter(days, 14 * day))).toEqual([false, true, true]);
    expect([7, 8].map((days) => refusedAfter(days, 3600_000))).toEqual([false, false]);
    expect(refusedAfter(20, 60 * day)).toBe(false);
  });

  test('clocks more than an hour apart, and a newest snapshot of the future, are refused', () => {
    const now = 9 * day;
    expect(() => checkClocks('nas', daily, now, now + 3_700_000)).toThrow(/more than an hour/);
    expect(() => checkClocks('nas', daily, now - day, now - day)).toThrow(/newest snapshot was taken/);
  });
});

describe('time zones', () => {
  const keptIn = (timezone: string, times: string[], rules: RetentionRules): number[] =>
    applyRetention(
      times.map((time, at) => snapshot(at + 1, Date.parse(time))),
      rules,
      Date.parse(times.at(-1) ?? ''),
      timezone,
    )
      .filter(({ reasons }) => reasons.length > 0)
      .map(({ id }) => Number(id))
      .sort((a, b) => a - b);

  test('a day is the one of the zone', () => {
    // 23:30 and 00:30 in Berlin: one day in UTC, two there.
    const times = ['2026-06-01T21:30:00Z', '2026-06-01T22:30:00Z'];
    expect(keptIn('Europe/Berlin', times, { keepDaily: 5 })).toEqual([1, 2]);
    expect(keptIn('UTC', times, { keepDaily: 5 })).toEqual([2]);
    expect(keptIn('Asia/Kathmandu', ['2026-06-01T18:10:00Z', '2026-06-01T18:20:00Z'], { keepDaily: 5 })).toEqual([
      1, 2,
    ]);
  });

  test('the hour that the end of summer time repeats counts as two, and the one that its start skips as none', () => {
    const autumn = ['2026-10-24T23:30:00Z', '2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z', '2026-10-25T02:30:00Z'];
    expect(keptIn('Europe/Berlin', autumn, { keepHourly: 10 })).toEqual([1, 2, 3, 4]);
    const spring = ['2026-03-29T00:10:00Z', '2026-03-29T00:50:00Z', '2026-03-29T01:10:00Z'];
    expect(keptIn('Europe/Berlin', spring, { keepHourly: 10 })).toEqual([2, 3]);
    // 23 and 25 hours long, each is one day.
    expect(keptIn('Europe/Berlin', ['2026-10-24T22:00:00Z', '2026-10-25T22:59:00Z'], { keepDaily: 9 })).toEqual([2]);
    expect(keptIn('Europe/Berlin', ['2026-03-28T23:00:00Z', '2026-03-29T21:59:00Z'], { keepDaily: 9 })).toEqual([2]);
  });

  test('leap days, and the turn of the year', () => {
    const leap = ['2028-02-28T12:00:00Z', '2028-02-29T12:00:00Z', '2028-03-01T12:00:00Z'];
    expect(keptIn('UTC', leap, { keepDaily: 9 })).toEqual([1, 2, 3]);
    expect(keptIn('UTC', leap, { keepMonthly: 9 })).toEqual([2, 3]);
    const eve = ['2026-12-31T10:30:00Z', '2026-12-31T11:30:00Z'];
    expect(keptIn('Pacific/Auckland', eve, { keepYearly: 9 })).toEqual([1, 2]);
    expect(keptIn('Pacific/Auckland', eve, { keepWeekly: 9 })).toEqual([2]);
  });
});

test('the full snapshot that kept differential ones build on stays', () => {
  const differential = [1, 2, 3].map((seq) =>
    snapshot(seq, start + seq * day, { mode: seq === 1 ? 'full' : 'differential', generation: 'g' }),
  );
  expect(kept(differential, { keepLast: 1 })).toEqual([1, 3]);
});

/**
 * The keep rules once more, from the sentences of docs/retention.md and without a line in common: for each snapshot it asks
 * whether anything newer and good stands for the same period, and how many such periods there are that are newer.
 */
function oracle(
  snapshots: readonly RetainedSnapshot[],
  rules: RetentionRules,
  now: number,
  timezone: string,
): string[] {
  const wall = (time: number, options: Intl.DateTimeFormatOptions): string =>
    new Intl.DateTimeFormat('sv-SE', { timeZone: timezone, ...options }).format(time);
  const date = (time: number): string => wall(time, { year: 'numeric', month: '2-digit', day: '2-digit' });
  const monday = (time: number): number => {
    const at = Date.parse(`${date(time)}T00:00:00Z`) / day;
    // 1970 began on a Thursday.
    return at - ((((at + 3) % 7) + 7) % 7);
  };
  const periods: [keyof RetentionRules, (time: number) => string][] = [
    [
      'keepHourly',
      (time) => `${date(time)} ${wall(time, { hour: '2-digit', hourCycle: 'h23', timeZoneName: 'longOffset' })}`,
    ],
    ['keepDaily', date],
    ['keepWeekly', (time) => String(monday(time))],
    ['keepMonthly', (time) => date(time).slice(0, 7)],
    ['keepYearly', (time) => date(time).slice(0, 4)],
  ];
  const good = snapshots.filter(({ complete }) => complete);
  const newest = Math.max(0, ...good.map(({ seq }) => seq));
  return snapshots
    .filter((one) => {
      if (one.pinned || one.seq >= newest) return true;
      if (rules.keepWithin !== undefined && rules.keepWithin > 0 && now - one.time <= rules.keepWithin) return true;
      if (!one.complete) return false;
      const newer = good.filter(({ seq }) => seq > one.seq);
      if (newer.length < (rules.keepLast ?? 0)) return true;
      return periods.some(([rule, of]) => {
        const theirs = new Set(newer.map(({ time }) => of(time)));
        return !theirs.has(of(one.time)) && theirs.size < (rules[rule] ?? 0);
      });
    })
    .map(({ id }) => id)
    .sort();
}

test('an independent reading of the rules keeps the same, whatever the history', { timeout: 60_000 }, () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 60_000, max: 2 * day }) },
    { weight: 2, arbitrary: fc.integer({ min: day, max: 60 * day }) },
    // A clock that jumped.
    { weight: 1, arbitrary: fc.integer({ min: -400 * day, max: 400 * day }) },
  );
  const history = fc.array(
    fc.record({ step, complete: fc.boolean(), good: fc.boolean(), pinned: fc.integer({ min: 0, max: 9 }) }),
    { maxLength: 60 },
  );
  const rules = anyRules(12, 90 * day);
  const zone = fc.constantFrom(
    ...[
      'UTC',
      'Europe/Berlin',
      'America/New_York',
      'Australia/Lord_Howe',
      'Asia/Kathmandu',
      'Pacific/Apia',
      'America/Sao_Paulo',
    ],
  );
  // Around changes of the clocks, leap days and turns of the year.
  const begin = fc.constantFrom('2026-03-28T20:00Z', '2026-10-24T20:00Z', '2024-02-27T23:00Z', '2020-12-27T10:00Z');
  fc.assert(
    fc.property(history, rules, zone, begin, (steps, some, timezone, from) => {
      let time = Date.parse(from);
      const snapshots = steps.map(({ step, complete, good, pinned }, at) => {
        time += step;
        return snapshot(at + 1, time, { complete: complete || good, pinned: pinned === 0 });
      });
      const chosen = Object.fromEntries(Object.entries(some).filter(([, value]) => value !== undefined));
      const stay = applyRetention(snapshots, chosen, time, timezone)
        .filter(({ reasons }) => reasons.length > 0)
        .map(({ id }) => id)
        .sort();
      expect(stay).toEqual(oracle(snapshots, chosen, time, timezone));
    }),
    { numRuns: 300 },
  );
});
