import { TheilSenRegression } from 'ml-regression-theil-sen';
import { median, medianAbsoluteDeviation } from 'simple-statistics';

/** Turns the median absolute deviation of a normal distribution into its standard deviation. */
const normal = 1.4826;
/** Iglewicz and Hoaglin (1993): a modified z-score beyond 3.5 is an outlier. */
const outlier = 3.5;

export interface Range {
  low: number;
  high: number;
  median: number;
}

/**
 * Where a further value is expected, by median and median absolute deviation, which one wild value does not move.
 *
 * @param values at least one.
 * @param slack the least distance from the median that counts as unusual, as a share of the median: values that never
 *   changed would else make every change one.
 */
export function expected(values: readonly number[], slack: number): Range {
  const middle = median([...values]);
  const spread = Math.max(outlier * normal * medianAbsoluteDeviation([...values]), Math.abs(middle) * slack);
  return { low: middle - spread, high: middle + spread, median: middle };
}

/**
 * The same for sizes and times, which vary by factors: twice as much is as far off as half. Less than 1 counts as 1.
 *
 * @param values at least one, none negative.
 * @param factor the least factor from the median that counts as unusual, above 1.
 */
export function expectedByFactor(values: readonly number[], factor: number): Range {
  const logs = values.map((value) => Math.log(Math.max(1, value)));
  const middle = median(logs);
  const spread = Math.max(outlier * normal * medianAbsoluteDeviation(logs), Math.log(factor));
  return { low: Math.exp(middle - spread), high: Math.exp(middle + spread), median: Math.exp(middle) };
}

/** The median slope (Theil-Sen) through points, which single wild ones do not bend; 0 where there is no telling. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  if (new Set(points.map(([x]) => x)).size < 2) return 0;
  return new TheilSenRegression(
    points.map(([x]) => x),
    points.map(([, y]) => y),
  ).slope;
}
