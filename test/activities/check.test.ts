import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { choosePacks } from '../../src/activities/check-inspect.js';
import { Catalog } from '../../src/repository/catalog.js';
import { packHashOf, packName } from '../../src/repository/layout.js';
import type { Warning } from '../../src/workflows/types.js';
import { Backups, passphrase } from './backups.js';
import { check, copy, prune } from './care.js';

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
const later = (ms: number): void => void vi.setSystemTime(Date.now() + ms);
const largestPack = (destination: string): string =>
  [...backups.objects(destination)]
    .filter(([name]) => packHashOf(name) !== undefined)
    .sort(([, a], [, b]) => b.length - a.length)[0]?.[0] ?? '';
function flip(destination: string, name: string): void {
  const file = backups.objectPath(destination, name);
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  rmSync(file);
  writeFileSync(file, bytes);
}

describe('check', () => {
  test('finds nothing in what a backup just made, encrypted, and has read every pack', async () => {
    await backups.remove();
    backups = await Backups.make((config) => {
      config.encryption = { passphrase };
    });
    backups.write('a', randomBytes(700_000));
    await backups.run();
    const document = await check(backups, { readData: 100 });
    expect(document).toMatchObject({ status: 'clean', findings: [] });
    const packs = [...backups.objects('nas').keys()].filter((name) => packHashOf(name) !== undefined).length;
    expect(document.destinations.map(({ read }) => read.packs)).toEqual([packs, packs]);
    expect(document.destinations[0]?.oldestRead).not.toBeNull();
  });

  test('names the files and snapshots of what is damaged or missing, and heals it from the other destination', async () => {
    backups.write('kept', randomBytes(300_000));
    const first = await backups.run();
    later(hour);
    backups.write('added', randomBytes(1_200_000));
    const second = await backups.run();
    const name = largestPack('nas');
    flip('nas', name);
    expect((await check(backups)).status).toBe('clean');
    const found = await check(backups, { readData: 100 });
    expect(found.status).toBe('damaged');
    expect(found.findings).toMatchObject([
      {
        destination: 'nas',
        kind: 'damaged',
        object: name,
        snapshots: [second.snapshot],
        files: [{ path: path.join(backups.source, 'added') }],
      },
    ]);
    truncateSync(backups.objectPath('nas', name), 10);
    expect((await check(backups)).findings).toMatchObject([{ kind: 'size', object: name }]);
    rmSync(backups.objectPath('nas', name));
    for (const root of backups.snapshotNames('nas')) if (root.includes(first.snapshot ?? '-')) flip('nas', root);
    const index = [...backups.objects('nas').keys()].find((each) => each.startsWith('index/')) ?? '';
    rmSync(backups.objectPath('nas', index));
    const repaired = await check(backups, { repair: true });
    expect(repaired.status).toBe('repaired');
    expect(repaired.findings.every((finding) => finding.repaired !== undefined)).toBe(true);
    expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean' });
    expect(await backups.readBack('nas')).toHaveLength(2);
  });

  test('takes what is damaged everywhere from the files that still hold it, and says what it cannot', async () => {
    for (const name of ['same', 'other']) backups.write(name, randomBytes(400_000));
    await backups.run();
    later(hour);
    const name = largestPack('nas');
    for (const destination of ['nas', 'offsite']) flip(destination, name);
    const before = readFileSync(path.join(backups.source, 'other'));
    backups.write('other', randomBytes(10));
    expect(await check(backups, { readData: 100, repair: true })).toMatchObject({ status: 'damaged' });
    writeFileSync(path.join(backups.source, 'other'), before);
    expect(await check(backups, { readData: 100, repair: true })).toMatchObject({ status: 'repaired' });
    expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean', findings: [] });
    for (const destination of ['nas', 'offsite']) {
      const [snapshot] = await backups.readBack(destination);
      expect(snapshot?.files.get('other')?.equals(before)).toBe(true);
    }
  });

  test('by the schedule reads everything once in the time it is given', async () => {
    backups.configure((config) => {
      const { site } = config.jobs;
      if (site) site.check = { every: '1d', readAllWithin: '4d' };
    });
    for (let at = 0; at < 4; at++) {
      backups.write(`f${at}`, randomBytes(200_000));
      await backups.run();
    }
    const total = [...backups.objects('nas').keys()].filter((name) => packHashOf(name) !== undefined).length;
    const start = Date.now();
    const read: number[] = [];
    for (let at = 0; at < 4; at++) {
      const { destinations } = await check(backups, { scheduled: true });
      read.push(destinations[0]?.read.packs ?? 0);
      later(24 * hour);
    }
    expect(read[0]).toBeLessThan(total);
    expect(read.reduce((sum, packs) => sum + packs, 0)).toBeGreaterThanOrEqual(total);
    expect(Date.parse((await check(backups)).destinations[0]?.oldestRead ?? '')).toBeGreaterThanOrEqual(start);
    // A share by hand goes on with what was read longest ago.
    later(hour);
    const [half] = (await check(backups, { readData: 50 })).destinations;
    expect(half?.read.bytes).toBeGreaterThanOrEqual((half?.bytes ?? 0) * 0.4);
    expect(half?.read.packs).toBeLessThan(total);
    expect(Date.parse((await check(backups)).destinations[0]?.oldestRead ?? '')).toBeGreaterThan(start);
  });
});

