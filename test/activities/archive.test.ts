import { createHash, generateKeyPairSync } from 'node:crypto';
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.js';
import { Backups } from './backups.js';
import { check, prune } from './care.js';

let backups: Backups;
const hour = 3600_000;
const noon = Date.parse('2026-11-22T12:00:00Z');
const later = (ms: number): void => void vi.setSystemTime(Date.now() + ms);

type Job = ConfigInput['jobs'][string];
const archiveJob =
  (change: Partial<Job> = {}) =>
  (config: ConfigInput): void => {
    const { site } = config.jobs;
    if (site) Object.assign(site, { format: 'archive', archive: { type: 'tar.gz' }, ...change });
  };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: noon });
});
afterEach(async () => {
  vi.useRealTimers();
  await backups.remove();
});
afterAll(() => Backups.end());

const archives = (destination: string): string[] =>
  [...backups.objects(destination).keys()].filter((name) => name.startsWith('archives/')).map((name) => name.slice(9));

test('a full archive stays while a kept differential needs it; others go 72 h after they were marked', async () => {
  const retention = { keepLast: 1 };
  backups = await Backups.make(archiveJob({ mode: 'differential', retention }));
  backups.write('a', 'one');
  backups.write('b', 'two');
  for (let at = 0; at < 3; at++) {
    backups.write('a', `one, ${at}`);
    expect(await backups.run()).toMatchObject({ status: 'succeeded', mode: at === 0 ? 'full' : 'differential' });
    later(hour);
  }
  expect(archives('nas')).toEqual([
    'site-2026-11-22-differential-2.tar.gz',
    'site-2026-11-22-differential.tar.gz',
    'site-2026-11-22-full.tar.gz',
  ]);
  // The differential in the middle went; its file waits for the second phase.
  expect(backups.snapshotNames('nas')).toHaveLength(2);
  later(73 * hour);
  await prune(backups);
  expect(archives('nas')).toEqual(['site-2026-11-22-differential-2.tar.gz', 'site-2026-11-22-full.tar.gz']);
  expect(archives('offsite')).toEqual(archives('nas'));

  expect(await backups.run({ full: true })).toMatchObject({ status: 'succeeded', mode: 'full' });
  later(73 * hour);
  await prune(backups);
  expect(archives('nas')).toEqual(['site-2026-11-25-full.tar.gz']);
  expect((await check(backups, { readData: 100 })).status).toBe('clean');
});

test('a destination that missed the full one gets it along with the differential', async () => {
  backups = await Backups.make(archiveJob({ mode: 'differential' }));
  const offsite = path.join(backups.folder, 'offsite');
  backups.write('a', 'one');
  await backups.run();
  renameSync(offsite, `${offsite}-away`);
  backups.write('a', 'other');
  expect(await backups.run({ full: true })).toMatchObject({ status: 'partial', mode: 'full' });
  renameSync(`${offsite}-away`, offsite);
  backups.write('b', 'new');
  const healed = await backups.run();
  expect(healed).toMatchObject({ status: 'succeeded', mode: 'differential' });
  expect(healed.destinations[1]).toMatchObject({ name: 'offsite', status: 'healed' });
  expect(archives('offsite')).toEqual([
    'site-2026-11-22-differential.tar.gz',
    'site-2026-11-22-full-2.tar.gz',
    'site-2026-11-22-full.tar.gz',
  ]);
  expect(backups.snapshotNames('offsite')).toEqual(backups.snapshotNames('nas'));
});

test('when the full one is damaged or gone: named, healed from another destination, else made anew', async () => {
  backups = await Backups.make(archiveJob({ mode: 'differential', destinations: ['nas', 'offsite'] }));
  backups.write('a', 'some content that takes a while to read');
  const first = await backups.run();
  const file = backups.objectPath('nas', 'archives/site-2026-11-22-full.tar.gz');
  const whole = readFileSync(file);
  rmSync(file);
  writeFileSync(file, Buffer.from(whole).fill(7, whole.length >> 1, (whole.length >> 1) + 9));
  const damaged = await check(backups, { readData: 100 });
  expect(damaged).toMatchObject({ status: 'damaged' });
  expect(damaged.findings[0]?.files).toEqual([{ path: path.join(backups.source, 'a'), snapshots: [first.snapshot] }]);
  expect((await check(backups, { readData: 100, repair: true })).status).toBe('repaired');
  expect(readFileSync(file)).toEqual(whole);

  for (const name of ['nas', 'offsite']) rmSync(backups.objectPath(name, 'archives/site-2026-11-22-full.tar.gz'));
  expect(await backups.run()).toMatchObject({ status: 'succeeded', mode: 'full' });
});

