import { median } from 'simple-statistics';
import { compressedTo, isGood, type RunFigures, type SourceFigures } from './figures.js';
import { expected, expectedByFactor, type Range, slope } from './robust.js';

export type AnomalyMetric = 'files' | 'bytes' | 'emptySource' | 'dumpSize' | 'massChange' | 'duration';

export interface Anomaly {
  job: string;
  metric: AnomalyMetric;
  source?: string;
  value: number;
  /** The range the value was expected in. */
  low: number;
  high: number;
  /** For people: what, where, expected and found. */
  message: string;
  /** Whether it may mean that content was lost or destroyed. */
  grave: boolean;
}

/** Runs looked back upon, at most. */
const memory = 30;
/** Fewer than these say little of how long runs take. */
const enough = 5;
const many = 15;
/** So often must the like have happened before to be usual, the last nights not counted: an attack may take several. */
const precedents = 2;
/** The same of nights that each did a part of it. */
const precedentNights = 4;
const lastNights = 3;
/** Nights over which what changes little by little is added up, the least share each, and how much is too much. */
const mostNights = 10;
const leastShare = 0.015;
const creptShare = 0.2;
/** Exactly half is half, whatever logarithms make of it. */
const roughly = 1.01;

/**
 * What is unusual about a run, seen from the job's earlier runs over the same sources.
 *
 * @param earlier in any order; only good runs over the same sources count.
 */
export function anomalies(run: RunFigures, earlier: readonly RunFigures[]): Anomaly[] {
  const all = earlier
    .filter((other) => other.run !== run.run && isGood(other) && other.config === run.config)
    .sort((a, b) => (a.at < b.at ? 1 : -1));
  const known = all.slice(0, memory);
  if (known.length === 0) return [];
  const changed = massChange(run, known);
  return [...shrunken(run, known), ...(changed.length > 0 ? changed : creeping(run, all)), ...slow(run, known)];
}

/** Sources that are suddenly empty, files or dumps that went away by half. */
function shrunken(run: RunFigures, known: readonly RunFigures[]): Anomaly[] {
  return run.sources.flatMap((source) => {
    const before = known.flatMap(({ sources }) => sources.filter(({ name }) => name === source.name));
    if (before.length === 0) return [];
    const found: Anomaly[] = [];
    const isDump = source.type !== 'files';
    const files = fallen(run, source, before, 'files', 2);
    const bytes = fallen(run, source, before, 'bytes', isDump ? 1.5 : 2);
    if (source.files === 0 && before[0] !== undefined && before[0].files > 0) {
      const usual = expected(
        before.map((one) => one.files),
        0.5,
      );
      found.push({
        ...anomaly(run, 'emptySource', 0, usual, source.name),
        message:
          `source ${source.name} is suddenly empty: 0 files, expected ${count(usual.low)} to ${count(usual.high)} ` +
          `(${count(before[0].files)} in the run before)`,
      });
    } else if (isDump) {
      if (bytes) found.push({ ...bytes, metric: 'dumpSize' });
    } else {
      if (files) found.push(files);
      if (bytes && !files) found.push(bytes);
    }
    return found;
  });
}

function fallen(
  run: RunFigures,
  source: SourceFigures,
  before: readonly SourceFigures[],
  metric: 'files' | 'bytes',
  factor: number,
): Anomaly | undefined {
  const range = expectedByFactor(
    before.map((one) => one[metric]),
    factor,
  );
  const last = before[0]?.[metric] ?? 0;
  const value = source[metric];
  const least = metric === 'files' ? 10 : source.type === 'files' ? 1_000_000 : 65_536;
  // Against the run before as well: what fell some time ago is not told for ever.
  if (range.median < least || value > range.low * roughly || value > (last / factor) * roughly) return undefined;
  const show = metric === 'files' ? count : bytes;
  return {
    ...anomaly(run, metric, value, range, source.name),
    message: `source ${source.name} has ${show(value)}${metric === 'files' ? ' files' : ''}, expected ${show(range.low)} to ${show(range.high)}`,
  };
}

/** Most files changed and no longer compress: what ransomware leaves. */
function massChange(run: RunFigures, known: readonly RunFigures[]): Anomaly[] {
  const share = replacedShare(run, known[0]);
  const after = compressedTo(run);
  // How many files were there before each of them, the first one's is not known.
  const shares = known.map((one, at) => (one.mode === 'full' ? 0 : replacedShare(one, known[at + 1])));
  const before = known.map(compressedTo).filter((value) => value !== undefined);
  const replaced = share * (run.files - dumpFiles(run));
  if (after === undefined || before.length === 0 || replaced < 10 || run.mode === 'full') return [];
  const usualShare = expected(shares, 0.5);
  const usual = expected(before, 0.15);
  const high = Math.min(0.95, Math.max(usual.high, usual.median + 0.15));
  // What never compressed says little.
  const tooMany = usual.median > 0.85 ? 0.5 : 0.2;
  if (after <= high) return [];
  // Where most files change each night, as disks of virtual machines do, how much of them is new says it.
  const byFiles = share > Math.max(tooMany, usualShare.high);
  const rewritten = rewrittenShare(run, known[0]);
  const parts = known.map((one, at) => (one.mode === 'full' ? 0 : rewrittenShare(one, known[at + 1])));
  const byBytes = share > 0.5 && rewritten > Math.max(0.5, expected(parts, 0.5).high);
  if (!byFiles && !byBytes) return [];
  const [size, sizes] = byFiles ? [share, shares] : [rewritten, parts];
  const likeIt = known.filter(
    (one, at) => at >= lastNights && (sizes[at] ?? 0) > size * 0.7 && (compressedTo(one) ?? 0) > after - 0.05,
  );
  if (likeIt.length >= precedents) return [];
  return [
    {
      ...anomaly(run, 'massChange', after, { ...usual, low: Math.max(0, usual.low), high }),
      message:
        `${percent(size)} of the ${byFiles ? 'files' : 'content'} changed at once, and what is new compresses to ${percent(after)} of their size, expected at most ` +
        `${percent(high)}: as if they had been encrypted`,
    },
  ];
}

