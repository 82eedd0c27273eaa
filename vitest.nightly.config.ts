import { defineConfig } from 'vitest/config';
import { TotalsReporter } from './scripts/totals-reporter.js';

/** What takes too long for every change. */
export default defineConfig({
  test: {
    globalSetup: ['./test/support/build.ts'],
    include: ['test/**/*.nightly.ts'],
    testTimeout: 3_600_000,
    hookTimeout: 600_000,
    pool: 'forks',
    maxWorkers: 1,
    reporters: ['default', new TotalsReporter()],
  },
});
