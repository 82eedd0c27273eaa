import { parseArgs } from 'node:util';
import { anomalies } from '../../src/foresight/anomaly.js';
import { attacks, kinds, simulateNights } from './nights.js';

/**
 * How often an anomaly is told of where nothing is wrong, and how often where files are encrypted or removed. Every run is judged
 * by the ones before it alone.
 *
 * npm run bench:anomalies [-- --seeds 40 --from 1000]
 */

const nights = 365;
const warmUp = 14;
/** Nights at which attacks begin. */
const begins = [15, 40, 90, 200];

function main(): void {
  const { values } = parseArgs({
    options: { seeds: { type: 'string', default: '20' }, from: { type: 'string', default: '1000' } },
  });
  const seeds = Array.from({ length: Number(values.seeds) }, (_, at) => Number(values.from) + at);
  console.log(`${seeds.length} sources of each kind, ${nights} nights each\n`);
  console.log(
    '| source | grave alarms a year where nothing is wrong | of these encryption at once, bit by bit, lost files | slow runs a year |',
  );
  console.log('|---|---|---|---|');
  for (const [name, kind] of Object.entries(kinds)) {
    const told = { atOnce: 0, bitByBit: 0, lost: 0, slow: 0, years: 0 };
    for (const seed of seeds) {
      const runs = simulateNights(kind, seed, nights);
      told.years += (nights - warmUp) / 365;
      for (let at = warmUp; at < nights; at++)
        for (const { metric, message } of anomalies(runs[at]!, runs.slice(0, at))) {
          if (metric === 'duration') told.slow++;
          else if (metric !== 'massChange') told.lost++;
          else if (message.includes('bit by bit')) told.bitByBit++;
          else told.atOnce++;
        }
    }
    const yearly = (count: number): string => (count / told.years).toFixed(2);
    console.log(
      `| ${name} | ${yearly(told.atOnce + told.bitByBit + told.lost)} | ${[told.atOnce, told.bitByBit, told.lost].map(yearly).join(', ')} | ${yearly(told.slow)} |`,
    );
  }
  console.log(`\n| what happens | ${Object.keys(kinds).join(' | ')} |`);
  console.log(
    `|---|${Object.keys(kinds)
      .map(() => '---|')
      .join('')}`,
  );
  for (const attack of attacks) {
    const cells = Object.values(kinds).map((kind) => {
      let caught = 0;
      let asked = 0;
      let waited = 0;
      for (const seed of seeds) {
        for (const begin of begins) {
          const runs = simulateNights(kind, seed, begin + attack.nights, attack, begin);
          asked++;
          for (let at = begin; at < runs.length; at++) {
            const told = anomalies(runs[at]!, runs.slice(0, at));
            if (!told.some(({ grave }) => grave === (attack.slows === undefined))) continue;
            caught++;
            waited += at - begin + 1;
            break;
          }
        }
      }
      const share = `${Math.round((caught / asked) * 100)} %`;
      return attack.nights === 1 || caught === 0 ? share : `${share}, night ${(waited / caught).toFixed(1)}`;
    });
    console.log(`| ${attack.name} | ${cells.join(' | ')} |`);
  }
}

main();
