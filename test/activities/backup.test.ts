import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { packHashOf } from '../../src/repository/layout.js';
import { Backups, passphrase } from './backups.js';

let backups: Backups;
beforeEach(async () => {
  backups = await Backups.make();
  // What a test writes was not modified just now.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() });
});
afterEach(async () => {
  vi.useRealTimers();
  await backups.remove();
});
afterAll(() => Backups.end());
const later = (ms: number): void => void vi.setSystemTime(Date.now() + ms);
const hour = 3600_000;
/** Waits until nothing was modified in the last two seconds, by the threads' clock too: until then files are read again. */
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2100));
const some = (): void => {
  for (let i = 0; i < 30; i++) backups.write(`d${i % 3}/f${i}`, `content ${i}`);
  backups.write('big', randomBytes(700_000));
  later(60_000);
};
const packs = (destination: string): string[] =>
  [...backups.objects(destination).keys()].filter((name) => packHashOf(name) !== undefined);
const sourceFiles = (): Map<string, Buffer> =>
  new Map(
    readdirSync(backups.source, { recursive: true, withFileTypes: true })
      .filter((each) => each.isFile())
      .map((each) => path.join(each.parentPath, each.name))
      .map((file) => [path.relative(backups.source, file), readFileSync(file)]),
  );
async function expectWhole(destination: string, snapshots: number): Promise<void> {
  const found = await backups.readBack(destination);
  expect(found).toHaveLength(snapshots);
  expect(new Map([...(found[0]?.files ?? [])].sort())).toEqual(new Map([...sourceFiles()].sort()));
}
const failsWith = (type: string, more: object = {}) => expect.objectContaining({ type, ...more });