test('a host without the private key writes them, builds on them, prunes, compares their hashes and heals', async () => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 3072 });
  backups = await Backups.make((config) => {
    config.encryption = { publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
    archiveJob({ mode: 'differential', destinations: ['nas', 'offsite'], retention: { keepLast: 2 } })(config);
  });
  for (const [at, mode] of ['full', 'differential', 'differential', 'differential'].entries()) {
    backups.write('a', `content ${at}`);
    expect(await backups.run()).toMatchObject({ status: 'succeeded', mode });
    later(hour);
  }
  expect(backups.snapshotNames('nas')).toHaveLength(3);
  expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'clean', findings: [] });
  const file = backups.objectPath('nas', 'archives/site-2026-11-22-full.tar.gz');
  const whole = readFileSync(file);
  rmSync(file);
  writeFileSync(file, Buffer.from(whole).fill(7, whole.length >> 1, (whole.length >> 1) + 9));
  expect(await check(backups, { readData: 100 })).toMatchObject({ status: 'damaged', findings: [{ kind: 'damaged' }] });
  expect((await check(backups, { readData: 100, repair: true })).status).toBe('repaired');
  expect(readFileSync(file)).toEqual(whole);
});

test('what is in the catalog alone is read again from the destinations, the archive’s name too', async () => {
  backups = await Backups.make(archiveJob());
  backups.write('a', 'one');
  await backups.run();
  const kept = path.join(backups.folder, 'kept');
  cpSync(backups.objectPath('nas', ''), kept, { recursive: true });
  await backups.host.close();
  rmSync(path.join(backups.folder, 'state', 'catalogs'), { recursive: true, force: true });
  await backups.restart();
  expect(await backups.run()).toMatchObject({ status: 'succeeded', mode: 'full', warnings: [{ code: 'Unencrypted' }] });
  expect(archives('nas')).toEqual(['site-2026-11-22-2.tar.gz', 'site-2026-11-22.tar.gz']);
  expect((await check(backups, { readData: 100 })).status).toBe('clean');
});

test('an archive that is made again after a kill is the same file', async () => {
  backups = await Backups.make(archiveJob({ archive: { type: 'zip' } }));
  for (let at = 0; at < 20; at++) backups.write(`file ${at}`, `content ${at}`);
  const run = backups.newRun();
  await backups.begin(run);
  await backups.store(run);
  const [first] = archives('nas');
  const hash = (name: string): string =>
    createHash('sha256')
      .update(readFileSync(backups.objectPath(name, `archives/${first}`)))
      .digest('hex');
  const before = hash('nas');
  // As if the worker had died before it could answer, and the file had not come to one destination.
  rmSync(path.join(backups.spool(run), 'sealed', 'archive.json'));
  rmSync(backups.objectPath('offsite', `archives/${first}`));
  cpSync(backups.objectPath('nas', `archives/${first}`), path.join(backups.spool(run), 'packs', before));
  await backups.restart();
  const ref = { input: backups.input(), run };
  await backups.call('archive', ref, 2);
  await backups.call('upload', { ...ref, group: 'archive', destination: 'offsite' }, 2);
  expect(hash('offsite')).toBe(before);
  for (const destination of ['nas', 'offsite']) await backups.call('commit', { ...ref, destination });
  expect(existsSync(backups.objectPath('offsite', `archives/${first}`))).toBe(true);
  expect(archives('nas')).toHaveLength(1);
});

test('a file that changes into an empty one, and what is gone, are in the differential', async () => {
  backups = await Backups.make(archiveJob({ mode: 'differential', archive: { type: 'zip' } }));
  for (const name of ['a', 'b', 'c', 'd/e']) backups.write(name, `content of ${name}`);
  // Files that are younger than 2 s when they are read are read again by the next run.
  await sleep(2100);
  await backups.run();
  backups.write('a', '');
  rmSync(path.join(backups.source, 'b'));
  rmSync(path.join(backups.source, 'd'), { recursive: true });
  await backups.run();
  const { BlobReader, TextWriter, ZipReader } = await import('@zip.js/zip.js');
  const bytes = readFileSync(backups.objectPath('nas', 'archives/site-2026-11-22-differential.zip'));
  const entries = await new ZipReader(new BlobReader(new Blob([bytes]))).getEntries();
  const below = backups.source.slice(1);
  expect(entries.map(({ filename }) => filename).filter((name) => !name.endsWith('/'))).toEqual([
    `${below}/a`,
    '.holdfast/deleted',
    '.holdfast/archive.json',
  ]);
  const textOf = async (name: string): Promise<string> => {
    const entry = entries.find(({ filename }) => filename === name);
    if (!entry || entry.directory) throw new Error(`no ${name}`);
    return entry.getData(new TextWriter());
  };
  expect((await textOf('.holdfast/deleted')).split('\0')).toEqual([`${below}/b`, `${below}/d`, `${below}/d/e`, '']);
  expect(JSON.parse(await textOf('.holdfast/archive.json'))).toMatchObject({
    job: 'site',
    mode: 'differential',
    base: 'site-2026-11-22-full.zip',
    deleted: 3,
  });
});
