import { randomBytes } from 'node:crypto';
import { cpSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { indexIdOf, packHashOf } from '../../src/repository/layout.js';
import { restorer, runPython } from '../docs/python.js';
import { Backups } from './backups.js';
import { check, cutPowerAfter, PowerCut, pin, prune } from './care.js';

let backups: Backups;
beforeEach(async () => {
  backups = await Backups.make();
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() });
});
afterEach(async () => {
  vi.useRealTimers();
  await backups.remove();
});
afterAll(() => Backups.end());

const hour = 3600_000;
const day = 24 * hour;
const later = (ms: number): void => void vi.setSystemTime(Date.now() + ms);
const keep = (retention: object | undefined, more: object = {}): void =>
  backups.configure((config) => {
    const { site } = config.jobs;
    if (site) Object.assign(site, retention === undefined ? {} : { retention }, more);
  });
const count = (destination: string, is: (name: string) => string | undefined): number =>
  [...backups.objects(destination).keys()].filter((name) => is(name) !== undefined).length;
const bytes = (destination: string): number =>
  [...backups.objects(destination).values()].reduce((sum, content) => sum + content.length, 0);
/** Every snapshot that is listed can be read to the last byte; the newest is what the source holds. */
async function whole(destination: string): Promise<number> {
  return (await backups.readBack(destination)).length;
}

describe('generations', () => {
  test('one goes from the disk, and the next is whole', async () => {
    backups.write('a', randomBytes(300_000));
    await backups.run();
    later(hour);
    const old = new Set(backups.objects('nas').keys());
    expect((await backups.run({ full: true })).mode).toBe('full');
    for (const name of old) {
      if (name.startsWith('packs/') || name.startsWith('index/') || name.startsWith('snapshots/'))
        rmSync(backups.objectPath('nas', name));
    }
    expect(await whole('nas')).toBe(1);
  });

  test('the scope of each mode is the one the format says, and renewEvery starts anew', async () => {
    keep(undefined, { mode: 'differential', renewEvery: '30d' });
    const indexes: string[][] = [];
    const modes: unknown[] = [];
    for (let at = 0; at < 4; at++) {
      backups.write('a', `version ${at}`);
      modes.push((await backups.run()).mode);
      indexes.push((await backups.readBack('nas'))[0]?.root.indexes ?? []);
      later(at === 2 ? 30 * day : day);
    }
    expect(modes).toEqual(['full', 'differential', 'differential', 'full']);
    const [full = [], first = [], second = [], renewed = []] = indexes;
    expect(first).toEqual([...full, first.at(-1)]);
    expect(second).toEqual([...full, second.at(-1)]);
    expect(second).not.toContain(first.at(-1));
    expect(renewed.filter((index) => full.includes(index))).toEqual([]);
    const { root } = (await backups.readBack('nas'))[0] ?? {};
    expect(root?.added).toBeGreaterThan(0);
  });
});

