import { execFile } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { tryExclusive } from '../../src/worker/locks.js';

const root = resolve(import.meta.dirname, '../..');
/** What a build writes last. */
const product = join(root, 'dist', 'workflow-bundle.js');

/** Vitest's global set-up: the built program is there before the first test, built once for all test files. */
export async function setup(): Promise<void> {
  await ensureBuilt();
}

/**
 * Builds dist/ where it is older than src/. Test processes that call this at the same time wait for one build.
 *
 * @throws Error with the compiler's output.
 */
export async function ensureBuilt(): Promise<void> {
  if (isFresh()) return;
  for (;;) {
    const lock = tryExclusive(join(root, '.cache', 'build.lock'), { command: 'test build' });
    if (lock === undefined) {
      await sleep(200);
      continue;
    }
    try {
      if (!isFresh()) await build();
      return;
    } finally {
      lock.release();
    }
  }
}

async function build(): Promise<void> {
  try {
    await promisify(execFile)('npm', ['run', '--silent', 'build'], { cwd: root, maxBuffer: 64 << 20 });
  } catch (error) {
    const said = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    throw new Error(`the build failed:\n${said.slice(0, 4000)}`, { cause: error });
  }
}

function isFresh(): boolean {
  const built = statSync(product, { throwIfNoEntry: false })?.mtimeMs;
  if (built === undefined) return false;
  const src = join(root, 'src');
  return readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .every((name) => (statSync(join(src, name), { throwIfNoEntry: false })?.mtimeMs ?? 0) <= built);
}
