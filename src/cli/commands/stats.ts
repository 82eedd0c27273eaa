import type { Command } from 'commander';
import type { Stats } from '../../control/stats.js';
import type { Context } from '../context.js';
import { toCount } from '../count.js';
import { humanBytes, humanDuration, localTime, plural } from '../print/format.js';

const control = () => import('../../control/stats.js');

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job')
    .option('--limit <count>', 'the newest runs, at most', toCount, 200)
    .option('--plot <file>', 'write the chart to this .svg or .png file')
    .action((job: string, options: { limit: number; plot?: string }) => stats(context, job, options));
}

async function stats(context: Context, job: string, options: { limit: number; plot?: string }): Promise<void> {
  const loaded = await context.load();
  const { plot, seriesOf, statsOf } = await control();
  const found = statsOf(loaded, job, options.limit);
  const series = seriesOf(found.runs, { bytes: humanBytes, duration: humanDuration });
  if (options.plot !== undefined) {
    await plot(options.plot, job, found.runs, series);
    context.say(`Wrote ${options.plot}.`);
  }
  const { terminalChart } = await import('../../foresight/chart.js');
  context.result(found, () => statsText(found, (width) => terminalChart(series, width)));
}

function statsText({ job, runs, forecasts, risk, hold }: Stats, chart: (width: number) => string): string {
  const first = runs[0];
  if (first === undefined) return `There is no run of ${job} yet.`;
  const width = Math.max(10, Math.min(60, (process.stdout.columns ?? 100) - 50));
  const basis =
    risk.basis === 'model'
      ? `learnt from ${plural(risk.runs, 'run')} of this host`
      : `how often it went wrong in ${plural(risk.runs, 'run')}`;
  return [
    `${job}: ${plural(runs.length, 'run')} since ${localTime(first.at)}`,
    '',
    chart(width),
    '',
    ...forecasts.map(({ message }) => `Forecast: ${message}.`),
    `Risk that the next run goes wrong: ${Math.round(risk.probability * 100)} % (${basis})${risk.alarm ? ': look into it' : ''}.`,
    ...risk.reasons.map((reason) => `  - ${reason}`),
    ...(hold
      ? [
          `Retention is held since ${localTime(hold.since)}: ${hold.reason}.`,
          `  When all is well: holdfast anomalies accept ${job}`,
        ]
      : []),
  ].join('\n');
}
