import LogisticRegression from 'ml-logistic-regression';
import { Matrix } from 'ml-matrix';
import type { RunFigures } from './figures.js';

/** How likely the next run is not to end well, and why. */
export interface Risk {
  /** 0 to 1: the next run ends `failed` or leaves a destination out. */
  probability: number;
  /** `model`: logistic regression over this host's own runs; `base`: how often runs went wrong, for want of runs. */
  basis: 'model' | 'base';
  /** Runs it was learnt from. */
  runs: number;
  /** What speaks for it, weightiest first, in words. */
  reasons: string[];
}

/** What else is known of the present, beside the runs. */
export interface Present {
  /** ISO 8601; default: when the next run is due. */
  now?: string;
}

/** Fewer runs, or fewer that went wrong, teach no model. */
const enoughRuns = 30;
const enoughFailures = 5;
const memory = 250;
const steps = 60;

interface Feature {
  name: string;
  /** From the runs before, newest first (one at least). */
  value(before: readonly RunFigures[], at: number): number;
  /** Why, in words, when it speaks for a failure. */
  reason(value: number): string;
}

export const wentWrong = (run: RunFigures): boolean =>
  run.status === 'failed' || run.destinations.some(({ state }) => state === 'missed' || state === 'failed');

const share = (runs: readonly RunFigures[]): number =>
  runs.length === 0 ? 0 : runs.filter(wentWrong).length / runs.length;
const day = 86_400_000;

const features: readonly Feature[] = [
  { name: 'last', value: ([last]) => (last && wentWrong(last) ? 1 : 0), reason: () => 'the last run went wrong' },
  {
    name: 'lastFive',
    value: (before) => share(before.slice(0, 5)),
    reason: (value) => `${Math.round(value * 5)} of the last 5 runs went wrong`,
  },
  {
    name: 'lastThirty',
    value: (before) => share(before.slice(0, 30)),
    reason: (value) => `${Math.round(value * 100)} % of the last 30 runs went wrong`,
  },
  {
    name: 'retries',
    value: (before) => Math.log1p(misses(before.slice(0, 3))),
    reason: (value) => `${Math.round(Math.expm1(value))} uploads of the last 3 runs had to be repeated`,
  },
  {
    name: 'retryTrend',
    value: (before) => Math.max(-3, Math.min(3, misses(before.slice(0, 3)) - misses(before.slice(3, 6)))),
    reason: () => 'uploads are repeated more and more often',
  },
  {
    name: 'duration',
    value: (before) => Math.max(-2, Math.min(2, Math.log2(ratio(before)))),
    reason: (value) => `the last run took ${(2 ** value).toFixed(1)} times as long as usual`,
  },
  {
    name: 'space',
    value: ([last]) => tightness(last),
    reason: (value) => `a destination is ${Math.round(value * 100)} % full`,
  },
  {
    name: 'access',
    value: (before) => (/Auth|Secret|Token/.test(before.find(wentWrong)?.error ?? '') ? 1 : 0),
    reason: () => 'the last failure was one of access rights',
  },
  {
    name: 'sinceGood',
    value: (before, at) => Math.min(3, Math.log1p(sinceGood(before, at))),
    reason: (value) => `the last good run was ${Math.expm1(value).toFixed(1)} days ago`,
  },
];

const lastColumn = features.findIndex(({ name }) => name === 'last');

/**
 * The risk of the next run, from the job's (or the host's) earlier ones: logistic regression trained on those very runs,
 * or the rate at which they went wrong where they are too few.
 *
 * @param runs in any order.
 */
export function failureRisk(runs: readonly RunFigures[], present: Present = {}): Risk {
  const ordered = [...runs].sort((a, b) => (a.at < b.at ? 1 : -1)).slice(0, memory);
  const failures = ordered.filter(wentWrong).length;
  // Laplace's rule of succession: never certain of what was seen a few times only.
  const base = (failures + 1) / (ordered.length + 2);
  const next = nextStart(ordered, present);
  const point = ordered.length > 0 ? features.map((feature) => feature.value(ordered, next)) : [];
  if (ordered.length < enoughRuns || failures < enoughFailures || ordered.length - failures < enoughFailures) {
    const reasons = features.flatMap((feature, at) => ((point[at] ?? 0) > 0.5 ? [feature.reason(point[at] ?? 0)] : []));
    return { probability: base, basis: 'base', runs: ordered.length, reasons };
  }
  const model = train(ordered, base);
  return { ...model(point), basis: 'model', runs: ordered.length };
}

