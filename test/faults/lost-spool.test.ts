import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Ledger, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';
import type { Moment } from './moments.js';

vi.setConfig({ testTimeout: 240_000 });

let arena: Arena;

beforeAll(async () => {
  arena = await Arena.make();
  makeTree(arena.host.source, new Random(5), { small: 60, big: 24 });
});
afterEach(() => arena.host.killCommands());
afterAll(() => arena?.remove());

/** A full backup whose spool is lost, with the worker, at the moment; what was sent before is not sent again. */
async function losesSpool(moment: Moment, check: 'near' | 'far'): Promise<void> {
  const { host } = arena;
  const ledgers = [new Ledger(arena.near), new Ledger(arena.far)];
  for (const ledger of ledgers) ledger.look();
  const before = arena.storedBytes();
  await host.up();
  const run = await host.startRun('site', '--full');
  const watched = arena.watchForSuccess(run, moment);
  expect(await arena.reached(run, moment)).toBe(true);
  await host.killCommands();
  for (const ledger of ledgers) ledger.look();
  rmSync(arena.spoolOf(run), { recursive: true });
  await host.up();
  const document = await host.finished(run);
  expect(document.status).toBe('succeeded');
  expect(document.warnings).toMatchObject([{ code: 'SpoolLost' }]);
  for (const ledger of ledgers) expect(ledger.rewritten()).toEqual([]);
  const { near, far } = arena.storedBytes();
  // Each destination got the whole content once, give or take one manifest.
  expect(near - before.near).toBeLessThan(document.bytes.source * 1.03);
  expect(far - before.far).toBeLessThan(document.bytes.source * 1.03);
  await watched.restorable(check);
  await arena.expectNothingLeft();
}

describe('a lost spool', () => {
  it('while packs are on their way', () => losesSpool('sending', 'near'));
  it('right before the commit', () => losesSpool('prepared', 'far'));
});
