import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/** Prints one last line with the totals: `N passed, N failed`, then `, N skipped` where there are any. */
export class TotalsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const totals = { passed: 0, failed: unhandled.length, skipped: 0 };
    for (const module of modules) {
      // A file that could not be loaded holds no tests, yet must count.
      totals.failed += module.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        totals[state === 'pending' ? 'skipped' : state] += 1;
      }
    }
    const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : '';
    process.on('exit', () => process.stdout.write(`${totals.passed} passed, ${totals.failed} failed${skipped}\n`));
  }
}
