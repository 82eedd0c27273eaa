import { writeFileSync } from 'node:fs';
import { History } from '../activities/history.js';
import { cronInterval } from '../config/cron.js';
import { findJob, type LoadedConfig } from '../config/load.js';
import type { ScheduleConfig } from '../config/schema.js';
import { HoldfastError } from '../errors.js';
import { type Series, svgChart } from '../foresight/chart.js';
import { changedShare, compressedTo, type RunFigures } from '../foresight/figures.js';
import { type Forecast, forecasts } from '../foresight/forecast.js';
import { failureRisk, type Risk } from '../foresight/risk.js';

/** Runs that the risk is learnt from, however few are shown. */
const memory = 1000;

export interface Stats {
  job: string;
  /** Oldest first. */
  runs: RunFigures[];
  forecasts: Forecast[];
  risk: Risk;
  /** Why retention is held, if it is. */
  hold: { since: string; run: string; reason: string } | null;
}

/**
 * A job's runs in numbers, and what they foretell.
 *
 * @param limit newest runs, at most.
 * @throws HoldfastError `JobUnknown`.
 */
export function statsOf(loaded: LoadedConfig, job: string, limit: number): Stats {
  const { config } = loaded;
  const { schedule } = findJob(config, job);
  const history = new History(config.state);
  try {
    const runs = history.figures({ job, limit });
    const closed = runs.filter(isClosed);
    const interval = schedule === undefined ? undefined : intervalOf(schedule);
    return {
      job,
      runs: [...runs].reverse(),
      forecasts: forecasts(closed, interval),
      risk: failureRisk(history.figures({ job, limit: memory }).filter(isClosed), {
        now: new Date().toISOString(),
        others: history.figures({ limit: 2 * memory }).filter((run) => run.job !== job && isClosed(run)),
      }),
      hold: history.held(job) ?? null,
    };
  } finally {
    history.close();
  }
}

const isClosed = ({ status }: RunFigures): boolean => status !== 'running' && status !== 'cancelled';

/** The least time from one start to the next, ms. */
const intervalOf = (schedule: ScheduleConfig): number | undefined =>
  'every' in schedule ? schedule.every : cronInterval(schedule.cron);

/** Jobs whose retention is held, with the reason. */
export function heldJobs(loaded: LoadedConfig): { job: string; since: string; run: string; reason: string }[] {
  const history = new History(loaded.config.state);
  try {
    return Object.keys(loaded.config.jobs).flatMap((job) => {
      const held = history.held(job);
      return held ? [{ job, ...held }] : [];
    });
  } finally {
    history.close();
  }
}

/**
 * Takes what the newest run found for the usual, and lets retention go on; false when nothing was held.
 *
 * @throws HoldfastError `JobUnknown`.
 */
export function acceptAnomalies(loaded: LoadedConfig, job: string): boolean {
  findJob(loaded.config, job);
  const history = new History(loaded.config.state);
  try {
    return history.accept(job);
  } finally {
    history.close();
  }
}

/** What `stats` draws, for people. */
export function seriesOf(
  runs: readonly RunFigures[],
  show: { bytes: (value: number) => string; duration: (ms: number) => string },
): Series[] {
  const percent = (value: number): string => `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`;
  return [
    { title: 'size', values: runs.map(({ sourceBytes }) => sourceBytes), show: show.bytes },
    { title: 'stored', values: runs.map(({ storedBytes }) => storedBytes), show: show.bytes },
    { title: 'duration', values: runs.map(({ durationMs }) => durationMs ?? undefined), show: show.duration },
    { title: 'changed', values: runs.map(changedShare), show: percent },
    { title: 'compressed to', values: runs.map(compressedTo), show: percent },
  ];
}

/**
 * Writes the chart as SVG or PNG, by the file's name.
 *
 * @throws HoldfastError `UsageInvalid` for another name.
 */
export async function plot(file: string, job: string, runs: readonly RunFigures[], series: Series[]): Promise<void> {
  const kind = /\.(svg|png)$/i.exec(file)?.[1]?.toLowerCase();
  if (kind === undefined) {
    throw new HoldfastError('UsageInvalid', `--plot ${file}: the name must end in .svg or .png`);
  }
  const svg = svgChart(
    `Backups of ${job}`,
    runs.map(({ at, status }) => ({ at, wrong: status === 'failed' || status === 'partial' })),
    series,
  );
  writeFileSync(file, kind === 'svg' ? svg : await toPng(svg));
}

async function toPng(svg: string): Promise<Uint8Array> {
  const { readFileSync } = await import('node:fs');
  const { createRequire } = await import('node:module');
  const { initWasm, Resvg } = await import('@resvg/resvg-wasm');
  const wasm = createRequire(import.meta.url).resolve('@resvg/resvg-wasm/index_bg.wasm');
  await initWasm(readFileSync(wasm));
  return new Resvg(svg, { background: '#ffffff', font: { fontBuffers: systemFonts(readFileSync) } }).render().asPng();
}

/** A font for the labels, where the system has one; the lines are drawn without. */
function systemFonts(read: (file: string) => Uint8Array): Uint8Array[] {
  const names = [
    '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf',
    '/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf',
    '/usr/share/fonts/TTF/DejaVuSans.ttf',
    '/System/Library/Fonts/Supplemental/Arial.ttf',
    'C:\\Windows\\Fonts\\arial.ttf',
  ];
  for (const name of names) {
    try {
      return [read(name)];
    } catch {
      // The next one.
    }
  }
  return [];
}