test('damage is told once, and again when it is another', async () => {
  backups.configure((config) => {
    // Nobody listens: what is to be told waits, to be looked at.
    config.notify = { ops: { type: 'webhook', url: 'http://127.0.0.1:9/' } };
    const { site } = config.jobs;
    if (site) site.notify = ['ops'];
  });
  backups.write('a', randomBytes(300_000));
  const { snapshot } = await backups.run();
  const told = () =>
    backups.host.outbox
      .held('ops')
      .flatMap(({ notification }) => (notification.event === 'damage' ? [notification] : []));
  await check(backups, { readData: 100 });
  expect(told()).toEqual([]);
  const name = largestPack('nas');
  flip('nas', name);
  for (let at = 0; at < 2; at++) await check(backups, { readData: 100 });
  expect(told()).toMatchObject([
    { severity: 'error', job: 'site', subject: 'site: DAMAGED backups found on nas', repeated: null },
  ]);
  const [first] = told();
  expect(first?.text).toContain(name);
  expect(first?.text).toContain(snapshot);
  rmSync(backups.objectPath('nas', backups.snapshotNames('nas')[0] ?? ''));
  await check(backups, { readData: 100, scheduled: true });
  expect(told()).toHaveLength(2);
  expect(await check(backups, { readData: 100, repair: true })).toMatchObject({ status: 'repaired' });
  flip('nas', name);
  await check(backups, { readData: 100 });
  expect(told()).toHaveLength(3);
});

