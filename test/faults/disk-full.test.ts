import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RunDocument } from '../../src/workflows/types.js';
import { type Mount, mayMount, mountTmpfs } from '../support/mounts.js';
import { describeTree, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';

vi.setConfig({ testTimeout: 240_000 });

let arena: Arena;
let mount: Mount;

beforeEach(async () => {
  arena = await Arena.make({ giveUpAfter: '3s', bandwidth: '200MB/s' });
  makeTree(arena.host.source, new Random(3), { small: 50, big: 6 });
});
afterEach(async () => {
  await arena.host.killCommands();
  await mount.remove();
  await arena.remove();
});

/** Only a file system of its own can be filled up, and only root may mount one. */
describe.runIf(mayMount)('a full disk', () => {
  it('under the spool: the run waits and says why, and goes on once there is room', async () => {
    const { host } = arena;
    mount = await mountTmpfs(host.spool, '20m');
    await host.up();
    const run = await host.startRun('site');
    const watched = arena.watchForSuccess(run, 'spool');
    await said(run, 'the disk of the spool');
    mount.remount('size=300m');
    expect((await host.finished(run)).status).toBe('succeeded');
    await watched.restorable('near');
    await arena.expectNothingLeft();
  });

  it('under the spool, filled by somebody else in the middle of a run', async () => {
    const { host } = arena;
    mount = await mountTmpfs(host.spool, '100m');
    await host.up();
    const run = await host.startRun('site');
    const watched = arena.watchForSuccess(run, 'filled');
    expect(await arena.reached(run, 'walked')).toBe(true);
    fill(host.spool);
    await sleep(1500);
    rmSync(join(host.spool, 'filler'));
    expect((await host.finished(run)).status).toBe('succeeded');
    await watched.restorable('far');
    await arena.expectNothingLeft();
  });

  it('at a destination: partial, and delivered once there is room, whatever became of the source', async () => {
    const { host } = arena;
    mount = await mountTmpfs(arena.near, '12m');
    await host.up();
    const backedUp = describeTree(host.source);
    const document = await host.json<RunDocument>(['backup', 'site'], [3]);
    expect(document.status).toBe('partial');
    expect(document.destinations).toMatchObject([
      { name: 'near', status: 'missed' },
      { name: 'far', status: 'stored' },
    ]);
    expect(document.destinations[0]?.error).toMatch(/^DestinationFull: /);
    expect(document.warnings).toMatchObject([{ code: 'DestinationMissed' }]);
    rmSync(join(host.source, 'd0'), { recursive: true });
    mount.remount('size=300m');
    await arena.delivered(document.run, 'near');
    await arena.expectNothingLeft();
    const work = host.path('work');
    mkdirSync(work);
    await arena.restoreFrom(arena.near, work, backedUp);
  });
});

async function said(run: string, words: string): Promise<void> {
  for (const deadline = Date.now() + 30_000; ; ) {
    const { stdout } = await arena.host.run(['runs', 'show', run]);
    if (stdout.includes(words)) return;
    if (Date.now() > deadline) throw new Error(`it never said '${words}': ${stdout}`);
  }
}

/** Takes all the room that is left. */
function fill(folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  try {
    writeFileSync(join(folder, 'filler'), Buffer.alloc(bavail * bsize));
  } catch {
    // The run took some of it meanwhile; what is there now fills the rest.
  }
}
