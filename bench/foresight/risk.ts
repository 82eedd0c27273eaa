import { parseArgs } from 'node:util';
import type { RunFigures } from '../../src/foresight/figures.js';
import { failureRisk, modelOf } from '../../src/foresight/risk.js';
import { wentWrong } from '../../src/foresight/risk-features.js';
import type { RiskModel } from '../../src/foresight/risk-model.js';
import { readLanl, readRecord } from './record.js';
import { type Forecast, groups, scores } from './scores.js';
import { simulate } from './simulate.js';

/**
 * How well the risk of the next run is foretold: precision, recall, ranking and calibration beside the base rate and "the same
 * as last time". Every forecast knows only what came before it.
 *
 * npm run bench:risk [-- --seeds 11,12,13]   simulated hosts
 * npm run bench:risk -- --record FILE        a record of real runs: see record.ts for its columns
 * npm run bench:risk -- --lanl FILE          the failure record of Los Alamos National Laboratory
 */

const hosts = 24;
const nights = 260;
/** Runs of a job before anything is foretold. */
const warmUp = 60;
/** Forecasts by one model, before it is learnt anew. */
const learnEvery = 10;
/** Runs of other jobs looked back upon. */
const memory = 1000;

const methods = ['logistic regression', 'base rate', 'same as last time'] as const;
type Found = Record<(typeof methods)[number], Forecast[]>;

/** Foretells each `every`th run of each job. */
function foretell(all: readonly RunFigures[][], every: number): Found {
  const found: Found = { 'logistic regression': [], 'base rate': [], 'same as last time': [] };
  for (const host of all) {
    for (const job of new Set(host.map((run) => run.job))) {
      const own = host.filter((run) => run.job === job);
      const foreign = host.filter((run) => run.job !== job);
      let begun = 0;
      let model: RiskModel | undefined;
      for (let at = warmUp; at < own.length; at += every) {
        const run = own[at]!;
        const before = own.slice(0, at);
        while (begun < foreign.length && foreign[begun]!.at < run.at) begun++;
        const others = foreign.slice(Math.max(0, begun - memory), begun);
        if (((at - warmUp) / every) % learnEvery === 0) model = modelOf(before, others);
        const risk = failureRisk(before, { now: run.at, others, ...(model === undefined ? {} : { model }) });
        const base = (before.filter(wentWrong).length + 1) / (before.length + 2);
        const last = wentWrong(before.at(-1)!);
        const wrong = wentWrong(run);
        found['logistic regression'].push({ probability: risk.probability, alarm: risk.alarm, wrong });
        found['base rate'].push({ probability: base, alarm: base >= 0.5, wrong });
        found['same as last time'].push({ probability: Number(last), alarm: last, wrong });
      }
    }
  }
  return found;
}

function report(title: string, found: Found): void {
  const last = found['same as last time'];
  // Methods are also compared by as many alarms as "the same as last time" raises.
  const alarms = last.filter(({ alarm }) => alarm).length;
  const wrong = last.filter((one) => one.wrong).length;
  console.log(`\n${title}: ${last.length} forecasts, ${percent(wrong / last.length)} of the runs went wrong\n`);
  console.log(
    `| method | alarms | precision | recall | precision of ${alarms} | recall of ${alarms} | AUC | Brier score | log loss | calibration error | of a perfect one | reliability |\n|---|---|---|---|---|---|---|---|---|---|---|---|`,
  );
  for (const method of methods) {
    const score = scores(found[method], alarms);
    const cells = [
      method,
      score.alarms,
      score.alarms === 0 ? '-' : percent(score.precision),
      percent(score.recall),
      percent(score.precisionAt),
      percent(score.recallAt),
      score.ranking.toFixed(3),
      score.brier.toFixed(4),
      score.logLoss.toFixed(3),
      percent(score.calibration),
      percent(score.chance),
      score.reliability.toFixed(5),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
  console.log('\nCalibration of the regression: foretold, and what came of it');
  for (const { from, count, foretold, came } of groups(found['logistic regression'])) {
    console.log(
      `  ${percent(from)} and more: ${count} forecasts, ${percent(foretold)} foretold, ${percent(came)} came`,
    );
  }
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

function main(): void {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '11,12,13' },
      record: { type: 'string' },
      lanl: { type: 'string' },
      every: { type: 'string' },
    },
  });
  if (values.record !== undefined) {
    report(values.record, foretell(readRecord(values.record), Number(values.every ?? 1)));
  } else if (values.lanl !== undefined) {
    report('Los Alamos, daily', foretell(readLanl(values.lanl), Number(values.every ?? 10)));
  } else {
    const seeds = values.seeds.split(',').map(Number);
    const whole: Found = { 'logistic regression': [], 'base rate': [], 'same as last time': [] };
    for (const seed of seeds) {
      for (const jobs of [1, 3]) {
        const all = Array.from({ length: hosts }, (_, host) => simulate(seed * 1000 + host, nights, jobs));
        const found = foretell(all, jobs);
        for (const method of methods) whole[method].push(...found[method]);
        report(`Seed ${seed}, ${hosts} simulated hosts with ${jobs} job${jobs === 1 ? '' : 's'} each`, found);
      }
    }
    report(`All of them (seeds ${seeds.join(', ')})`, whole);
  }
}

main();
