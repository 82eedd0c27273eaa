import { defineConfig } from 'vitest/config';

/** What takes too long for every change. */
export default defineConfig({
  test: {
    include: ['test/**/*.nightly.ts'],
    testTimeout: 600_000,
    hookTimeout: 300_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
