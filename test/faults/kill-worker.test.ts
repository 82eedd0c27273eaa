import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import type { Running } from '../support/cli.js';
import { Ledger, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';
import { type Moment, phaseOf } from './moments.js';

const seed = Number(process.env.HOLDFAST_TEST_SEED ?? Date.now() % 1_000_000);

// A kill that hits a workflow task costs that task's ten seconds.
vi.setConfig({ testTimeout: 240_000 });

let arena: Arena;
let random: Random;

beforeAll(async () => {
  console.log(`kill -9: HOLDFAST_TEST_SEED=${seed}`);
  random = new Random(seed);
  arena = await Arena.make();
  makeTree(arena.host.source, random, { small: 300, big: 8 });
});
afterEach(() => arena.host.killCommands());
afterAll(() => arena?.remove());

/** Where kills hit, over all runs. */
const hits: string[] = [];

/** One run, to be restored from `check`, whose worker is killed at each of the moments, with a new `up` each time. */
async function killedRun(
  name: string,
  check: 'near' | 'far',
  at: readonly Moment[],
  options: string[] = [],
): Promise<RunDocument> {
  const { host } = arena;
  const packs = { near: new Ledger(arena.near), far: new Ledger(arena.far) };
  for (const ledger of Object.values(packs)) ledger.look();
  let up: Running = await host.up();
  const run = await host.startRun('site', ...options);
  const watched = arena.watchForSuccess(run, name);
  for (const moment of at) {
    if (!(await arena.reached(run, moment))) break;
    await sleep(random.below(moment === 'any' ? 1500 : 60));
    const phase = phaseOf(arena, run);
    await up.kill('SIGKILL');
    hits.push(phase);
    for (const ledger of Object.values(packs)) ledger.look();
    up = await host.up();
  }
  const document = await host.finished(run);
  await watched.restorable(check);
  await up.kill('SIGTERM');
  for (const ledger of Object.values(packs)) expect(ledger.rewritten()).toEqual([]);
  await arena.expectNothingLeft();
  expect(document.warnings).toEqual([]);
  expect(document.status).toBe('succeeded');
  expect(document.destinations.map(({ status }) => status)).toEqual(['stored', 'stored']);
  return document;
}

describe('kill -9 of the worker', () => {
  it('the first backup, killed in every phase', async () => {
    const document = await killedRun('first', 'near', [
      'begin',
      'walked',
      'read',
      'sealed',
      'sending',
      'sending',
      'merged',
      'prepared',
    ]);
    expect(document.files.total).toBe(310);
    // What was sent before a kill was not sent again by another name either.
    expect(new Ledger(arena.near).count()).toBe(new Ledger(arena.far).count());
  });

  it('an incremental one, killed at random', async () => {
    for (let i = 0; i < 5; i++) await writeFile(join(arena.host.source, `new-${i}`), random.bytes(4_000_000));
    await rm(join(arena.host.source, 'big-0'));
    await killedRun('incremental', 'far', ['any', 'any', 'any', 'prepared', 'indexed']);
  });

  it('a full one, killed between and after the commits', async () => {
    await killedRun('full', 'far', ['any', 'sending', 'any', 'any', 'committed', 'over'], ['--full']);
  });

  it('an unchanged one', async () => {
    await killedRun('unchanged', 'near', ['begin', 'walked', 'prepared', 'committed']);
  });

  it('hit every phase, twenty times and more', () => {
    console.log(`kills: ${hits.join(' ')}`);
    expect(hits.length).toBeGreaterThanOrEqual(20);
    expect(new Set(hits).size).toBeGreaterThanOrEqual(7);
  });
});