describe('what is not needed', () => {
  test('many small packs and indexes become few, and every snapshot stays whole', async () => {
    keep({ keepLast: 2 });
    for (let at = 0; at < 13; at++) {
      backups.write(`f${at}`, `content ${at}`);
      await backups.run();
      later(hour);
    }
    const index = count('nas', indexIdOf);
    later(73 * hour);
    const [nas] = await prune(backups);
    expect(nas).toMatchObject({ status: 'pruned', error: null });
    expect(nas?.deleted).toBeGreaterThan(10);
    expect(count('nas', indexIdOf)).toBeLessThan(index - 5);
    expect(count('nas', packHashOf)).toBeLessThan(12);
    expect(await whole('nas')).toBe(2);
    expect(await whole('offsite')).toBe(2);
    const again = await backups.run();
    expect(again).toMatchObject({ status: 'succeeded', bytes: { new: expect.any(Number) } });
    expect(await whole('nas')).toBe(2);
  });

  test('a half-empty pack is written anew, and a run after that finds its chunks', async () => {
    for (let at = 0; at < 10; at++) backups.write(`f${at}`, randomBytes(100_000));
    await backups.run();
    later(hour);
    for (let at = 0; at < 7; at++) backups.write(`f${at}`, 'small');
    await backups.run();
    later(hour);
    keep({ keepLast: 1 });
    const before = bytes('nas');
    const [first] = await prune(backups);
    expect(first?.repacked).toBeGreaterThan(0);
    expect(await whole('nas')).toBe(1);
    later(71 * hour);
    expect((await prune(backups))[0]?.deleted).toBe(0);
    later(2 * hour);
    expect((await prune(backups))[0]?.freed).toBeGreaterThan(600_000);
    expect(bytes('nas')).toBeLessThan(before / 2);
    expect(bytes('offsite')).toBeLessThan(before / 2);
    expect(await backups.run()).toMatchObject({ status: 'succeeded', bytes: { read: expect.any(Number), new: 0 } });
    expect(await whole('nas')).toBe(1);
    expect(await whole('offsite')).toBe(1);
    const out = path.join(backups.folder, 'out');
    await runPython(restorer, [backups.objectPath('offsite', ''), out]);
    expect(readFileSync(path.join(out, backups.source, 'f9'))).toEqual(readFileSync(path.join(backups.source, 'f9')));
  });

  test('whatever step a prune is cut off at, the repository is whole and the next prune finishes', async () => {
    for (let at = 0; at < 6; at++) backups.write(`f${at}`, randomBytes(20_000));
    await backups.run();
    later(hour);
    for (let at = 0; at < 4; at++) backups.write(`f${at}`, `small ${at}`);
    await backups.run();
    keep({ keepLast: 1 });
    // Marks that are due, so that a prune deletes, too.
    later(hour);
    await prune(backups, { only: 'nas' });
    later(80 * hour);
    backups.write('f4', 'small too');
    keep(undefined);
    await backups.run();
    keep({ keepLast: 1 });
    later(hour);
    const kept = path.join(backups.folder, 'kept');
    const parts = ['nas', 'offsite', 'state'];
    await backups.restart();
    for (const part of parts) cpSync(path.join(backups.folder, part), path.join(kept, part), { recursive: true });
    for (let writes = 0; ; writes++) {
      await backups.host.close();
      for (const part of parts) {
        rmSync(path.join(backups.folder, part), { recursive: true });
        cpSync(path.join(kept, part), path.join(backups.folder, part), { recursive: true });
      }
      await backups.restart();
      const power = cutPowerAfter(backups, writes);
      const cut = await prune(backups, { only: 'nas' }).then(
        () => false,
        (error: unknown) => {
          if (!(error instanceof PowerCut)) throw error;
          return true;
        },
      );
      power.restore();
      expect(await whole('nas'), `after ${writes} writes`).toBeGreaterThan(0);
      await prune(backups, { only: 'nas' });
      expect(await whole('nas'), `after ${writes} writes and another prune`).toBe(1);
      if (!cut) {
        expect(writes).toBeGreaterThan(6);
        break;
      }
    }
  }, 120_000);
});

