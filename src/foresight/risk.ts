import type { RunFigures } from './figures.js';
import { features, type Outlook, wentWrong } from './risk-features.js';
import { learnRisk, type RiskModel } from './risk-model.js';

/** How likely the next run is not to end well, and why. */
export interface Risk {
  /** 0 to 1: the next run ends `failed` or leaves a destination out. */
  probability: number;
  /** Whether that is worth an alarm: about as many runs get one as go wrong. */
  alarm: boolean;
  /** `model`: logistic regression over this host's own runs; `base`: how often the job's went wrong, for want of runs. */
  basis: 'model' | 'base';
  /** Runs it was learnt from. */
  runs: number;
  /** What speaks for it, weightiest first, in words. */
  reasons: string[];
}

/** What else is known of the present, beside the job's runs. */
export interface Present {
  /** ISO 8601; default: when the next run is due. */
  now?: string;
  /** Runs of the host's other jobs, in any order. */
  others?: readonly RunFigures[];
  /** Learnt before from the same host, so as not to do that again. */
  model?: RiskModel;
}

/** Runs of a job looked back upon. */
const memory = 250;
/** Runs of the host to learn from. */
const lessons = 1000;
const day = 86_400_000;

/**
 * The risk of the job's next run, from the host's earlier ones: logistic regression trained on those very runs, or the rate
 * at which the job's went wrong where they are too few.
 *
 * @param runs of the job, in any order.
 */
export function failureRisk(runs: readonly RunFigures[], present: Present = {}): Risk {
  const own = newestFirst(runs).slice(0, memory);
  const others = newestFirst(present.others ?? []);
  const known = { own, others, at: nextStart(own, present) };
  const model = own.length === 0 ? undefined : (present.model ?? modelOf(runs, others));
  if (model !== undefined) return { ...model.foretell(known), basis: 'model', runs: model.runs };
  // Laplace's rule of succession: never certain of what was seen a few times only.
  const base = (own.filter(wentWrong).length + 1) / (own.length + 2);
  const outlook: Outlook = { ...known, base };
  const reasons = features.filter(({ value }) => own.length > 0 && value(outlook) > 0.5);
  return {
    probability: base,
    alarm: base > 0.5,
    basis: 'base',
    runs: own.length,
    reasons: reasons.map((feature) => feature.reason(outlook)),
  };
}

/** What the host's newest runs teach; undefined where they are too few. */
export function modelOf(runs: readonly RunFigures[], others: readonly RunFigures[] = []): RiskModel | undefined {
  const own = newestFirst(runs).slice(0, memory);
  return learnRisk(newestFirst([...own, ...newestFirst(others).slice(0, lessons - own.length)]));
}

const newestFirst = (runs: readonly RunFigures[]): RunFigures[] => [...runs].sort((a, b) => (a.at < b.at ? 1 : -1));

/** When the next run begins, ms: as long after the last one as usual, but not before now. */
function nextStart(ordered: readonly RunFigures[], { now }: Present): number {
  const starts = ordered.slice(0, 20).map(({ at }) => Date.parse(at));
  const gaps = starts.slice(1).map((start, at) => (starts[at] ?? start) - start);
  const usual = gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? day;
  return Math.max((starts[0] ?? 0) + usual, now === undefined ? 0 : Date.parse(now));
}
