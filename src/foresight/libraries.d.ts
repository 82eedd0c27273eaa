declare module 'ml-regression-theil-sen' {
  export class TheilSenRegression {
    constructor(x: number[], y: number[]);
    readonly slope: number;
    readonly intercept: number;
  }
}

declare module 'ml-logistic-regression' {
  import type { Matrix } from 'ml-matrix';

  interface TwoClasses {
    readonly weights: Matrix;
    testScores(features: Matrix): number[];
  }
  // biome-ignore lint/style/noDefaultExport: it is what the library exports.
  export default class LogisticRegression {
    constructor(options?: { numSteps?: number; learningRate?: number });
    readonly classifiers: TwoClasses[];
    train(features: Matrix, classes: Matrix): void;
  }
}