describe('what is lost at every destination', () => {
  const lose = (names: string[]): void => {
    for (const destination of ['nas', 'offsite'])
      for (const name of names) rmSync(backups.objectPath(destination, name), { force: true });
  };
  const packsOf = (kind: 'data' | 'manifest'): string[] => {
    const catalog = backups.host.catalog('site');
    return catalog
      .indexes()
      .flatMap((index) => catalog.packsOf(index))
      .flatMap((pack) => (pack.kind === kind ? [`packs/${pack.hash.slice(0, 2)}/${pack.hash}`] : []));
  };

  test.each(['data', 'manifest'] as const)(
    'packs of %s: named, stored again by the next run, and given back',
    async (kind) => {
      // In the clear the same content would make the same pack again.
      backups.configure((config) => {
        config.encryption = { passphrase };
      });
      backups.write('same', randomBytes(400_000));
      const first = await backups.run();
      later(hour);
      lose(packsOf(kind));
      const found = await check(backups);
      expect(found.findings.map((finding) => [finding.destination, finding.kind, finding.snapshots])).toEqual([
        ['nas', 'missing', [first.snapshot]],
        ['offsite', 'missing', [first.snapshot]],
      ]);
      if (kind === 'data')
        expect(found.findings[0]?.files).toMatchObject([{ path: path.join(backups.source, 'same') }]);
      const second = await backups.run();
      expect(second).toMatchObject({ status: 'succeeded', mode: 'incremental' });
      // The newest snapshot is whole, and is not named any more.
      const still = await check(backups);
      expect(still.status).toBe('damaged');
      for (const { snapshots } of still.findings) expect(snapshots).toEqual([first.snapshot]);
      const repaired = await check(backups, { repair: true });
      if (kind === 'manifest') {
        // The list of files was another one, so that only the first snapshot remains lost.
        expect(repaired.findings.every(({ snapshots }) => snapshots.join() === first.snapshot)).toBe(true);
        return;
      }
      expect(repaired.status).toBe('repaired');
      expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean', findings: [] });
      for (const destination of ['nas', 'offsite']) expect(await backups.readBack(destination)).toHaveLength(2);
    },
  );

  test.each(['lost', 'damaged'])('indexes %s for everybody are made anew from the packs', async (how) => {
    for (const mode of ['differential', 'incremental'] as const) {
      backups.configure((config) => {
        if (config.jobs.site) config.jobs.site.mode = mode;
      });
      backups.write('a', randomBytes(100_000));
      await backups.run({ full: mode === 'incremental' });
      later(hour);
      backups.write('b', randomBytes(50_000));
      await backups.run();
      later(hour);
    }
    const indexes = [...backups.objects('nas').keys()].filter((name) => name.startsWith('index/'));
    expect(indexes).toHaveLength(4);
    if (how === 'lost') lose(indexes);
    else for (const destination of ['nas', 'offsite']) for (const name of indexes) flip(destination, name);
    backups.host.catalog('site').clearForRebuild();
    const repaired = await check(backups, { repair: true });
    expect(repaired.findings.length).toBeGreaterThanOrEqual(8);
    expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean', findings: [] });
    for (const destination of ['nas', 'offsite']) expect(await backups.readBack(destination)).toHaveLength(4);
    expect(await backups.run()).toMatchObject({ status: 'succeeded', files: { new: 0 } });
  });

  test('a root is put back from what the catalog knows', async () => {
    backups.write('a', randomBytes(1000));
    const { snapshot } = await backups.run();
    lose(backups.snapshotNames('nas'));
    const found = await check(backups, { repair: true });
    expect(found.findings.map((finding) => [finding.kind, finding.snapshots])).toEqual([
      ['rolledBack', [snapshot]],
      ['rolledBack', [snapshot]],
    ]);
    expect(await check(backups)).toMatchObject({ status: 'clean' });
    expect(await backups.readBack('offsite')).toHaveLength(1);
  });
});

