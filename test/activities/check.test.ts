import { randomBytes } from 'node:crypto';
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { packHashOf } from '../../src/repository/layout.js';
import { Backups, passphrase } from './backups.js';
import { check } from './care.js';

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
    const read: number[] = [];
    for (let at = 0; at < 4; at++) {
      const { destinations } = await check(backups, { scheduled: true });
      read.push(destinations[0]?.read.packs ?? 0);
      later(24 * hour);
    }
    expect(read[0]).toBeLessThan(total);
    expect(read.reduce((sum, packs) => sum + packs, 0)).toBeGreaterThanOrEqual(total);
    expect((await check(backups)).destinations[0]?.oldestRead).not.toBeNull();
  });
});

describe('a repository put back to an older state', () => {
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
    const ids: (string | null)[] = [];
    for (const text of ['one', 'two', 'three']) {
      backups.write('a', text);
      ids.push((await backups.run()).snapshot);
      later(hour);
    }
    for (const destination of ['nas', 'offsite']) {
      const name = backups.snapshotNames(destination).find((each) => each.includes(ids[1] ?? '-')) ?? '';
      rmSync(backups.objectPath(destination, name));
    }
    await backups.host.close();
    rmSync(path.join(backups.folder, 'state', 'catalog'), { recursive: true });
    await backups.restart();
    const warned = (await backups.run()).warnings.filter(({ code }) => code === 'RepositoryRolledBack');
    expect(warned).toMatchObject([{ message: expect.stringContaining(ids[1] ?? '-') }]);
    const repaired = await check(backups, { repair: true });
    expect(repaired.findings).toMatchObject([
      { kind: 'rolledBack', object: ids[1], repaired: expect.stringContaining('lost') },
    ]);
    expect(await check(backups)).toMatchObject({ status: 'clean' });
    expect((await backups.run()).warnings.filter(({ code }) => code === 'RepositoryRolledBack')).toEqual([]);
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
