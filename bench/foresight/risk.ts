import type { RunFigures } from '../../src/foresight/figures.js';
import { failureRisk, wentWrong } from '../../src/foresight/risk.js';

/**
 * How well the risk of the next run is foretold, on simulated hosts: precision, recall, Brier score and calibration beside the
 * base rate and "the same as last time". Usage: npm run bench:risk [-- SEED]
 */

const day = 86_400_000;
const hosts = 24;
const nights = 260;
/** Nights before anything is foretold. */
const warmUp = 60;

/** A small generator with a seed (mulberry32), so that a bench can be repeated. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** A host whose network has bad spells, whose disk fills and is emptied, and whose credentials expire now and then. */
function simulate(seed: number): RunFigures[] {
  const chance = random(seed);
  const flaky = 0.01 + chance() * 0.05;
  const spell = { left: 0, strength: 0 };
  let free = 1;
  let expired = 0;
  return Array.from({ length: nights }, (_, at) => {
    if (spell.left === 0 && chance() < 0.04)
      Object.assign(spell, { left: 2 + Math.floor(chance() * 8), strength: chance() });
    else if (spell.left > 0) spell.left--;
    if (expired === 0 && chance() < 0.01) expired = 1 + Math.floor(chance() * 4);
    else if (expired > 0) expired--;
    free -= 0.01 + chance() * 0.01;
    if (free < 0.02 && chance() < 0.4) free = 0.9;
    const bad = spell.left > 0 ? spell.strength : 0;
    const misses = Math.floor(bad * 12 * chance()) + (chance() < 0.05 ? 1 : 0);
    const cause =
      expired > 0
        ? 'AuthDenied'
        : free < 0.02
          ? 'DestinationFull'
          : chance() < flaky + bad * 0.5
            ? 'DestinationUnreachable'
            : undefined;
    return {
      run: `simulated/${seed}/${at}`,
      job: 'site',
      at: new Date(Date.UTC(2026, 0, 1) + at * day).toISOString(),
      status: cause === undefined ? 'succeeded' : 'failed',
      durationMs: 60_000 * (1 + bad * 2 * chance()) + chance() * 10_000,
      mode: 'incremental',
      files: 1000,
      newFiles: 5,
      changedFiles: 20,
      unreadable: 0,
      sourceBytes: 1e9,
      readBytes: 1e7,
      newBytes: 1e7,
      storedBytes: 4e6,
      sources: [],
      destinations: [
        {
          name: 'offsite',
          state: cause === undefined ? 'stored' : 'missed',
          misses,
          free: Math.max(0, free) * 1e12,
          total: 1e12,
        },
      ],
      ...(cause === undefined ? {} : { error: cause }),
    };
  });
}

interface Forecast {
  probability: number;
  wrong: boolean;
}

const methods: Record<string, (before: RunFigures[]) => number> = {
  'logistic regression': (before) => failureRisk(before).probability,
  'base rate': (before) => (before.filter(wentWrong).length + 1) / (before.length + 2),
  'same as last time': (before) => (wentWrong(before.at(-1)!) ? 1 : 0),
};

function main(): void {
  const seed = Number(process.argv[2] ?? 1);
  const found = new Map<string, Forecast[]>(Object.keys(methods).map((name) => [name, []]));
  for (let host = 0; host < hosts; host++) {
    const runs = simulate(seed * 1000 + host);
    for (let at = warmUp; at < nights; at += 3) {
      for (const [name, foretell] of Object.entries(methods)) {
        found.get(name)?.push({ probability: foretell(runs.slice(0, at)), wrong: wentWrong(runs[at]!) });
      }
    }
  }
  // Methods are compared by as many alarms as "the same as last time" raises.
  const alarms = found.get('same as last time')?.filter(({ probability }) => probability === 1).length ?? 0;
  const rows = [...found].map(([name, all]) => ({ name, ...scores(all, alarms) }));
  console.log(
    `${hosts} simulated hosts, ${rows[0]?.count} forecasts, ${percent(rows[0]?.rate ?? 0)} of the runs went wrong\n`,
  );
  console.log(
    `| method | precision | recall | of the ${alarms} highest went wrong | ranking (AUC) | Brier score | log loss | calibration error |\n|---|---|---|---|---|---|---|---|`,
  );
  for (const row of rows) {
    const cells = [
      percent(row.precision),
      percent(row.recall),
      percent(row.highest),
      row.ranking.toFixed(3),
      row.brier.toFixed(4),
      row.loss.toFixed(3),
      percent(row.calibration),
    ];
    console.log(`| ${row.name} | ${cells.join(' | ')} |`);
  }
  const [model, base, last] = rows;
  if (model && base && last) {
    console.log(
      `\nBrier score against the base rate: ${(model.brier / base.brier).toFixed(2)}, against the last run: ${(model.brier / last.brier).toFixed(2)} (below 1 is better)`,
    );
  }
}

/** A run is foretold to go wrong above this. */
const alarm = 0.3;

function scores(all: Forecast[], alarms: number) {
  const told = all.filter(({ probability }) => probability >= alarm);
  const wrong = all.filter((one) => one.wrong);
  const hit = told.filter((one) => one.wrong).length;
  const precision = told.length === 0 ? 0 : hit / told.length;
  const recall = wrong.length === 0 ? 0 : hit / wrong.length;
  const mean = (value: (one: Forecast) => number): number => all.reduce((sum, one) => sum + value(one), 0) / all.length;
  const bins = Array.from({ length: 10 }, (_, bin) =>
    all.filter(({ probability }) => Math.min(9, Math.floor(probability * 10)) === bin),
  );
  const calibration = bins.reduce((sum, bin) => {
    if (bin.length === 0) return sum;
    const foretold = bin.reduce((total, { probability }) => total + probability, 0) / bin.length;
    const real = bin.filter((one) => one.wrong).length / bin.length;
    return sum + (Math.abs(foretold - real) * bin.length) / all.length;
  }, 0);
  return {
    count: all.length,
    rate: wrong.length / all.length,
    precision,
    recall,
    highest: highest(all, alarms),
    ranking: ranking(all),
    brier: mean(({ probability, wrong }) => (probability - Number(wrong)) ** 2),
    loss: mean(({ probability, wrong }) => {
      const p = Math.min(0.999, Math.max(0.001, probability));
      return -Math.log(wrong ? p : 1 - p);
    }),
    calibration,
  };
}

/** Of the forecasts with the highest risk, how many came true; equal ones count by their share. */
function highest(all: Forecast[], count: number): number {
  const sorted = [...all].sort((a, b) => b.probability - a.probability);
  const least = sorted[count - 1]?.probability ?? 0;
  const above = sorted.filter(({ probability }) => probability > least);
  const equal = sorted.filter(({ probability }) => probability === least);
  const wrong = (some: Forecast[]): number => some.filter((one) => one.wrong).length;
  return (wrong(above) + (wrong(equal) * (count - above.length)) / equal.length) / count;
}

/** How often a run that went wrong had been given a higher risk than one that did not; 0.5 is guessing. */
function ranking(all: Forecast[]): number {
  const good = all.filter(({ wrong }) => !wrong);
  const bad = all.filter(({ wrong }) => wrong);
  let points = 0;
  for (const one of bad) {
    for (const { probability } of good)
      points += one.probability > probability ? 1 : one.probability === probability ? 0.5 : 0;
  }
  return points / (bad.length * good.length);
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

main();
