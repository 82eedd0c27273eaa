import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { readHolder, tryExclusive, tryShared } from '../../src/worker/locks.js';
import { compileSource } from '../support/compile.js';

let compiled: ReturnType<typeof compileSource>;
let folder: string;
let path: string;
const children: ChildProcess[] = [];

beforeAll(() => {
  compiled = compileSource(['errors.ts', 'worker/locks.ts']);
});
afterAll(() => compiled.remove());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-locks-'));
  path = join(folder, 'run', 'test.lock');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Another process that tries to take the lock, says whether it has it, and holds on to it. */
async function holder(mode: 'tryExclusive' | 'tryShared'): Promise<{ child: ChildProcess; got: boolean }> {
  const module = pathToFileURL(join(compiled.dist, 'worker/locks.js')).href;
  const script = `
    const { ${mode} } = await import(${JSON.stringify(module)});
    globalThis.lock = ${mode}(${JSON.stringify(path)}, { command: 'the other' });
    process.stdout.write(lock ? 'got' : 'refused');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const [text] = await once(child.stdout!, 'data');
  return { child, got: String(text) === 'got' };
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

test('an exclusive lock keeps everybody else out, in this process and in others, until it is released', async () => {
  const lock = tryExclusive(path);
  expect(lock?.exclusive).toBe(true);
  expect(tryExclusive(path)).toBeUndefined();
  expect(tryShared(path)).toBeUndefined();
  expect((await holder('tryExclusive')).got).toBe(false);
  expect((await holder('tryShared')).got).toBe(false);
  lock?.release();
  lock?.release();
  expect((await holder('tryExclusive')).got).toBe(true);
  expect(tryShared(path)).toBeUndefined();
});

test('an exclusive lock dies with its process by kill -9, and says who held it until then', async () => {
  const other = await holder('tryExclusive');
  expect(tryExclusive(path)).toBeUndefined();
  expect(readHolder(path)).toMatchObject({ pid: other.child.pid, command: 'the other' });
  await kill(other.child);
  const lock = tryExclusive(path, { command: 'me' });
  expect(lock).toBeDefined();
  expect(readHolder(path)).toMatchObject({ pid: process.pid, command: 'me' });
  lock?.describe('http://ui');
  expect(readHolder(path)?.note).toBe('http://ui');
  lock?.release();
  expect(readHolder(path)).toBeUndefined();
});

test('shared locks stand side by side; only the last holder can upgrade', async () => {
  const first = await holder('tryShared');
  const second = await holder('tryShared');
  const mine = tryShared(path);
  expect([first.got, second.got, mine !== undefined]).toEqual([true, true, true]);
  expect(tryExclusive(path)).toBeUndefined();
  expect(mine?.tryUpgrade()).toBe(false);
  await kill(first.child);
  expect(mine?.tryUpgrade()).toBe(false);
  expect(mine?.exclusive).toBe(false);
  expect((await holder('tryExclusive')).got).toBe(false);
  await kill(second.child);
  expect(mine?.tryUpgrade()).toBe(true);
  expect((await holder('tryShared')).got).toBe(false);
  mine?.release();
  expect((await holder('tryShared')).got).toBe(true);
});

test.runIf(process.platform !== 'win32')('lock files and their folder are private', () => {
  const lock = tryExclusive(path);
  expect(statSync(join(folder, 'run')).mode & 0o777).toBe(0o700);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(`${path}.json`).mode & 0o777).toBe(0o600);
  lock?.release();
});

test('what is not a lock file is an error, not a lock that is held', () => {
  expect(() => tryExclusive(folder)).toThrow();
});
