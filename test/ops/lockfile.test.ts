import { expect, test } from 'vitest';
import { z } from 'zod';
import { text } from './files.js';

const lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({ optionalDependencies: z.record(z.string(), z.string()).optional() }).loose(),
  ),
});

test('package-lock.json holds every platform, so that npm ci works on all (else run scripts/complete-lockfile.js)', () => {
  const { packages } = lockfile.parse(JSON.parse(text('package-lock.json')));
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !packages[`${path}/node_modules/${name}`] && !packages[`node_modules/${name}`],
    ),
  );
  expect(Object.keys(packages).length).toBeGreaterThan(100);
  expect(missing).toEqual([]);
});
