import { closeSync, existsSync, ftruncateSync, openSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import { Ledger, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';

vi.setConfig({ testTimeout: 240_000 });

const batch = 256 * 1024 * 1024;
const random = new Random(6);
let arena: Arena;

beforeAll(async () => {
  arena = await Arena.make({ bandwidth: '4MB/s' });
  makeTree(arena.host.source, random, { small: 40, big: 1 });
  // Six batches with little to read in each.
  const fd = openSync(join(arena.host.source, 'sparse'), 'w');
  ftruncateSync(fd, 6 * batch);
  for (let i = 0; i < 6; i++) writeSync(fd, random.bytes(2_000_000), 0, 2_000_000, i * batch + 1_000_000);
  closeSync(fd);
});
afterEach(() => arena.host.killCommands());
afterAll(() => arena?.remove());

function snapshots(folder: string): string[] {
  const path = join(folder, 'fault-host', 'site', 'snapshots');
  return existsSync(path) ? readdirSync(path) : [];
}

async function status(run: string): Promise<string> {
  return (await arena.host.json<RunDocument>(['runs', 'show', run])).status;
}

describe('stopping', () => {
  it('cancel leaves no half state, and what was sent serves the next run', async () => {
    const { host } = arena;
    await host.up();
    const near = new Ledger(arena.near);
    const run = await host.startRun('site');
    arena.watchForSuccess(run, 'cancel');
    expect(await arena.reached(run, 'sending')).toBe(true);
    expect(await host.json(['runs', 'cancel', run])).toEqual({ run, status: 'cancelled' });
    expect(await status(run)).toBe('cancelled');
    // The fast destination may have had everything already, and then has a whole snapshot; the slow one has none.
    expect(snapshots(arena.near).length).toBeLessThanOrEqual(1);
    expect(snapshots(arena.far)).toEqual([]);
    await arena.expectNothingLeft();
    near.look();
    expect(near.count()).toBeGreaterThan(0);
  });

  it('a run paused before any worker is up stays paused across kill -9, and resumes, killed once more', async () => {
    const { host } = arena;
    const near = new Ledger(arena.near);
    near.look();
    const run = await host.startRun('site', '--full');
    expect(await host.json(['runs', 'pause', run])).toEqual({ run, status: 'paused' });
    const watched = arena.watchForSuccess(run, 'pause');
    for (let ups = 0; ups < 2; ups++) {
      await host.killCommands();
      await host.up();
      await vi.waitFor(async () => expect(await status(run)).toBe('paused'), 20_000);
    }
    expect(arena.fresh()).toBe(0);
    expect(await host.json(['runs', 'resume', run])).toMatchObject({ run });
    expect(await arena.reached(run, 'sending')).toBe(true);
    await host.killCommands();
    near.look();
    await host.up();
    expect((await host.finished(run)).status).toBe('succeeded');
    expect(near.rewritten()).toEqual([]);
    await watched.restorable('near');
    await arena.expectNothingLeft();
  });

  it('SIGTERM ends up in good order, server and all; the run goes on with the next one', async () => {
    const { host } = arena;
    const up = await host.up();
    const far = new Ledger(arena.far);
    far.look();
    const run = await host.startRun('site', '--full');
    const watched = arena.watchForSuccess(run, 'sigterm');
    expect(await arena.reached(run, 'sending')).toBe(true);
    const { code } = await up.kill('SIGTERM');
    expect(code).toBe(0);
    expect(host.temporalPid()).toBeUndefined();
    far.look();
    await host.up();
    const document = await host.finished(run);
    expect(document.status).toBe('succeeded');
    expect(far.rewritten()).toEqual([]);
    await watched.restorable('far');
    await arena.expectNothingLeft();
  });

  it('Ctrl-C of a lone backup: 130, and the next backup takes the run up and follows with its own', async () => {
    const { host } = arena;
    const lone = host.start(['backup', 'site', '--full', '--json']);
    const run = await host.onlyRun();
    arena.watchForSuccess(run, 'lone');
    expect(await arena.reached(run, 'sending')).toBe(true);
    const { code, stderr } = await lone.kill('SIGINT');
    expect({ code, stderr }).toMatchObject({ code: 130, stderr: expect.stringContaining('goes on') });
    expect(host.temporalPid()).toBeUndefined();
    expect(host.document(run)?.status).toBe('running');
    const near = new Ledger(arena.near);
    near.look();
    const next = await host.json<RunDocument>(['backup', 'site']);
    expect(next.status).toBe('succeeded');
    expect(host.document(run)?.status).toBe('succeeded');
    expect(near.rewritten()).toEqual([]);
    await arena.expectNothingLeft();
  });

  it('who follows a run takes it over when up is killed', async () => {
    const { host } = arena;
    const up = await host.up();
    const following = host.start(['backup', 'site', '--full', '--json']);
    const run = await host.onlyRun();
    const watched = arena.watchForSuccess(run, 'followed');
    expect(await arena.reached(run, 'sending')).toBe(true);
    await up.kill('SIGKILL');
    const { code, stdout } = await following.ended;
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ run, status: 'succeeded' });
    await watched.restorable('near');
    await arena.expectNothingLeft();
  });
});
