import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import type { CopyDocument } from '../../src/workflows/copy-types.js';
import type { RunDocument } from '../../src/workflows/types.js';
import { describeTree, Ledger, makeTree, Random } from '../support/tree.js';
import { Arena } from './arena.js';

const random = new Random(7);
vi.setConfig({ testTimeout: 180_000 });

let arena: Arena;
let config: Pick<ConfigInput, 'destinations' | 'jobs'>;

beforeAll(async () => {
  arena = await Arena.make({ bandwidth: '200MB/s' });
  const { host } = arena;
  makeTree(host.source, random, { small: 20, big: 1 });
  for (let i = 0; i < 4; i++) writeFileSync(join(host.source, `large-${i}`), random.bytes(20_000_000));
  config = arena.config();
  const site = config.jobs.site!;
  site.destinations = ['far'];
  site.retention = { keepLast: 2 };
  // Slow enough to be killed in the middle.
  config.destinations.near = { type: 'local', path: arena.near, bandwidth: '15MB/s' };
  config.destinations.other = { type: 'local', path: host.path('other') };
  await host.configure(config);
  // Commands share its server.
  await host.up();
  await host.json(['backup', 'site']);
  writeFileSync(join(host.source, 'later'), random.bytes(1_000_000));
  await host.json(['backup', 'site']);
  rmSync(join(host.source, 'large-0'));
  await host.json(['backup', 'site']);
});
afterAll(() => arena?.remove());

const names = (folder: string, kind: string): string[] => {
  const path = join(folder, 'fault-host', 'site', kind);
  return existsSync(path)
    ? readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((name) => !/\.tmp-/.test(name))
        .sort()
    : [];
};

it('copies a repository, killed in the middle and gone on with, so that it can be restored from', async () => {
  const { host } = arena;
  const ledger = new Ledger(arena.near);
  const first = host.start(['copy', 'site', '--from', 'far', '--to', 'near']);
  for (
    const deadline = Date.now() + 60_000;
    names(arena.near, 'packs').filter((name) => name.length > 3).length < 2;
    await sleep(10)
  ) {
    if (Date.now() > deadline) throw new Error(`nothing came: ${first.stderr}`);
  }
  await first.kill('SIGKILL');
  ledger.look();
  expect(names(arena.near, 'snapshots')).toEqual([]);
  const second = await host.run(['copy', 'site', '--from', 'far', '--to', 'near', '--json']);
  expect(second.stderr).toContain('going on with copy/fault-host/site/');
  expect(second.code).toBe(0);
  const document = JSON.parse(second.stdout) as CopyDocument;
  expect(document).toMatchObject({
    job: 'site',
    from: 'far',
    to: 'near',
    status: 'succeeded',
    snapshots: { total: 2, copied: 2, present: 2 },
    damaged: [],
  });
  // What had come was not copied again.
  expect(ledger.rewritten()).toEqual([]);
  // A pack that an attempt left behind at the source, and no index names, need not come.
  expect(names(arena.far, 'packs')).toEqual(expect.arrayContaining(names(arena.near, 'packs')));
  // Nor need indexes whose place others have taken.
  expect(names(arena.far, 'index')).toEqual(expect.arrayContaining(names(arena.near, 'index')));
  for (const kind of ['snapshots', 'deletions']) expect(names(arena.near, kind)).toEqual(names(arena.far, kind));
  const work = host.path('work');
  mkdirSync(work);
  await arena.restoreFrom(arena.near, work, describeTree(host.source));
  rmSync(work, { recursive: true });
});

it('has nothing to do the second time, and brings only what is new the third', async () => {
  const { host } = arena;
  const copy = () => host.json<CopyDocument>(['copy', 'site', '--from', 'far', '--to', 'near']);
  expect(await copy()).toMatchObject({
    packs: { copied: 0 },
    bytes: 0,
    snapshots: { total: 2, copied: 0, present: 2 },
  });
  writeFileSync(join(host.source, 'newest'), random.bytes(1_000_000));
  await host.json(['backup', 'site']);
  expect(await copy()).toMatchObject({ snapshots: { total: 2, copied: 1, present: 2 } });
  // The job may store there from now on, and finds everything.
  await host.configure({ ...config, jobs: { site: { ...config.jobs.site!, destinations: ['far', 'near'] } } });
  const run = await host.json<RunDocument>(['backup', 'site']);
  expect(run).toMatchObject({
    status: 'succeeded',
    bytes: { new: 0 },
    destinations: [{ status: 'stored' }, { status: 'stored' }],
  });
});

it('refuses another repository, the same destination, and one without a repository', async () => {
  const { host } = arena;
  const folder = host.path('other', 'fault-host', 'site');
  mkdirSync(folder, { recursive: true });
  const refused = async (args: string[], codes: number[]) =>
    (await host.json<{ error: { code: string } }>(['copy', 'site', ...args], codes)).error.code;
  expect(await refused(['--from', 'other', '--to', 'near'], [1])).toBe('ObjectMissing');
  writeFileSync(
    join(folder, 'holdfast.json'),
    JSON.stringify({
      format: 1,
      repository: '0b9c2a80-3c1e-4f7b-9a44-2d1c5c8b7e10',
      objects: 'plain',
      created: '2026-01-01T00:00:00.000Z',
      host: 'fault-host',
      job: 'site',
      slots: [],
    }),
  );
  expect(await refused(['--from', 'far', '--to', 'other'], [1])).toMatch(/RepositoryMismatch|IntegrityMismatch/);
  expect(await refused(['--from', 'far', '--to', 'far'], [2])).toBe('UsageInvalid');
  expect(names(host.path('other'), 'packs')).toEqual([]);
});

it('copies what is whole where the source is damaged, and says what is not', async () => {
  const { host } = arena;
  rmSync(host.path('other'), { recursive: true });
  const packs = join(arena.far, 'fault-host', 'site', 'packs');
  const sizeOf = (name: string): number => statSync(join(packs, name)).size;
  // The largest is one that is needed: what no snapshot needs any more is not copied.
  const [pack = ''] = names(arena.far, 'packs')
    .filter((name) => name.length > 3)
    .sort((a, b) => sizeOf(b) - sizeOf(a));
  writeFileSync(join(packs, pack), 'damaged');
  const document = await host.json<CopyDocument>(['copy', 'site', '--from', 'far', '--to', 'other'], [3]);
  expect(document.status).toBe('partial');
  expect(document.damaged).toMatchObject([{ name: `packs/${pack}` }]);
  expect(document.snapshots.present).toBeLessThan(document.snapshots.total);
  expect(names(host.path('other'), 'snapshots')).toHaveLength(document.snapshots.present);
});

it('usage tells what is where', async () => {
  const usage = await arena.host.json<
    { name: string; bytes: number; free: number | null; jobs: { job: string; packs: number }[] }[]
  >(['destinations', 'usage']);
  const near = usage.find(({ name }) => name === 'near');
  expect(near?.jobs).toMatchObject([
    { job: 'site', packs: names(arena.near, 'packs').filter((name) => name.length > 3).length },
  ]);
  expect(near?.bytes).toBeGreaterThan(60_000_000);
  expect(near?.free).toBeGreaterThan(0);
  expect(usage.find(({ name }) => name === 'far')?.free).toBeNull();
});