describe('a host that writes what it cannot read', () => {
  test('checks, repairs, prunes and copies by what it remembers of what it wrote', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072 });
    const pem = {
      publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
      privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
    const configure = (encryption: { publicKey: string; privateKey?: string }, retention = true): void =>
      backups.configure((config, folder) => {
        config.encryption = encryption;
        config.destinations.third = { type: 'local', path: path.join(folder, 'third') };
        const { site } = config.jobs;
        if (site && retention) site.retention = { keepLast: 2 };
      });
    configure({ publicKey: pem.publicKey });
    backups.write('big', randomBytes(600_000));
    for (const text of ['one', 'two', 'three']) {
      backups.write('small', text + randomBytes(2000).toString('hex'));
      expect(await backups.run()).toMatchObject({ status: 'succeeded' });
      later(hour);
    }
    // Each run prunes; by hand there is nothing left.
    expect(backups.snapshotNames('nas')).toHaveLength(2);
    expect(await prune(backups)).toMatchObject([
      { status: 'pruned', removed: 0 },
      { status: 'pruned', removed: 0 },
    ]);
    expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean', findings: [] });

    // Every object of its own is known by its bytes: changed, or under another name, it is found and taken from elsewhere.
    const [older = '', newer = ''] = backups.snapshotNames('nas');
    const index = [...backups.objects('nas').keys()].find((name) => name.startsWith('index/')) ?? '';
    cpSync(backups.objectPath('nas', older), backups.objectPath('nas', newer));
    flip('nas', index);
    flip('nas', largestPack('nas'));
    const found = await check(backups, { readData: 100 });
    expect(found.findings.map(({ kind, object }) => [kind, object]).sort()).toEqual(
      [index, newer, largestPack('nas')].map((object) => ['damaged', object]).sort(),
    );
    const pack = found.findings.find(({ object }) => object === largestPack('nas'));
    expect(pack?.snapshots).toHaveLength(2);
    // The list of the newest snapshot's files is here in the clear.
    expect(pack?.files).toMatchObject([{ path: path.join(backups.source, 'big'), snapshots: pack?.snapshots }]);
    expect(await check(backups, { readData: 100, repair: true })).toMatchObject({ status: 'repaired' });
    expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean' });

    configure({ publicKey: pem.publicKey }, false);
    for (const how of ['by the next run', 'from the sources']) {
      const lost = largestPack('nas');
      for (const destination of ['nas', 'offsite']) rmSync(backups.objectPath(destination, lost));
      expect(await check(backups)).toMatchObject({ status: 'damaged', warnings: [] });
      if (how === 'by the next run') expect(await backups.run()).toMatchObject({ status: 'succeeded' });
      expect(await check(backups, { repair: true }), how).toMatchObject({ status: 'repaired' });
    }
    // What no list here names is named where the private key is.
    const before = [...backups.objects('nas').keys()];
    backups.write('passing', randomBytes(400_000));
    await backups.run();
    const added = [...backups.objects('nas')].filter(
      ([name, { length }]) => !before.includes(name) && length > 300_000,
    );
    rmSync(path.join(backups.source, 'passing'));
    later(hour);
    await backups.run();
    for (const [name] of added) flip('nas', name);
    const unnamed = await check(backups, { readData: 100 });
    expect(unnamed.warnings).toMatchObject([
      { code: 'PrivateKeyNeeded', message: expect.stringContaining('--identity') },
    ]);
    expect(await check(backups, { readData: 100, repair: true })).toMatchObject({ status: 'repaired', warnings: [] });

    expect(await copy(backups, 'nas', 'third')).toMatchObject({ lacking: 0, damaged: [] });
    expect(backups.snapshotNames('third')).toEqual(backups.snapshotNames('nas'));

    // Who has the private key finds everything as it should be.
    configure(pem);
    expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean', findings: [] });
    backups.host.catalog('site').clearForRebuild();
    expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean', findings: [] });
  });
});

test('of many packs each is read once in the time given, or a tenth of that early, also when runs are missed', () => {
  const catalog = new Catalog(path.join(backups.folder, 'many.db'));
  const objects = new Map(
    Array.from({ length: 300 }, (_, at) => [packName(at.toString(16).padStart(64, '0')), 1000 + at] as const),
  );
  const withinMs = 10 * 24 * hour;
  const start = Date.now();
  const readAt = new Map<string, number[]>();
  // Four times ten days; every seventh day the machine is off.
  for (let day = 0; day < 40; day++) {
    if (day % 7 === 6) continue;
    const now = start + day * 24 * hour;
    const chosen = choosePacks(catalog, 'nas', objects, { withinMs }, now);
    catalog.setVerified('nas', chosen, now);
    catalog.set('checked:nas', String(now));
    for (const pack of chosen) readAt.set(pack, [...(readAt.get(pack) ?? []), now]);
  }
  catalog.close();
  expect(readAt.size).toBe(objects.size);
  for (const times of readAt.values()) {
    const gaps = [...times, start + 39 * 24 * hour].map((time, at) => time - (times[at - 1] ?? start));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(withinMs);
    expect(times.length).toBeLessThanOrEqual(5);
  }
  const reads = [...readAt.values()].reduce((sum, times) => sum + times.length, 0);
  expect(reads / objects.size).toBeLessThan(4.8);
});