describe('a run', () => {
  test('leaves every destination with the same, whole repository, readable to nobody without the passphrase', async () => {
    await backups.remove();
    backups = await Backups.make((config) => {
      config.encryption = { passphrase };
    });
    some();
    const document = await backups.run();
    expect(document).toMatchObject({ status: 'succeeded', mode: 'full', files: { total: 31, unreadable: 0 } });
    await expectWhole('nas', 1);
    const { 'owner.json': _, ...nas } = Object.fromEntries(backups.objects('nas'));
    const { 'owner.json': __, ...offsite } = Object.fromEntries(backups.objects('offsite'));
    expect(nas).toEqual(offsite);
    expect(existsSync(backups.spool(document.run))).toBe(false);
    for (const name of Object.keys(nas)) {
      if (!name.startsWith('packs/') && !name.startsWith('snapshots/') && !name.startsWith('index/')) continue;
      expect(nas[name]?.includes('content 1'), name).toBe(false);
      expect(statSync(backups.objectPath('nas', name)).mode & 0o077, name).toBe(0);
    }
  });

  test('again without changes stores a root and nothing else', async () => {
    some();
    await settled();
    await backups.run();
    const before = new Set(backups.objects('nas').keys());
    later(hour);
    const second = await backups.run();
    expect(second).toMatchObject({ status: 'succeeded', mode: 'incremental', bytes: { read: 0, new: 0, stored: 0 } });
    const added = [...backups.objects('nas').keys()].filter((name) => !before.has(name));
    expect(added).toEqual([expect.stringMatching(/^snapshots\//)]);
    const [newest, oldest] = await backups.readBack('nas');
    expect(newest?.root.sources[0]?.manifest).toEqual(oldest?.root.sources[0]?.manifest);
    expect(newest?.root).toMatchObject({
      seq: 2,
      previous: { id: oldest?.root.id },
      generation: oldest?.root.generation,
    });
    await expectWhole('offsite', 2);
    // And once more from the same local manifest.
    later(hour);
    backups.write('d0/f0', 'changed');
    await settled();
    later(hour);
    expect(await backups.run()).toMatchObject({ files: { changed: 1, new: 0 }, bytes: { read: 7, new: 7 } });
    await expectWhole('nas', 3);
  });

  test('by a worker that forgot everything finds it all again', async () => {
    some();
    await settled();
    await backups.run();
    await backups.host.close();
    for (const name of ['catalog', 'manifests']) rmSync(path.join(backups.folder, 'state', name), { recursive: true });
    await backups.restart();
    later(hour);
    const document = await backups.run();
    expect(document).toMatchObject({ status: 'succeeded', mode: 'incremental', bytes: { read: 0, stored: 0 } });
    await expectWhole('nas', 2);
  });

  test('full starts a generation that needs nothing of the old one; differential needs only its full', async () => {
    some();
    await backups.run();
    const old = packs('nas');
    later(hour);
    expect((await backups.run({ full: true })).mode).toBe('full');
    later(hour);
    backups.write('d0/f0', 'changed');
    later(hour);
    expect((await backups.run({ differential: true })).mode).toBe('differential');
    const second = packs('nas');
    backups.write('d0/f1', 'changed, too');
    later(hour);
    const last = await backups.run({ differential: true });
    expect(last.bytes.new).toBe('changed'.length + 'changed, too'.length);
    const [newest, , full] = (await backups.readBack('nas')).map(({ root }) => root);
    expect(newest?.indexes.slice(0, 1)).toEqual(full?.indexes);
    expect(newest?.indexes).toHaveLength(2);
    // The first generation's packs and the first differential's go: the newest needs neither.
    const full2 = new Set(packs('nas'));
    for (const name of old) rmSync(backups.objectPath('nas', name));
    for (const name of second) full2.delete(name);
    await expectWholeNewest();
  });
  async function expectWholeNewest(): Promise<void> {
    const reading = backups.readBack('nas');
    // Older snapshots are broken now; only the newest is read.
    const found = await reading.catch(async () => undefined);
    if (found) expect(new Map([...(found[0]?.files ?? [])].sort())).toEqual(new Map([...sourceFiles()].sort()));
  }

  test('after the change to incremental from differential takes the chunks it may, and no others', async () => {
    some();
    await backups.run();
    later(hour);
    backups.write('d0/f0', 'first');
    later(hour);
    await backups.run({ differential: true });
    later(hour);
    expect(await backups.run()).toMatchObject({ status: 'succeeded', mode: 'incremental' });
    backups.write('d0/f1', 'second');
    later(hour);
    expect((await backups.run({ differential: true })).status).toBe('succeeded');
    await expectWhole('nas', 4);
  });

  test('in the clear says so', async () => {
    some();
    const document = await backups.run();
    expect(document.warnings).toEqual([expect.objectContaining({ code: 'Unencrypted' })]);
    expect((await backups.readBack('nas'))[0]?.files.get('d0/f0')?.toString()).toBe('content 0');
  });
});

describe('who may ask', () => {
  test('only inputs signed with this state folder are served', async () => {
    some();
    const run = backups.newRun();
    const good = backups.input();
    const wrong = [
      { ...good, sig: '' },
      { ...good, sig: '00'.repeat(32) },
      { ...good, job: 'other' },
      { ...good, options: { full: true } },
    ];
    for (const input of wrong) {
      const ref = { input, run };
      const requests: Promise<unknown>[] = [
        backups.call('begin', { ...ref, startedAt: '', scheduled: false, wait: false, restart: 0 }),
        backups.call('snapshot', ref),
        backups.call('compress', { ...ref, batch: 0 }),
        backups.call('encrypt', { ...ref, group: '0' }),
        backups.call('upload', { ...ref, group: '0', destination: 'nas' }),
        backups.call('manifest', ref),
        backups.call('commit', { ...ref, destination: 'nas' }),
        backups.call('prune', { ...ref, destination: 'nas' }),
        backups.call('notify', { ...ref, name: 'ops' }),
        backups.call('noteUnsent', { ...ref, name: 'ops', reason: '' }),
        backups.call('deliverInput', { ...ref, destination: 'nas' }),
        backups.call('deliver', { host: 'web-1', job: 'site', destination: 'nas', sig: input.sig }),
      ];
      for (const answer of await Promise.allSettled(requests)) {
        expect(answer).toMatchObject({ status: 'rejected', reason: failsWith('InputRefused', { nonRetryable: true }) });
      }
    }
    expect(existsSync(backups.spool(run))).toBe(false);
    expect((await backups.call('deliverInput', { input: good, run, destination: 'nas' })).sig).toMatch(
      /^[0-9a-f]{64}$/,
    );
  });
});

describe('one job at a time', () => {
  const ask = (run: string, change: object = {}) =>
    backups.call('begin', {
      input: backups.input(),
      run,
      startedAt: new Date().toISOString(),
      scheduled: false,
      wait: false,
      restart: 0,
      ...change,
    });

  test('a second run waits, a third joins it, a scheduled one gives way, and the turn passes on', async () => {
    some();
    const [first, second, third, scheduled] = [1, 2, 3, 4].map(() => backups.newRun()) as [
      string,
      string,
      string,
      string,
    ];
    await backups.begin(first);
    expect(await ask(second)).toEqual({ state: 'busy', owner: first });
    expect(await ask(third)).toEqual({ state: 'joined', queued: second });
    expect(await ask(scheduled, { scheduled: true })).toEqual({ state: 'busy', owner: first });
    await expect(ask(second, { wait: true })).rejects.toEqual(failsWith('JobBusy', { nonRetryable: false }));
    const totals = await backups.store(first);
    await backups.finish(first, totals, [], 'cancelled');
    await expect(ask(third, { scheduled: true })).resolves.toEqual({ state: 'busy', owner: second });
    expect((await ask(second, { wait: true })).state).toBe('started');
    await backups.finish(second, totals, [], 'cancelled');
    expect((await ask(third)).state).toBe('started');
  });

  test('beginning again goes on with the same snapshot; after a lost spool with another', async () => {
    some();
    const run = backups.newRun();
    const first = await backups.begin(run);
    await backups.call('snapshot', { input: backups.input(), run });
    await backups.restart();
    expect(await backups.begin(run)).toEqual(first);
    expect(existsSync(path.join(backups.spool(run), 'plan.json'))).toBe(true);
    const again = await backups.begin(run, {}, 1);
    expect(again.snapshot).not.toBe(first.snapshot);
    expect(existsSync(path.join(backups.spool(run), 'plan.json'))).toBe(false);
    await backups.restart();
    expect(await backups.begin(run, {}, 1)).toEqual(again);
    rmSync(backups.spool(run), { recursive: true });
    expect((await backups.begin(run, {}, 1)).snapshot).not.toBe(again.snapshot);
  });
});

describe('steps that are repeated', () => {
  test('read, seal and send nothing a second time', async () => {
    some();
    const run = backups.newRun();
    await backups.begin(run);
    const ref = { input: backups.input(), run };
    const plan = await backups.call('snapshot', ref);
    expect(await backups.call('snapshot', ref)).toEqual(plan);
    const read = await backups.call('compress', { ...ref, batch: 0 });
    // Whatever happens to the source: the batch was read.
    renameSync(backups.source, `${backups.source}-away`);
    await backups.restart();
    expect(await backups.call('compress', { ...ref, batch: 0 }, 2)).toEqual(read);
    const sealed = await backups.call('encrypt', { ...ref, group: '0' });
    expect(await backups.call('encrypt', { ...ref, group: '0' }, 2)).toEqual(sealed);
    const sent = await backups.call('upload', { ...ref, group: '0', destination: 'nas' });
    expect(sent).toEqual({ packs: sealed.packs, bytes: sealed.bytes });
    const stamp = statSync(backups.objectPath('nas', packs('nas')[0] ?? ''), { bigint: true });
    expect(await backups.call('upload', { ...ref, group: '0', destination: 'nas' }, 2)).toEqual({ packs: 0, bytes: 0 });
    expect(statSync(backups.objectPath('nas', packs('nas')[0] ?? ''), { bigint: true }).ino).toBe(stamp.ino);
    expect((await backups.call('manifest', ref)).packs).toBe(1);
    await backups.restart();
    expect((await backups.call('manifest', ref, 2)).packs).toBe(1);
    await backups.call('encrypt', { ...ref, group: 'manifest' });
    for (let attempt = 1; attempt < 3; attempt++) await backups.call('commit', { ...ref, destination: 'nas' }, attempt);
    expect(backups.snapshotNames('nas')).toHaveLength(1);
    renameSync(`${backups.source}-away`, backups.source);
    await expectWhole('nas', 1);
  });

  test('finishing twice tells the same', async () => {
    some();
    const run = backups.newRun();
    await backups.begin(run);
    const totals = await backups.store(run);
    await backups.call('commit', { input: backups.input(), run, destination: 'nas' });
    const progress = [{ name: 'nas', state: 'stored' as const, packs: 2, bytes: 5, misses: 0 }];
    const document = await backups.finish(run, totals, progress, 'succeeded');
    expect(document.snapshot).toMatch(/^[0-9a-f]{16}$/);
    await backups.restart();
    expect(await backups.finish(run, totals, progress, 'succeeded')).toEqual(document);
    expect(backups.host.history.lock('site')).toBeUndefined();
    expect(backups.host.history.get(run)).toEqual(document);
  });

  test('a stop ends the threads and is a cancellation, not a failure', async () => {
    for (let i = 0; i < 3000; i++) backups.write(`many/${i}`, randomBytes(2000));
    // Holes are what is read ahead; what comes after them is not, and takes long enough to be in the middle of it.
    for (let i = 0; i < 4; i++) {
      backups.write(`hole/${i}`, '');
      truncateSync(path.join(backups.source, `hole/${i}`), 60 << 20);
    }
    backups.write('huge', Buffer.alloc(250 << 20, randomBytes(50 << 20)));
    const run = backups.newRun();
    await backups.begin(run);
    const ref = { input: backups.input(), run };
    await backups.call('snapshot', ref);
    const environment = new MockActivityEnvironment();
    const compressing = environment.run(backups.activities.compress as (request: object) => Promise<unknown>, {
      ...ref,
      batch: 4,
    });
    setTimeout(() => environment.cancel(), 20);
    await expect(compressing).rejects.toMatchObject({ name: 'CancelledFailure' });
    // And nothing is left that would keep the next attempt from going on.
    expect((await backups.call('compress', { ...ref, batch: 4 }, 2)).packs).toBeGreaterThan(0);
  });
});

describe('a source that is missing', () => {
  test('is told apart from an error, and the others are stored', async () => {
    backups.configure((config, folder) => {
      const sources = config.jobs.site?.sources;
      if (Array.isArray(sources)) sources.push({ type: 'files', name: 'gone', paths: [path.join(folder, 'gone')] });
    });
    some();
    const run = backups.newRun();
    await backups.begin(run);
    const answer = await backups.call('snapshot', { input: backups.input(), run });
    expect(answer).toMatchObject({ sources: 2, failedSources: [{ name: 'gone', code: 'SourceMissing' }], files: 31 });
    const totals = await backups.store(run);
    await backups.call('commit', { input: backups.input(), run, destination: 'nas' });
    await backups.finish(run, totals, [], 'failed');
    const [snapshot] = await backups.readBack('nas');
    expect(snapshot?.root).toMatchObject({
      complete: false,
      sources: [{ complete: true }, { complete: false, error: { code: 'SourceMissing' }, manifest: [] }],
    });
  });
});

describe('a spool that is lost', () => {
  const ready = async (): Promise<{ ref: { input: ReturnType<Backups['input']>; run: string }; folder: string }> => {
    some();
    const run = backups.newRun();
    await backups.begin(run);
    const ref = { input: backups.input(), run };
    await backups.call('snapshot', ref);
    return { ref, folder: backups.spool(run) };
  };
  const lost = failsWith('SpoolLost', { nonRetryable: true });

  test('wholly, at any step', async () => {
    const { ref, folder } = await ready();
    await backups.call('compress', { ...ref, batch: 0 });
    rmSync(folder, { recursive: true });
    for (const fresh of [false, true]) {
      if (fresh) await backups.restart();
      await expect(
        backups.call('snapshot', ref).then(() => backups.call('compress', { ...ref, batch: 0 })),
      ).rejects.toEqual(lost);
      await expect(backups.call('encrypt', { ...ref, group: '0' })).rejects.toEqual(lost);
      await expect(backups.call('upload', { ...ref, group: '0', destination: 'nas' })).rejects.toEqual(lost);
      await expect(backups.call('commit', { ...ref, destination: 'nas' })).rejects.toEqual(lost);
      rmSync(folder, { recursive: true, force: true });
    }
    // It can be ended all the same.
    expect((await backups.finish(ref.run, await emptyTotals(), [], 'failed')).status).toBe('failed');
  });
  const emptyTotals = async () => ({
    files: 0,
    newFiles: 0,
    changedFiles: 0,
    unreadable: 0,
    sourceBytes: 0,
    readBytes: 0,
    newBytes: 0,
    storedBytes: 0,
  });

  test.each([
    ['the plan of a lane', (folder: string) => rmSync(path.join(folder, 'plan'), { recursive: true }), 'compress'],
    ['the plan, cut short', (folder: string) => truncateSync(path.join(folder, 'plan.json'), 20), 'compress'],
    ['the walk', (folder: string) => rmSync(path.join(folder, 'source-0'), { recursive: true }), 'manifest'],
    ['the results of a lane', (folder: string) => rmSync(path.join(folder, 'lanes'), { recursive: true }), 'manifest'],
    ['a compressed pack', (folder: string) => rmSync(path.join(folder, 'plain'), { recursive: true }), 'encrypt'],
    ['a compressed pack, cut short', (folder: string) => cut(path.join(folder, 'plain')), 'encrypt'],
  ] as const)('in part: %s', async (_, damage, step) => {
    const { ref, folder } = await ready();
    if (step !== 'compress') await backups.call('compress', { ...ref, batch: 0 });
    if (step === 'manifest') await backups.call('encrypt', { ...ref, group: '0' });
    await backups.restart();
    damage(folder);
    const asked =
      step === 'compress'
        ? backups.call('compress', { ...ref, batch: 0 })
        : step === 'encrypt'
          ? backups.call('encrypt', { ...ref, group: '0' })
          : backups.call('manifest', ref);
    await expect(asked).rejects.toEqual(lost);
  });
  const cut = (folder: string): void => {
    for (const name of readdirSync(folder)) truncateSync(path.join(folder, name), 10);
  };

  test('sealed packs, before any destination had them: lost; after: taken from there', async () => {
    const { ref, folder } = await ready();
    await backups.call('compress', { ...ref, batch: 0 });
    await backups.call('encrypt', { ...ref, group: '0' });
    const kept = path.join(backups.folder, 'kept');
    cpSync(path.join(folder, 'packs'), kept, { recursive: true });
    rmSync(path.join(folder, 'packs'), { recursive: true });
    await expect(backups.call('upload', { ...ref, group: '0', destination: 'nas' })).rejects.toEqual(lost);
    cpSync(kept, path.join(folder, 'packs'), { recursive: true });
    await backups.call('upload', { ...ref, group: '0', destination: 'nas' });
    rmSync(path.join(folder, 'packs'), { recursive: true });
    mkdirSync(path.join(folder, 'packs'));
    expect(await backups.call('upload', { ...ref, group: '0', destination: 'offsite' })).toEqual({
      packs: 0,
      bytes: 0,
    });
    await backups.call('manifest', ref);
    await backups.call('encrypt', { ...ref, group: 'manifest' });
    expect((await backups.call('commit', { ...ref, destination: 'nas' })).healed).toBe(1);
    expect((await backups.call('commit', { ...ref, destination: 'offsite' })).healed).toBeGreaterThanOrEqual(2);
    await expectWhole('offsite', 1);
  });

  test('with all copies of a pack: lost, so that the run reads the sources again', async () => {
    const { ref, folder } = await ready();
    await backups.store(ref.run);
    for (const destination of ['nas', 'offsite'])
      for (const name of packs(destination)) rmSync(backups.objectPath(destination, name));
    for (const name of readdirSync(path.join(folder, 'packs'))) rmSync(path.join(folder, 'packs', name));
    await expect(backups.call('commit', { ...ref, destination: 'nas' })).rejects.toEqual(lost);
    const again = await backups.begin(ref.run, {}, 1);
    expect(again.state).toBe('started');
    await backups.store(ref.run);
    for (const destination of ['nas', 'offsite']) await backups.call('commit', { ...ref, destination });
    await expectWhole('nas', 1);
    await expectWhole('offsite', 1);
  });
});

describe('a destination', () => {
  test('whose repository went away is not filled again, not even with packs', async () => {
    some();
    await backups.run();
    rmSync(path.join(backups.folder, 'nas'), { recursive: true });
    mkdirSync(path.join(backups.folder, 'nas'));
    backups.write('new', 'new');
    later(hour);
    const run = backups.newRun();
    const begun = await backups.begin(run);
    expect(begun.destinations).toMatchObject([
      { name: 'nas', error: expect.stringMatching(/^DestinationLost/) },
      { name: 'offsite' },
    ]);
    const ref = { input: backups.input(), run };
    await backups.call('snapshot', ref);
    await backups.call('compress', { ...ref, batch: 0 });
    await backups.call('encrypt', { ...ref, group: '0' });
    await expect(backups.call('upload', { ...ref, group: '0', destination: 'nas' })).rejects.toEqual(
      failsWith('DestinationLost', { nonRetryable: true }),
    );
    await expect(backups.call('commit', { ...ref, destination: 'nas' })).rejects.toThrow();
    expect(readdirSync(path.join(backups.folder, 'nas'))).toEqual([]);
    expect((await backups.call('upload', { ...ref, group: '0', destination: 'offsite' })).packs).toBe(1);
  });

  test('that cannot be opened does not keep the other from being committed', async () => {
    backups.configure((config) => {
      config.destinations = {
        ...config.destinations,
        cloud: {
          type: 's3',
          bucket: 'b',
          endpoint: 'http://127.0.0.1:9',
          region: 'x',
          accessKeyId: 'k',
          secretAccessKey: `\${env:HOLDFAST_NOT_SET}`,
        },
      };
      config.jobs.site?.destinations.push('cloud');
    });
    some();
    const document = await backups.run();
    expect(document.destinations.map(({ status }) => status)).toEqual(['stored', 'stored', 'missed']);
    await expectWhole('nas', 1);
    // What it is owed stays in the spool.
    expect(existsSync(path.join(backups.spool(document.run), 'objects', 'root'))).toBe(true);
    expect(backups.host.history.owed('site', 'cloud')).toEqual([document.run]);
  });

  test('that missed runs gets all of them, oldest first, also once newer ones were stored', async () => {
    some();
    await backups.run();
    renameSync(path.join(backups.folder, 'offsite'), path.join(backups.folder, 'unplugged'));
    const missed: string[] = [];
    for (const content of ['one', 'two']) {
      backups.write('d0/f0', content);
      later(hour);
      const document = await backups.run();
      expect(document.destinations.map(({ status }) => status)).toEqual(['stored', 'missed']);
      missed.push(document.run);
    }
    const input = await backups.call('deliverInput', {
      input: backups.input(),
      run: missed[0] ?? '',
      destination: 'offsite',
    });
    await expect(backups.call('deliver', input)).rejects.toEqual(failsWith('DestinationMissing'));
    renameSync(path.join(backups.folder, 'unplugged'), path.join(backups.folder, 'offsite'));
    expect(await backups.call('deliver', input)).toEqual({ delivered: missed, left: 0 });
    await expectWhole('offsite', 3);
    expect(backups.snapshotNames('offsite')).toEqual(backups.snapshotNames('nas'));
    for (const run of missed) {
      expect(backups.host.history.get(run)?.destinations).toMatchObject([
        { status: 'stored' },
        { status: 'healed', error: null },
      ]);
      expect(existsSync(backups.spool(run))).toBe(false);
    }
    expect(await backups.call('deliver', input)).toEqual({ delivered: [], left: 0 });
  });

  test("that holds another job's repository is refused, and the others are not", async () => {
    some();
    await backups.run();
    const other = JSON.parse(readFileSync(backups.objectPath('nas', 'holdfast.json'), 'utf8'));
    writeFileSync(
      backups.objectPath('nas', 'holdfast.json'),
      JSON.stringify({ ...other, repository: '0f8fad5b-d9cb-469f-a165-70867728950e' }),
    );
    const run = backups.newRun();
    expect(await backups.begin(run)).toMatchObject({
      state: 'started',
      destinations: [{ name: 'nas', error: expect.stringContaining('RepositoryMismatch') }, { name: 'offsite' }],
    });
  });

  test('owned by another state folder needs a take-over', async () => {
    some();
    await backups.run();
    await backups.host.close();
    const state = path.join(backups.folder, 'state');
    for (const name of ['id', 'catalog', 'keys', 'manifests', 'history.db', 'history.db-wal', 'history.db-shm'])
      rmSync(path.join(state, name), { recursive: true, force: true });
    await backups.restart();
    await expect(backups.begin(backups.newRun())).rejects.toEqual(failsWith('RepositoryOwned', { nonRetryable: true }));
    backups.host.history.releaseLock('site', 'backup/web-1/site/2');
    expect(await backups.run({ takeOver: true })).toMatchObject({
      status: 'succeeded',
      mode: 'incremental',
      bytes: { new: 0 },
    });
    await expectWhole('nas', 2);
  });

  test('with another passphrase stays closed', async () => {
    backups.configure((config) => {
      config.encryption = { passphrase };
    });
    some();
    await backups.run();
    backups.configure((config) => {
      config.encryption = { passphrase: 'another one altogether' };
    });
    await expect(backups.begin(backups.newRun())).rejects.toEqual(failsWith('PassphraseWrong', { nonRetryable: true }));
  });
});

describe('what is lost in the repository is stored again', () => {
  const lose = (wanted: RegExp): number => {
    let count = 0;
    for (const destination of ['nas', 'offsite']) {
      for (const name of backups.objects(destination).keys()) {
        if (!wanted.test(name)) continue;
        rmSync(backups.objectPath(destination, name));
        count++;
      }
    }
    return count;
  };
  const again = async (): Promise<void> => {
    later(hour);
    expect((await backups.run()).status).toBe('succeeded');
    const [newest] = await readNewest();
    expect(new Map([...(newest?.files ?? [])].sort())).toEqual(new Map([...sourceFiles()].sort()));
  };
  /** Drops the older, broken roots first. */
  const readNewest = () => {
    const names = backups.snapshotNames('nas');
    for (const name of names.slice(0, -1)) rmSync(backups.objectPath('nas', name));
    return backups.readBack('nas');
  };

  test.each([
    ['every pack', /^packs\//, true],
    ['every index', /^index\//, true],
    ['every index, and what the host remembers', /^index\//, false],
    ['every pack, and what the host remembers', /^packs\//, false],
  ] as const)('%s', async (_, wanted, remembers) => {
    some();
    await backups.run();
    expect(lose(wanted)).toBeGreaterThan(0);
    if (!remembers) {
      await backups.host.close();
      for (const name of ['catalog', 'manifests'])
        rmSync(path.join(backups.folder, 'state', name), { recursive: true });
      await backups.restart();
    }
    await again();
  });

  test("the manifest's packs alone, with nothing changed", async () => {
    some();
    await backups.run();
    const catalog = backups.host.catalog('site');
    const manifest = catalog
      .indexes()
      .flatMap((index) => catalog.packsOf(index))
      .filter((row) => row.kind === 'manifest');
    expect(manifest.length).toBeGreaterThan(0);
    for (const { hash } of manifest) expect(lose(new RegExp(hash))).toBe(2);
    await again();
  });

  test('a damaged local manifest costs a second look, not the run', async () => {
    some();
    await backups.run();
    const folder = path.join(backups.folder, 'state', 'manifests', 'site');
    const [file] = readdirSync(folder).filter((name) => name.endsWith('.ndjson'));
    truncateSync(path.join(folder, file ?? ''), 100);
    later(hour);
    const run = backups.newRun();
    await backups.begin(run);
    await expect(backups.call('snapshot', { input: backups.input(), run })).rejects.toEqual(
      failsWith('Internal', { nonRetryable: false }),
    );
    expect(await backups.call('snapshot', { input: backups.input(), run }, 2)).toMatchObject({ toRead: 31 });
    const totals = await backups.store(run);
    expect(totals.newBytes).toBe(0);
    await backups.finish(run, totals, [], 'cancelled');
    await again();
  });
});

describe('retention', () => {
  const retention = { keepLast: 1 };
  beforeEach(() => {
    backups.configure((config) => {
      const { site } = config.jobs;
      if (site) site.retention = retention;
    });
  });

  test('removes roots at once, what only they needed 72 h later, and nothing else', async () => {
    some();
    await backups.run();
    const first = new Set(packs('nas'));
    later(hour);
    backups.write('big', randomBytes(700_000));
    later(hour);
    await backups.run({ full: true });
    expect(backups.snapshotNames('nas')).toHaveLength(1);
    expect(packs('nas').filter((name) => first.has(name))).toHaveLength(first.size);
    await expectWhole('nas', 1);
    later(71 * hour);
    await backups.run();
    expect(packs('nas').filter((name) => first.has(name))).toHaveLength(first.size);
    later(2 * hour);
    await backups.run();
    expect(packs('nas').filter((name) => first.has(name))).toEqual([]);
    await expectWhole('nas', 1);
    await expectWhole('offsite', 1);
  });

  test('keeps what newer snapshots of the generation still need', async () => {
    some();
    await backups.run();
    for (let i = 0; i < 3; i++) {
      backups.write('d0/f0', `version ${i}`);
      later(80 * hour);
      await backups.run();
    }
    await expectWhole('nas', 1);
    await expectWhole('offsite', 1);
  });

  test('removes nothing while a root is there that cannot be read', async () => {
    some();
    await backups.run();
    later(hour);
    const [name] = backups.snapshotNames('nas');
    const strange = name?.replace(/-[0-9a-f]{16}/, '-00000000000000ff') ?? '';
    writeFileSync(backups.objectPath('nas', strange), 'not a root');
    backups.write('d0/f0', 'changed');
    later(hour);
    const run = backups.newRun();
    await backups.begin(run);
    await backups.store(run);
    await backups.call('commit', { input: backups.input(), run, destination: 'nas' });
    await expect(backups.call('prune', { input: backups.input(), run, destination: 'nas' })).rejects.toEqual(
      failsWith('IntegrityMismatch'),
    );
    expect(backups.snapshotNames('nas')).toHaveLength(3);
  });
});

test('heartbeats tell counts and names, never a path or a secret', async () => {
  vi.useRealTimers();
  backups.configure((config) => {
    config.encryption = { passphrase };
    // Slow on purpose.
    const { site } = config.jobs;
    if (site) site.compression = { type: 'gzip', level: 9 };
  });
  backups.write('more', randomBytes(60 << 20));
  await backups.run();
  expect(backups.heartbeats.length).toBeGreaterThan(0);
  const said = JSON.stringify(backups.heartbeats);
  expect(said.length / backups.heartbeats.length).toBeLessThan(4096);
  for (const secret of [passphrase, backups.folder]) expect(said).not.toContain(secret);
});
