import { existsSync, statSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { inProject, packageJson, text, yaml } from './files.js';

const step = z.object({ name: z.string().optional(), uses: z.string().optional(), run: z.string().optional() }).loose();
const workflow = z.object({
  on: z.object({ push: z.unknown(), pull_request: z.unknown() }),
  jobs: z.record(
    z.string(),
    z.object({
      'runs-on': z.string(),
      strategy: z
        .object({ matrix: z.object({ os: z.array(z.string()), node: z.array(z.number()) }) })
        .loose()
        .optional(),
      steps: z.array(step),
    }),
  ),
});
const files = [
  '.github/workflows/ci.yml',
  '.ci/run',
  'scripts/quickstart.sh',
  'scripts/install-tools.sh',
  'Dockerfile',
];

describe('the GitHub workflow', () => {
  const ci = yaml('.github/workflows/ci.yml', workflow);

  test('covers Linux, macOS and Windows on every supported Node', () => {
    const matrix = ci.jobs.test?.strategy?.matrix;
    expect(matrix?.os.map((os) => os.split('-')[0])).toEqual(['ubuntu', 'macos', 'windows']);
    expect(matrix?.node).toEqual([20, 22, 24]);
    expect(packageJson.engines.node).toBe('>=20.3.0');
  });

  test('every step does one thing, and its actions are pinned to a version', () => {
    for (const { uses, run } of Object.values(ci.jobs).flatMap((job) => job.steps)) {
      expect(Number(uses !== undefined) + Number(run !== undefined)).toBe(1);
      if (uses !== undefined) expect(uses).toMatch(/^[\w-]+\/[\w-]+@v\d+$/);
    }
  });
});

describe('scripts', () => {
  test.each(files)('%s names only npm scripts and project files that exist', (file) => {
    const content = text(file);
    for (const [, name = ''] of content.matchAll(/npm run (?:--silent )?([\w:-]+)/g)) {
      expect(Object.keys(packageJson.scripts)).toContain(name);
    }
    if (content.includes('npm test')) expect(packageJson.scripts.test).toBeDefined();
    for (const [path] of content.matchAll(/(?<![\w/.-])(?:\.ci\/run|scripts\/[\w.-]+)/g)) {
      expect(existsSync(inProject(path)), path).toBe(true);
    }
  });

  test
    .skipIf(process.platform === 'win32')
    .each(['.ci/run', 'scripts/quickstart.sh', 'scripts/install-tools.sh', 'bin/holdfast.js'])(
    '%s is executable',
    (file) => {
      expect(statSync(inProject(file)).mode & 0o111).not.toBe(0);
    },
  );
});
