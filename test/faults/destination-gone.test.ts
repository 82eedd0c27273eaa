import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import { describeTree, Ledger, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';

const random = new Random(4);
vi.setConfig({ testTimeout: 240_000 });

let arena: Arena;

beforeAll(async () => {
  arena = await Arena.make({ giveUpAfter: '3s' });
  makeTree(arena.host.source, random, { small: 60, big: 3 });
  await arena.host.json(['backup', 'site']);
});
afterEach(() => arena.host.killCommands());
afterAll(() => arena?.remove());

async function restored(repository: string, expected: string[]): Promise<void> {
  const work = arena.host.path('work');
  mkdirSync(work);
  await arena.restoreFrom(repository, work, expected);
  rmSync(work, { recursive: true });
}

/** The spool of a partial run keeps what its late destination needs, and nothing else; cleared right after the document. */
async function expectOnlyPacks(run: string): Promise<void> {
  await vi.waitFor(() => {
    expect(readdirSync(arena.host.spool)).toEqual([arena.spoolOf(run).split('/').at(-1)]);
    expect(readdirSync(arena.spoolOf(run)).sort()).toEqual(['begun.json', 'config.json', 'objects', 'packs']);
  }, 20_000);
  expect(readdirSync(join(arena.spoolOf(run), 'packs')).every((name) => /^[0-9a-f]{64}$/.test(name))).toBe(true);
}

describe('a destination that is gone', () => {
  it('a folder: partial, then delivered without the source, by an up that was killed meanwhile', async () => {
    const { host } = arena;
    const away = host.path('away');
    renameSync(arena.near, away);
    writeFileSync(join(host.source, 'only in this run'), random.bytes(3_000_000));
    const backedUp = describeTree(host.source);
    await host.up();
    const document = await host.json<RunDocument>(['backup', 'site'], [3]);
    expect(document.status).toBe('partial');
    expect(document.destinations).toMatchObject([
      { name: 'near', status: 'missed' },
      { name: 'far', status: 'stored' },
    ]);
    expect(document.destinations[0]?.error).toMatch(/^Destination/);
    expect(document.warnings).toMatchObject([{ code: 'DestinationMissed' }]);
    await expectOnlyPacks(document.run);
    await restored(arena.far, backedUp);

    await host.killCommands();
    rmSync(join(host.source, 'only in this run'));
    await host.up();
    await expectOnlyPacks(document.run);
    renameSync(away, arena.near);
    await arena.delivered(document.run, 'near');
    await arena.expectNothingLeft();
    await restored(arena.near, backedUp);
  });

  it('an S3 server that dies during the upload, then delivered; a run in between goes to the other one', async () => {
    const { host, s3 } = arena;
    await host.up();
    for (let i = 0; i < 6; i++) writeFileSync(join(host.source, `more-${i}`), random.bytes(4_000_000));
    const run = await host.startRun('site');
    arena.watchForSuccess(run, 's3');
    expect(await arena.reached(run, 'sending')).toBe(true);
    await s3.kill();
    const far = new Ledger(arena.far);
    far.look();
    const first = await host.finished(run);
    expect(first).toMatchObject({
      status: 'partial',
      destinations: [{ status: 'stored' }, { name: 'far', status: 'missed' }],
    });
    await expectOnlyPacks(run);

    rmSync(join(host.source, 'more-0'));
    const second = await host.json<RunDocument>(['backup', 'site'], [3]);
    expect(second.status).toBe('partial');
    const backedUp = describeTree(host.source);
    writeFileSync(join(host.source, 'more-1'), 'changed');
    await s3.restart();
    await arena.delivered(run, 'far');
    await arena.delivered(second.run, 'far');
    expect(far.rewritten()).toEqual([]);
    await arena.expectNothingLeft();
    await restored(arena.far, backedUp);
  });

  it('that lost packs: the next run heals it', async () => {
    const { host } = arena;
    const packs = join(arena.near, 'fault-host', 'site', 'packs');
    for (const folder of readdirSync(packs).slice(0, 3)) rmSync(join(packs, folder), { recursive: true });
    const document = await host.json<RunDocument>(['backup', 'site']);
    expect(document).toMatchObject({
      status: 'succeeded',
      destinations: [{ name: 'near', status: 'healed' }, { status: 'stored' }],
    });
    await restored(arena.near, describeTree(host.source));
  });
});