/**
 * The same over several nights: a part of the files each night, more than ever is usual, and what is new compresses no more.
 * The nights in question are no measure of themselves.
 */
function creeping(run: RunFigures, all: readonly RunFigures[]): Anomaly[] {
  if (run.mode === 'full') return [];
  const nights = [run, ...all];
  const shares = nights.map((one, at) => (one.mode === 'full' ? 0 : replacedShare(one, nights[at + 1])));
  const ratios = nights.map(compressedTo);
  for (let count = 2; count <= mostNights && nights.length - count >= enough; count++) {
    const measured = ratios.slice(count, count + memory).filter((value) => value !== undefined);
    if (measured.length < enough) return [];
    const usual = expected(measured, 0.15);
    const high = Math.min(0.95, Math.max(usual.high, usual.median + 0.15));
    const usualShare = expected(shares.slice(count, count + memory), 0.5);
    const isOdd = ratios
      .slice(0, count)
      .every(
        (value, at) => value !== undefined && value > high && (shares[at] ?? 0) > Math.max(leastShare, usualShare.high),
      );
    if (!isOdd) continue;
    const sum = shares.slice(0, count).reduce((all, share) => all + share, 0);
    const least = Math.min(...shares.slice(0, count));
    const likeIt = ratios.filter((value, at) => at >= count && (value ?? 0) > high && (shares[at] ?? 0) > least * 0.7);
    if (sum <= creptShare || usual.median > 0.85 || likeIt.length >= precedentNights) continue;
    const after = compressedTo(run) ?? 1;
    return [
      {
        ...anomaly(run, 'massChange', after, { ...usual, low: Math.max(0, usual.low), high }),
        message:
          `${percent(sum)} of the files changed in ${count} runs, and what is new compresses to ${percent(after)} of their size, expected at most ` +
          `${percent(high)}: as if they were being encrypted bit by bit`,
      },
    ];
  }
  return [];
}

/**
 * Share of the files that are not what they were: changed, or there in place of ones that are gone. What was only added is not, and
 * dumps, which are new each time, do not count.
 */
function replacedShare(run: RunFigures, before: RunFigures | undefined): number {
  const dumps = dumpFiles(run);
  const files = run.files - dumps;
  if (files <= 0) return 0;
  const gone = before === undefined ? 0 : Math.max(0, before.files + run.newFiles - run.files);
  return (Math.max(0, run.changedFiles - dumps) + Math.min(run.newFiles, gone)) / files;
}

/** Share of the bytes that are not what they were; those that came on top are not. */
function rewrittenShare(run: RunFigures, before: RunFigures | undefined): number {
  if (before === undefined || run.sourceBytes <= 0) return 0;
  const more = Math.max(0, run.sourceBytes - before.sourceBytes);
  return Math.min(1, Math.max(0, run.newBytes - more) / run.sourceBytes);
}

const dumpFiles = ({ sources }: RunFigures): number =>
  sources.reduce((sum, { type, files }) => sum + (type === 'files' ? 0 : files), 0);

/** A run that took much longer than usual. */
function slow(run: RunFigures, known: readonly RunFigures[]): Anomaly[] {
  const times = known.filter(({ mode }) => mode === run.mode).flatMap(({ durationMs }) => durationMs ?? []);
  if (run.durationMs === null || times.length < enough) return [];
  const range = expectedByFactor(times, times.length < many ? 3 : 2);
  const high = Math.max(range.high, range.median + 60_000);
  if (run.durationMs <= high + explainedMs(run, known)) return [];
  return [
    {
      ...anomaly(run, 'duration', run.durationMs, { ...range, low: 0, high }),
      grave: false,
      message: `the run took ${minutes(run.durationMs)}, expected at most ${minutes(high)}`,
    },
  ];
}

/** How much longer than usual a run may take because it read more, by what that took before. */
function explainedMs(run: RunFigures, known: readonly RunFigures[]): number {
  const more = run.readBytes - median(known.map(({ readBytes }) => readBytes));
  if (more <= 0) return 0;
  const paces = known.flatMap(({ readBytes, durationMs, mode }) =>
    durationMs === null || mode !== run.mode ? [] : [[readBytes, durationMs] as const],
  );
  return 2 * more * Math.max(0, slope(paces));
}

const anomaly = (run: RunFigures, metric: AnomalyMetric, value: number, range: Range, source?: string): Anomaly => ({
  job: run.job,
  metric,
  ...(source === undefined ? {} : { source }),
  value,
  low: range.low,
  high: range.high,
  message: '',
  grave: true,
});

const count = (value: number): string => Math.round(value).toLocaleString('en-US');
const percent = (share: number): string => `${Math.round(share * 100)} %`;
const minutes = (ms: number): string =>
  ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;

function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let amount = Math.max(0, value);
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit++;
  }
  return `${amount >= 100 || unit === 0 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}