/** Learns from each run what the ones before it had foretold. */
function train(
  ordered: readonly RunFigures[],
  base: number,
): (point: number[]) => Pick<Risk, 'probability' | 'reasons'> {
  const rows: number[][] = [];
  const classes: number[] = [];
  for (let at = 0; at < ordered.length - 3; at++) {
    const run = ordered[at]!;
    const before = ordered.slice(at + 1);
    rows.push(features.map((feature) => feature.value(before, Date.parse(run.at))));
    classes.push(wentWrong(run) ? 1 : 0);
  }
  const scales = features.map((_, column) => scaleOf(rows.map((row) => row[column] ?? 0)));
  const scaled = (row: readonly number[]): number[] => [
    1,
    ...row.map((value, column) => {
      const { mean, deviation } = scales[column]!;
      // What was never seen is no more than very unusual.
      return Math.max(-4, Math.min(4, (value - mean) / deviation));
    }),
  ];
  const matrix = new Matrix(rows.map(scaled));
  // Few steps keep the weights small, as a penalty on them would.
  const regression = new LogisticRegression({ numSteps: steps, learningRate: 0.5 / rows.length });
  regression.train(matrix, Matrix.columnVector(classes));
  // The fewer failures it has seen, the nearer it stays to the base rate: to how often runs went wrong after one like the last.
  const failures = classes.filter((one) => one === 1).length;
  const trust = failures / (failures + 10);
  const after = { good: rateAfter(ordered, false, base), wrong: rateAfter(ordered, true, base) };
  const [wrong] = regression.classifiers;
  const score = (row: readonly number[]): number => wrong?.testScores(new Matrix([[...row]]))[0] ?? 0;
  return (point) => {
    const row = scaled(point);
    const usually = (point[lastColumn] ?? 0) > 0 ? after.wrong : after.good;
    const probability = Math.min(0.99, Math.max(0.01, trust * score(row) + (1 - trust) * usually));
    // A reason is what raises the risk against a run of which that one thing were as usual.
    const raised = features.map((feature, at) => {
      const usual = row.map((value, column) => (column === at + 1 ? 0 : value));
      const byLast = at === lastColumn ? (1 - trust) * (usually - after.good) : 0;
      return { feature, value: point[at] ?? 0, by: trust * (score(row) - score(usual)) + byLast };
    });
    const reasons = raised
      .filter(({ by, value }) => by > 0.02 && value > 0)
      .sort((a, b) => b.by - a.by)
      .slice(0, 3)
      .map(({ feature, value }) => feature.reason(value));
    return { probability, reasons };
  };
}

/** How often a run went wrong whose last one had gone wrong, or had not; drawn towards the base rate while there are few. */
function rateAfter(ordered: readonly RunFigures[], lastWrong: boolean, base: number): number {
  const followers = ordered.filter((_, at) => {
    const before = ordered[at + 1];
    return before !== undefined && wentWrong(before) === lastWrong;
  });
  return (followers.filter(wentWrong).length + 4 * base) / (followers.length + 4);
}

/** When the next run begins, ms: as long after the last one as usual, but not before now. */
function nextStart(ordered: readonly RunFigures[], { now }: Present): number {
  const starts = ordered.slice(0, 20).map(({ at }) => Date.parse(at));
  const gaps = starts.slice(1).map((start, at) => (starts[at] ?? start) - start);
  const usual = gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? day;
  return Math.max((starts[0] ?? 0) + usual, now === undefined ? 0 : Date.parse(now));
}

function scaleOf(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) || 1 };
}

const misses = (runs: readonly RunFigures[]): number =>
  runs.reduce((sum, { destinations }) => sum + destinations.reduce((all, one) => all + one.misses, 0), 0);

/** The last run's duration by the usual one. */
function ratio(before: readonly RunFigures[]): number {
  const [last, ...rest] = before.flatMap(({ durationMs }) =>
    durationMs === null || durationMs <= 0 ? [] : [durationMs],
  );
  const sorted = rest.slice(0, 20).sort((a, b) => a - b);
  const usual = sorted[Math.floor(sorted.length / 2)];
  return last === undefined || usual === undefined ? 1 : last / usual;
}

/** How full the fullest destination is, 0 to 1. */
function tightness(run: RunFigures | undefined): number {
  const shares = (run?.destinations ?? []).flatMap(({ free, total }) =>
    free === undefined || !total ? [] : [1 - free / total],
  );
  return Math.max(0, ...shares);
}

/** Days. */
function sinceGood(before: readonly RunFigures[], at: number): number {
  const good = before.find((run) => !wentWrong(run));
  return good ? Math.max(0, (at - Date.parse(good.at)) / day) : 20;
}
