import LogisticRegression from 'ml-logistic-regression';
import { Matrix } from 'ml-matrix';
import type { RunFigures } from './figures.js';
import { features, type Outlook, wentWrong } from './risk-features.js';

/** What a host's runs have taught. */
export interface RiskModel {
  /** How often the host's runs went wrong, 0 to 1. */
  base: number;
  /** Runs it was learnt from. */
  runs: number;
  foretell(outlook: Omit<Outlook, 'base'>): { probability: number; alarm: boolean; reasons: string[] };
}

/** Fewer runs, or fewer that went wrong, teach no model. */
const enoughRuns = 30;
const enoughFailures = 5;
/** The first runs of a job have nothing before them to learn from. */
const fewestBefore = 3;
const steps = 100;
/** A failure nobody was told of costs more than an alarm in vain. */
const alarmsPerFailure = 1.05;
/** Nobody is alarmed of less. */
const leastAlarm = 0.12;

/**
 * Learns from each run what the ones before it had foretold, over all jobs of the host.
 *
 * @param runs newest first.
 * @returns undefined where they are too few.
 */
export function learnRisk(runs: readonly RunFigures[]): RiskModel | undefined {
  const failures = runs.filter(wentWrong).length;
  if (runs.length < enoughRuns || failures < enoughFailures || runs.length - failures < enoughFailures)
    return undefined;
  const base = (failures + 1) / (runs.length + 2);
  const { rows, wrong } = lessons(runs, base);
  const score = regression(rows, wrong);
  const level = Math.max(leastAlarm, alarmLevel(score(rows), wrong.filter(Boolean).length));
  // Few failures do not teach how sure one may be of one.
  const certainty = failures / (failures + 10);
  return {
    base,
    runs: runs.length,
    foretell(known) {
      const outlook: Outlook = { ...known, base };
      const row = rowOf(outlook);
      const [risk = base] = score([row]);
      const probability = risk <= 0.5 ? risk : 0.5 + (risk - 0.5) * certainty;
      // A reason is what raises the risk against a run of which nothing but that were different.
      const raised = features.map((feature, at) => {
        const [without = 0] = score([row.map((value, column) => (column === at + 1 ? 0 : value))]);
        return { feature, by: risk - without };
      });
      const reasons = raised
        .filter(({ by, feature }) => by > 0.02 && feature.value(outlook) > 0)
        .sort((a, b) => b.by - a.by)
        .slice(0, 3)
        .map(({ feature }) => feature.reason(outlook));
      return { probability: Math.max(0.005, probability), alarm: risk >= level, reasons };
    },
  };
}

const rowOf = (outlook: Outlook): number[] => [1, ...features.map((feature) => feature.value(outlook))];

function lessons(runs: readonly RunFigures[], base: number): { rows: number[][]; wrong: boolean[] } {
  const rows: number[][] = [];
  const wrong: boolean[] = [];
  for (const job of new Set(runs.map((run) => run.job))) {
    const own = runs.filter((run) => run.job === job);
    const others = runs.filter((run) => run.job !== job);
    let begun = 0;
    for (const [at, run] of own.slice(0, -fewestBefore).entries()) {
      while (begun < others.length && others[begun]!.at >= run.at) begun++;
      rows.push(
        rowOf({ own: own.slice(at + 1), others: others.slice(begun, begun + 100), at: Date.parse(run.at), base }),
      );
      wrong.push(wentWrong(run));
    }
  }
  return { rows, wrong };
}

/** Logistic regression over the rows and what is believed before any was seen, as rows of their own: that keeps the weights sensible. */
function regression(rows: readonly number[][], wrong: readonly boolean[]): (rows: readonly number[][]) => number[] {
  const believed = features.flatMap(({ believed: [bad, good] }, column) => {
    const row = [0, ...features.map((_, other) => (other === column ? 1 : 0))];
    return Array.from({ length: bad + good }, (_, one) => ({ row, wrong: one < bad }));
  });
  const matrix = new Matrix([...rows, ...believed.map(({ row }) => row)]);
  const classes = [...wrong, ...believed.map((one) => one.wrong)].map(Number);
  const fitted = new LogisticRegression({ numSteps: steps, learningRate: stepOf(matrix) });
  fitted.train(matrix, Matrix.columnVector(classes));
  // The library's first of two classifiers tells class 1 from the rest.
  const [first] = fitted.classifiers;
  return (some) => first?.testScores(new Matrix(some.map((row) => [...row]))) ?? [];
}

/** The longest safe step of its gradient descent: the curvature is at most a quarter of the largest eigenvalue of XᵀX (Gershgorin). */
function stepOf(matrix: Matrix): number {
  const sums = matrix
    .transpose()
    .mmul(matrix)
    .to2DArray()
    .map((row) => row.reduce((sum, value) => sum + Math.abs(value), 0));
  return 4 / Math.max(...sums);
}

/** The risk at which about as many runs would have been foretold to go wrong as did: neither crying wolf nor sleeping. */
function alarmLevel(risks: readonly number[], failures: number): number {
  return [...risks].sort((a, b) => b - a)[Math.round(failures * alarmsPerFailure) - 1] ?? 1;
}
