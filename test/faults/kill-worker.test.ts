import { existsSync, readdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import type { Running } from '../support/cli.js';
import { Ledger, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';
import { type Moment, moments, phaseOf } from './moments.js';

const seed = Number(process.env.HOLDFAST_TEST_SEED ?? Date.now() % 1_000_000);

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

/** One run whose worker is killed at each of the moments, with a new `up` each time. */
async function killedRun(name: string, at: readonly Moment[], options: string[] = []): Promise<RunDocument> {
  const { host } = arena;
  const packs = { near: new Ledger(arena.near), far: new Ledger(arena.far) };
  for (const ledger of Object.values(packs)) ledger.look();
  let up: Running = await host.up();
  const run = await host.startRun('site', ...options);
  const watched = arena.watchForSuccess(run, name);
  for (const moment of at) {
    const there = await reached(run, moment);
    if (!there) break;
    await sleep(random.below(moment === 'any' ? 1500 : 60));
    const phase = phaseOf(arena, run);
    await up.kill('SIGKILL');
    hits.push(phase);
    for (const ledger of Object.values(packs)) ledger.look();
    up = await host.up();
  }
  const document = await host.finished(run);
  await watched.restorable(document);
  await up.kill('SIGTERM');
  for (const ledger of Object.values(packs)) expect(ledger.rewritten()).toEqual([]);
  expect(readdirSync(host.spool)).toEqual([]);
  expect(host.locks()).toEqual([]);
  expect(document.warnings).toEqual([]);
  expect(document.status).toBe('succeeded');
  return document;
}

/** Waits for a moment of the run; false when it was over before. */
async function reached(run: string, moment: Moment): Promise<boolean> {
  for (const deadline = Date.now() + 60_000; ; await sleep(2)) {
    if (arena.host.document(run)?.endedAt) return false;
    if (moments[moment](arena, run)) return true;
    if (Date.now() > deadline) throw new Error(`${run} never got to ${moment}\n${arena.host.logTail()}`);
  }
}

describe('kill -9 of the worker', () => {
  it('the first backup, killed in every phase', async () => {
    const document = await killedRun('first', ['begin', 'walked', 'read', 'sealed', 'sending', 'sending', 'merged', 'prepared']);
    expect(document.files.total).toBe(303);
    // Nothing is stored twice: what the destinations hold is what the run says it stored.
    expect(new Set(document.destinations.map(({ packs }) => packs)).size).toBe(1);
  });

  it('an incremental one, killed at random', async () => {
    for (let i = 0; i < 5; i++) await writeFile(join(arena.host.source, `new-${i}`), random.bytes(4_000_000));
    await rm(join(arena.host.source, 'big-0'));
    await killedRun('incremental', ['any', 'any', 'any', 'prepared', 'indexed']);
  });

  it('a full one, killed between and after the commits', async () => {
    await killedRun('full', ['any', 'sending', 'any', 'any', 'committed', 'over'], ['--full']);
  });

  it('an unchanged one', async () => {
    await killedRun('unchanged', ['begin', 'walked', 'prepared', 'committed']);
  });

  it('hit every phase, twenty times and more', () => {
    console.log(`kills: ${hits.join(' ')}`);
    expect(hits.length).toBeGreaterThanOrEqual(20);
    expect(new Set(hits).size).toBeGreaterThanOrEqual(7);
    expect(existsSync(arena.host.spool)).toBe(true);
  });
});