describe('a repository put back to an older state', () => {
  const threeRuns = async (): Promise<(string | null)[]> => {
    const ids: (string | null)[] = [];
    for (const text of ['one', 'two', 'three']) {
      backups.write('a', text);
      ids.push((await backups.run()).snapshot);
      later(hour);
    }
    return ids;
  };
  /** Removes the snapshot's root everywhere. */
  const unlist = (id: string | null | undefined): void => {
    for (const destination of ['nas', 'offsite']) {
      const name = backups.snapshotNames(destination).find((each) => each.includes(id ?? '-')) ?? '';
      rmSync(backups.objectPath(destination, name));
    }
  };

  test('is noticed by the next run and by check, which brings back what another destination has', async () => {
    backups.write('a', 'one');
    await backups.run();
    later(hour);
    const nas = path.join(backups.folder, 'nas');
    const saved = path.join(backups.folder, 'saved');
    cpSync(nas, saved, { recursive: true });
    backups.write('a', 'two');
    const lost = await backups.run();
    later(hour);
    rmSync(nas, { recursive: true });
    cpSync(saved, nas, { recursive: true });
    backups.write('a', 'three');
    const document = await backups.run();
    expect(document.warnings).toContainEqual({
      code: 'RepositoryRolledBack',
      message: expect.stringContaining(lost.snapshot ?? '-'),
    });
    const found = await check(backups);
    expect(found.findings).toMatchObject([{ destination: 'nas', kind: 'rolledBack', object: lost.snapshot }]);
    expect(await check(backups, { repair: true })).toMatchObject({ status: 'repaired' });
    expect(await backups.readBack('nas')).toHaveLength(3);
    expect(await check(backups)).toMatchObject({ status: 'clean' });
  });

  test('is noticed on a host that knows nothing, by the gap it leaves, and told once', async () => {
    const ids = await threeRuns();
    unlist(ids[1]);
    await backups.forget();
    const warned = (await backups.run()).warnings.filter(({ code }) => code === 'RepositoryRolledBack');
    expect(warned).toMatchObject([{ message: expect.stringContaining(ids[1] ?? '-') }]);
    const repaired = await check(backups, { repair: true });
    expect(repaired.findings).toMatchObject([
      { kind: 'rolledBack', object: ids[1], repaired: expect.stringContaining('lost') },
    ]);
    expect(await check(backups)).toMatchObject({ status: 'clean' });
    expect((await backups.run()).warnings.filter(({ code }) => code === 'RepositoryRolledBack')).toEqual([]);
  });

  test('of the newest snapshot is told by its traces on a host that knows nothing, a run that was cut off before it by none', async () => {
    const ids = await threeRuns();
    const missing = async (): Promise<Warning[]> =>
      (await check(backups)).warnings.filter(({ code }) => code === 'SnapshotsMissing');
    // What a run left that was cut off before the last snapshots.
    const folder = path.dirname(backups.objectPath('nas', 'index/x'));
    const [own = ''] = readdirSync(folder);
    const left = path.join(folder, '00000000000000aa.ndjson');
    cpSync(path.join(folder, own), left);
    utimesSync(left, 1, 1);
    await backups.forget();
    expect(await missing()).toEqual([]);
    unlist(ids[2]);
    await backups.forget();
    const told = await missing();
    expect(told.map(({ message }) => message.slice(0, message.indexOf(':')))).toEqual(['nas', 'offsite']);
    // It is the host's own repository, and now it knows what is there.
    expect(await missing()).toEqual([]);
  });

  test('a prune explains what it removed', async () => {
    backups.configure((config) => {
      const { site } = config.jobs;
      if (site) site.retention = { keepLast: 1 };
    });
    for (const text of ['one', 'two', 'three']) {
      backups.write('a', text);
      const { warnings } = await backups.run();
      expect(warnings.filter(({ code }) => code === 'RepositoryRolledBack')).toEqual([]);
      later(hour);
    }
    expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean' });
  });
});
