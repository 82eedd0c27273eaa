import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import { Ledger, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';

vi.setConfig({ testTimeout: 240_000 });

let arena: Arena;

beforeAll(async () => {
  arena = await Arena.make();
  makeTree(arena.host.source, new Random(2), { small: 100, big: 6 });
});
afterEach(() => arena.host.killCommands());
afterAll(() => arena?.remove());

function ports(): string {
  return readFileSync(join(arena.host.state, 'run', 'ports.json'), 'utf8');
}

describe('kill -9 of the Temporal server', () => {
  it('is started again on its ports, and the run goes on; who follows it sees its end', async () => {
    const { host } = arena;
    const up = await host.up();
    const before = { pid: host.temporalPid(), ports: ports() };
    const near = new Ledger(arena.near);
    const following = host.start(['backup', 'site', '--json']);
    const run = await host.onlyRun();
    const watched = arena.watchForSuccess(run, 'server');
    expect(await arena.reached(run, 'sending')).toBe(true);
    host.killTemporal();
    near.look();
    const { code, stdout, stderr } = await following.ended;
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    expect((JSON.parse(stdout) as RunDocument).status).toBe('succeeded');
    expect(host.temporalPid()).not.toBe(before.pid);
    expect(ports()).toBe(before.ports);
    await watched.restorable('near');
    expect(near.rewritten()).toEqual([]);
    await arena.expectNothingLeft();
    await up.kill('SIGTERM');
  });

  it('together with the worker', async () => {
    const { host } = arena;
    const up = await host.up();
    const far = new Ledger(arena.far);
    const run = await host.startRun('site', '--full');
    const watched = arena.watchForSuccess(run, 'both');
    for (const moment of ['walked', 'sending'] as const) {
      expect(await arena.reached(run, moment)).toBe(true);
      host.killTemporal();
      await host.killCommands();
      far.look();
      await host.up();
    }
    await up.ended;
    expect((await host.finished(run)).status).toBe('succeeded');
    await watched.restorable('far');
    expect(far.rewritten()).toEqual([]);
    await arena.expectNothingLeft();
  });
});
