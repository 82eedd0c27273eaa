import { isGood, type RunFigures } from './figures.js';
import { slope } from './robust.js';

export interface Forecast {
  /** `full`: a destination runs full; `window`: a run will take longer than the time between two runs. */
  kind: 'full' | 'window';
  destination?: string;
  /** Days from the newest figure; 0 is now. */
  days: number;
  message: string;
}

const day = 86_400_000;
/** Fewer points than these make no trend. */
const enough = 4;
/** A trend is that of the last four weeks, whole ones since many things go by the week, or of so many runs where those are fewer. */
const windowDays = 28;
const windowRuns = 10;
/** Further ahead no straight line can be trusted. */
const horizonDays = 365;

/**
 * When each destination will be full, and when the job outgrows its window, by the median slope (Theil-Sen) of the latest figures,
 * which single wild values do not bend. Nothing for trends that do not point there within a year.
 *
 * @param runs of one job, in any order.
 * @param windowMs time from one start to the next, ms; undefined for a job without a schedule.
 */
export function forecasts(runs: readonly RunFigures[], windowMs?: number): Forecast[] {
  const ordered = runs.filter(isGood).sort((a, b) => (a.at < b.at ? -1 : 1));
  const names = new Set(ordered.flatMap(({ destinations }) => destinations.map(({ name }) => name)));
  const found: Forecast[] = [];
  for (const name of names) {
    const points = ordered.flatMap((run): [number, number][] => {
      const free = run.destinations.find((one) => one.name === name)?.free;
      return free === undefined ? [] : [[Date.parse(run.at) / day, free]];
    });
    const days = daysUntil(points, 0, 'falls');
    if (days !== undefined) {
      found.push({ kind: 'full', destination: name, days, message: `${name} is full ${inDays(days)} at this rate` });
    }
  }
  if (windowMs !== undefined) {
    const points = ordered.flatMap((run): [number, number][] =>
      run.durationMs === null || run.mode === 'full' ? [] : [[Date.parse(run.at) / day, run.durationMs]],
    );
    const days = daysUntil(points, windowMs, 'rises');
    if (days !== undefined) {
      const message = `a backup takes longer than the time between two of them ${inDays(days)} at this rate`;
      found.push({ kind: 'window', days, message });
    }
  }
  return found;
}

/** Days from the last point until the line through the latest points reaches `level`. */
function daysUntil(all: [number, number][], level: number, way: 'falls' | 'rises'): number | undefined {
  const last = all.at(-1);
  const from = (last?.[0] ?? 0) - windowDays;
  const points = all.filter(([at], index) => at >= from || index >= all.length - windowRuns);
  const first = points[0];
  if (last === undefined || first === undefined || points.length < enough || last[0] - first[0] < 0.01)
    return undefined;
  if (way === 'falls' ? last[1] <= level : last[1] >= level) return 0;
  const pace = slope(points.map(([x, y]) => [x - first[0], y]));
  if (way === 'falls' ? pace >= 0 : pace <= 0) return undefined;
  // From where it stands now, not from where the line says it should.
  const days = (level - last[1]) / pace;
  return days <= horizonDays ? Math.max(0, days) : undefined;
}

const inDays = (days: number): string =>
  days < 1 ? 'within a day' : days < 2 ? 'in about a day' : `in about ${Math.round(days)} days`;
