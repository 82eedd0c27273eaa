import { random } from './simulate.js';

export interface Forecast {
  probability: number;
  alarm: boolean;
  /** What came of it. */
  wrong: boolean;
}

export interface Scores {
  alarms: number;
  /** Of the alarms, those that came true; of what went wrong, what had an alarm: 0 to 1. */
  precision: number;
  recall: number;
  /** The same, of as many alarms for the highest risks as another method raised. */
  precisionAt: number;
  recallAt: number;
  /** How often a run that went wrong had been given a higher risk than one that did not; 0.5 is guessing. */
  ranking: number;
  brier: number;
  logLoss: number;
  /** How far the risks are from what came of them, by ten groups of equal size: 0 is perfect. */
  calibration: number;
  /** The same of somebody whose very forecasts were right, on average: chance alone leaves so much. */
  chance: number;
  /** The part of the Brier score that is for want of calibration (Murphy 1973), by the same groups. */
  reliability: number;
}

export function scores(all: readonly Forecast[], alarms: number): Scores {
  const wrong = all.filter((one) => one.wrong).length;
  const told = all.filter(({ alarm }) => alarm);
  const hits = told.filter((one) => one.wrong).length;
  const highestHits = hitsOfHighest(all, alarms);
  const mean = (value: (one: Forecast) => number): number => all.reduce((sum, one) => sum + value(one), 0) / all.length;
  return {
    alarms: told.length,
    precision: hits / told.length,
    recall: hits / wrong,
    precisionAt: highestHits / alarms,
    recallAt: highestHits / wrong,
    ranking: ranking(all),
    brier: mean((one) => (one.probability - Number(one.wrong)) ** 2),
    logLoss: mean((one) => {
      const risk = Math.min(0.999, Math.max(0.001, one.probability));
      return -Math.log(one.wrong ? risk : 1 - risk);
    }),
    calibration: calibration(groups(all)),
    chance: chance(all),
    reliability: groups(all).reduce((sum, { share, foretold, came }) => sum + (foretold - came) ** 2 * share, 0),
  };
}

interface Group {
  from: number;
  count: number;
  share: number;
  foretold: number;
  came: number;
}

/**
 * Forecasts by risk, in ten groups of equal size, the same for every method: groups of equal width would lump nearly all that a
 * method says into one of them where it says nearly the same always, and what it gets wrong would cancel out.
 */
export function groups(all: readonly Forecast[]): Group[] {
  const sorted = [...all].sort((a, b) => a.probability - b.probability);
  return Array.from({ length: 10 }, (_, at) => {
    const some = sorted.slice(Math.floor((at * all.length) / 10), Math.floor(((at + 1) * all.length) / 10));
    const foretold = some.reduce((sum, { probability }) => sum + probability, 0) / some.length;
    const came = some.filter(({ wrong }) => wrong).length / some.length;
    return { from: some[0]?.probability ?? 0, count: some.length, share: some.length / all.length, foretold, came };
  });
}

const calibration = (some: readonly Group[]): number =>
  some.reduce((sum, { share, foretold, came }) => sum + Math.abs(foretold - came) * share, 0);

const redraws = 50;

function chance(all: readonly Forecast[]): number {
  const draw = random(1);
  let sum = 0;
  for (let turn = 0; turn < redraws; turn++)
    sum += calibration(groups(all.map((one) => ({ ...one, wrong: draw() < one.probability }))));
  return sum / redraws;
}

/** Of the forecasts with the highest risk, how many came true; equal ones count by their share. */
function hitsOfHighest(all: readonly Forecast[], count: number): number {
  const sorted = [...all].sort((a, b) => b.probability - a.probability);
  const least = sorted[count - 1]?.probability ?? 0;
  const above = sorted.filter(({ probability }) => probability > least);
  const equal = sorted.filter(({ probability }) => probability === least);
  const wrong = (some: Forecast[]): number => some.filter((one) => one.wrong).length;
  return wrong(above) + (wrong(equal) * (count - above.length)) / equal.length;
}

/** The area under the ROC curve, by the ranks of those that went wrong; equal ones share theirs. */
function ranking(all: readonly Forecast[]): number {
  const sorted = [...all].sort((a, b) => a.probability - b.probability);
  let ranks = 0;
  for (let from = 0; from < sorted.length; ) {
    let to = from;
    while (to < sorted.length && sorted[to]!.probability === sorted[from]!.probability) to++;
    const rank = (from + 1 + to) / 2;
    for (const one of sorted.slice(from, to)) if (one.wrong) ranks += rank;
    from = to;
  }
  const bad = all.filter(({ wrong }) => wrong).length;
  return (ranks - (bad * (bad + 1)) / 2) / (bad * (all.length - bad));
}