describe('beside a snapshot beyond repair', () => {
  const lose = (names: Iterable<string>): void => {
    for (const destination of ['nas', 'offsite'])
      for (const name of names) rmSync(backups.objectPath(destination, name), { force: true });
  };
  const namesOf = (is: (name: string) => string | undefined): string[] =>
    [...backups.objects('nas').keys()].filter((name) => is(name) !== undefined);
  /** Loses the content of the file that the next run adds. */
  const loseNext = async (name: string): Promise<string> => {
    const before = new Set(namesOf(packHashOf));
    backups.write(name, randomBytes(300_000));
    const { snapshot } = await backups.run();
    const added = namesOf(packHashOf).filter((pack) => !before.has(pack));
    lose(added.filter((pack) => (backups.objects('nas').get(pack)?.length ?? 0) > 200_000));
    later(hour);
    return snapshot ?? '';
  };

  test('pruning goes on, what is left of it stays, and it is said each time', async () => {
    backups.write('kept', randomBytes(100_000));
    await backups.run();
    later(hour);
    const damaged = await loseNext('lost');
    await pin(backups, damaged);
    rmSync(path.join(backups.source, 'lost'));
    for (let at = 0; at < 3; at++) {
      backups.write('changes', randomBytes(50_000));
      await backups.run();
      later(hour);
    }
    keep({ keepLast: 1 });
    backups.write('changes', randomBytes(50_000));
    await backups.run();
    const warning = { code: 'SnapshotDamaged', message: expect.stringContaining(damaged) };
    for (const destination of ['nas', 'offsite']) expect(backups.snapshotNames(destination)).toHaveLength(2);
    later(80 * hour);
    const done = await prune(backups);
    expect(done).toMatchObject([
      { status: 'pruned', warnings: [warning] },
      { status: 'pruned', warnings: [warning] },
    ]);
    expect(done[0]?.freed).toBeGreaterThan(100_000);
    const { findings } = await check(backups, { readData: 100 });
    for (const { files, snapshots } of findings) {
      expect(snapshots).toEqual([damaged]);
      expect(files).toEqual([{ path: path.join(backups.source, 'lost'), snapshots: [damaged] }]);
    }
    expect(findings).toHaveLength(2);
    // No more than what the two snapshots need.
    expect((await check(backups)).destinations[0]?.unneeded.packs).toBe(0);
  });

  test('what is good is not given up for what is damaged', async () => {
    backups.write('a', 'one');
    const good = [(await backups.run()).snapshot];
    later(hour);
    backups.write('a', 'two');
    good.unshift((await backups.run()).snapshot);
    later(hour);
    const damaged = await loseNext('lost');
    keep({ keepLast: 2 });
    const [nas] = await prune(backups);
    expect(nas?.snapshots.map(({ id, keep: stays }) => [id, stays])).toEqual(
      [damaged, ...good].map((id) => [id, true]),
    );
    rmSync(path.join(backups.source, 'lost'));
    for (let at = 0; at < 2; at++) {
      later(hour);
      backups.write('a', `later ${at}`);
      await backups.run();
    }
    expect(backups.snapshotNames('nas')).toHaveLength(2);
    expect(await whole('nas')).toBe(2);
  });

  test('a lost index keeps its generation, and others are pruned', async () => {
    backups.write('a', randomBytes(100_000));
    const first = await backups.run();
    await pin(backups, first.snapshot ?? '');
    const needed = namesOf(packHashOf);
    lose(namesOf(indexIdOf));
    later(hour);
    for (let at = 0; at < 2; at++) {
      backups.write('a', randomBytes(100_000));
      await backups.run({ full: true });
      later(hour);
    }
    backups.host.catalog('site').clearForRebuild();
    keep({ keepLast: 1 });
    const [nas] = await prune(backups);
    expect(nas).toMatchObject({ status: 'pruned', removed: 1, warnings: [{ code: 'SnapshotDamaged' }] });
    later(80 * hour);
    expect((await prune(backups))[0]?.freed).toBeGreaterThan(100_000);
    expect(namesOf(packHashOf)).toEqual(expect.arrayContaining(needed));
    expect(namesOf(packHashOf)).toHaveLength(needed.length + 2);
  });

  test('a root that nobody can read is set aside by a repair, and the next prune goes on', async () => {
    for (const text of ['one', 'two']) {
      backups.write('a', text);
      await backups.run();
      later(hour);
    }
    const [oldest = ''] = backups.snapshotNames('nas');
    for (const destination of ['nas', 'offsite']) truncateSync(backups.objectPath(destination, oldest), 20);
    backups.host.catalog('site').clearForRebuild();
    keep({ keepLast: 1 });
    await expect(prune(backups)).rejects.toMatchObject({ code: 'IntegrityMismatch' });
    expect(await check(backups, { repair: true })).toMatchObject({ status: 'repaired' });
    expect(await check(backups)).toMatchObject({ status: 'clean', findings: [] });
    expect(await prune(backups)).toMatchObject([{ status: 'pruned' }, { status: 'pruned' }]);
    expect(readFileSync(backups.objectPath('nas', oldest.replace('snapshots', 'damaged')))).toHaveLength(20);
    expect(await whole('offsite')).toBe(1);
  });
});

