import { defineConfig } from 'vitest/config';
import { TotalsReporter } from './scripts/totals-reporter.js';

export default defineConfig({
  test: {
    globalSetup: ['./test/support/build.ts'],
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 300_000,
    pool: 'forks',
    maxWorkers: 3,
    reporters: ['default', new TotalsReporter()],
  },
});