describe('what stays', () => {
  test('a pinned snapshot, until it is unpinned, also on a host that knows nothing', async () => {
    backups.write('a', 'one');
    const { snapshot } = await backups.run();
    later(hour);
    await pin(backups, snapshot ?? '');
    keep({ keepLast: 1 });
    for (const text of ['two', 'three']) {
      backups.write('a', text);
      await backups.run();
      later(hour);
    }
    expect(await whole('nas')).toBe(2);
    await backups.forget();
    const [nas] = await prune(backups);
    expect(nas?.snapshots.find(({ id }) => id === snapshot)).toMatchObject({ keep: true, reasons: ['pinned'] });
    await pin(backups, snapshot ?? '', false);
    expect((await prune(backups))[0]).toMatchObject({ removed: 1 });
    expect(await whole('nas')).toBe(1);
  });

  test('everything, where the newest good snapshot is not, or not at enough destinations', async () => {
    backups.write('a', 'one');
    await backups.run();
    later(hour);
    await backups.run();
    keep({ keepLast: 1 }, { minimumDestinations: 2 });
    const [newest] = backups.snapshotNames('offsite').slice(-1);
    rmSync(backups.objectPath('offsite', newest ?? ''));
    const done = await prune(backups);
    expect(done.map(({ status }) => status)).toEqual(['skipped', 'skipped']);
    expect(done[0]?.error).toContain('is at 1 destinations; 2 are needed');
    expect(backups.snapshotNames('nas')).toHaveLength(2);
  });

  test('everything, while an anomaly holds the retention', async () => {
    for (const text of ['one', 'two']) {
      backups.write('a', text);
      await backups.run();
      later(hour);
    }
    keep({ keepLast: 1 });
    backups.host.history.hold('site', 'run', 'half the files are gone');
    expect(await prune(backups)).toMatchObject([
      { status: 'skipped', error: expect.stringContaining('half the files are gone') },
      { status: 'skipped' },
    ]);
    expect(backups.snapshotNames('nas')).toHaveLength(2);
  });

  test('everything, when the clock jumped ahead, until it is believed', async () => {
    for (let at = 0; at < 4; at++) {
      backups.write('a', `version ${at}`);
      await backups.run();
      later(day);
    }
    keep({ keepWithin: '10d' });
    later(3650 * day);
    backups.write('a', 'in ten years');
    const run = backups.newRun();
    await backups.begin(run);
    await backups.store(run);
    for (const destination of ['nas', 'offsite'])
      await backups.call('commit', { input: backups.input(), run, destination });
    await expect(backups.call('prune', { input: backups.input(), run, destination: 'nas' })).rejects.toMatchObject({
      type: 'ClockJumped',
    });
    expect(backups.snapshotNames('nas')).toHaveLength(5);
    await backups.host.history.releaseLock('site', run);
    expect((await prune(backups, { trustClock: true }))[0]).toMatchObject({ removed: 4 });
    expect(await whole('nas')).toBe(1);
  });
});

test('random backups, prunes and power cuts leave every listed snapshot whole', async () => {
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('backup' as const),
        mode: fc.constantFrom('', 'full', 'differential'),
        files: fc.integer({ min: 1, max: 6 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('prune' as const), writes: fc.integer({ min: 0, max: 14 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), hours: fc.integer({ min: 1, max: 100 }) }) },
  );
  const runs = Number(process.env.HOLDFAST_PROPERTY_RUNS ?? 2);
  let seed = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 10 }), async (steps) => {
      await backups.remove();
      backups = await Backups.make();
      keep({ keepLast: 2 });
      for (let at = 0; at < 6; at++) backups.write(`f${at}`, randomBytes(5000));
      await backups.run();
      for (const each of steps) {
        later(hour);
        if (each.do === 'wait') later(each.hours * hour);
        else if (each.do === 'backup') {
          for (let at = 0; at < each.files; at++) backups.write(`f${at}`, `${++seed} ${'x'.repeat(seed % 3000)}`);
          await backups.run(each.mode === '' ? {} : { [each.mode]: true });
        } else {
          const power = cutPowerAfter(backups, each.writes);
          await prune(backups).catch((error: unknown) => {
            if (!(error instanceof PowerCut)) throw error;
          });
          power.restore();
        }
        await whole('nas');
      }
      await prune(backups);
      expect(await whole('nas')).toBe(await whole('offsite'));
    }),
    { numRuns: runs, endOnFailure: true },
  );
}, 300_000);
