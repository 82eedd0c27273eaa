import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Detect } from '../../src/activities/threads/walk-task.js';
import { comparePaths } from '../../src/platform/paths.js';
import { Rig, type Snapshot } from './rig.js';

const mib = 1 << 20;
let source: string;
let rig: Rig;

beforeEach(() => {
  source = mkdtempSync(path.join(tmpdir(), 'holdfast-source-'));
  rig = new Rig();
  // A minute later: what a test writes was not modified just now, unless a test says so.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 });
});
afterEach(() => {
  vi.useRealTimers();
  rig.close();
  execFileSync('rm', ['-rf', source, rig.folder]);
});

const at = (...names: string[]): string => path.join(source, ...names);
const write = (name: string, content: string | Buffer): void => {
  mkdirSync(path.dirname(at(name)), { recursive: true });
  writeFileSync(at(name), content);
};
const entry = (snapshot: Snapshot, name: string) => snapshot.entries.get(at(name));
const text = async (snapshot: Snapshot, name: string): Promise<string> =>
  (await rig.content(entry(snapshot, name))).toString();
const problems = (snapshot: Snapshot): string[] =>
  snapshot.problems.map(({ code, path: where }) => `${code} ${path.relative(source, where)}`);

describe('a snapshot', () => {
  test('holds every entry once, in order, and every file as it was', async () => {
    write('a/b.txt', 'one');
    write('a-b.txt', 'two');
    write('a/é.txt', Buffer.alloc(300_000, 'x'));
    write('empty', '');
    mkdirSync(at('hollow'));
    symlinkSync('a/b.txt', at('link'));
    execFileSync('mkfifo', [at('pipe')]);
    const odd = Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x66, 0xff, 0x67])]);
    writeFileSync(odd, 'odd');
    chmodSync(at('a-b.txt'), 0o4751);
    const snapshot = await rig.backup([source]);
    const paths = [...snapshot.entries.keys()];
    expect(paths).toEqual([...paths].sort((a, b) => comparePaths(a, b)));
    expect(paths).toHaveLength(10);
    expect(await text(snapshot, 'a/b.txt')).toBe('one');
    expect(await text(snapshot, 'a/é.txt')).toBe('x'.repeat(300_000));
    expect(await text(snapshot, 'empty')).toBe('');
    expect(entry(snapshot, 'link')).toMatchObject({ type: 'symlink', target: 'a/b.txt' });
    expect(entry(snapshot, 'pipe')).toMatchObject({ type: 'fifo' });
    expect(entry(snapshot, 'a-b.txt')?.mode).toBe(0o4751);
    const strange = [...snapshot.entries.values()].find((each) => each.path64 !== undefined);
    expect(Buffer.from(strange?.path64 ?? '', 'base64')).toEqual(odd);
    expect((await rig.content(strange)).toString()).toBe('odd');
    const stat = lstatSync(at('a/b.txt'), { bigint: true });
    expect(entry(snapshot, 'a/b.txt')).toMatchObject({
      mtime: stat.mtimeNs.toString(),
      inode: stat.ino.toString(),
      size: '3',
    });
    expect(snapshot.merged).toMatchObject({ files: 5, bytes: 300_009, entries: 10 });
    expect(snapshot.problems).toEqual([]);
  });

  test('leaves out what is excluded', async () => {
    for (const name of [
      'keep.php',
      'drop.tmp',
      'cache/x.php',
      'deep/er/y.php',
      'deep/er/z.txt',
      'off/.nobackup',
      'off/x.php',
    ])
      write(name, name);
    const snapshot = await rig.backup([source], {
      include: ['**/*.php'],
      exclude: ['cache/', '*.tmp'],
      excludeIfPresent: ['.nobackup'],
    });
    const names = [...snapshot.entries.keys()].map((each) => path.relative(source, each));
    expect(names).toEqual(['', 'deep', 'deep/er', 'deep/er/y.php', 'keep.php']);
  });

  test('of the same again reads nothing, stores nothing, and is identical', async () => {
    for (let i = 0; i < 300; i++) write(`d${i % 7}/f${i}`, `content ${i}`);
    const first = await rig.backup([source]);
    expect([first.walk.newFiles, first.walk.toRead, first.walk.identical]).toEqual([300, 300, false]);
    const second = await rig.backup([source]);
    expect(second.walk).toMatchObject({ toRead: 0, newFiles: 0, changedFiles: 0, identical: true, files: 300 });
    expect([second.fresh, second.freshManifest, second.read]).toEqual([0, 0, 0]);
    expect(second.merged.parts).toEqual(first.merged.parts);
    expect(second.entries).toEqual(first.entries);
  });

  test('is not identical when something is gone or new', async () => {
    for (const name of ['a', 'b', 'c']) write(name, name);
    await rig.backup([source]);
    const before = lstatSync(source);
    unlinkSync(at('c'));
    utimesSync(source, before.atime, before.mtime);
    expect((await rig.backup([source])).walk.identical).toBe(false);
    write('d', 'd');
    expect((await rig.backup([source])).walk).toMatchObject({ identical: false, newFiles: 1, changedFiles: 0 });
  });

  test('with one file in a hundred changed adds little', async () => {
    for (let i = 0; i < 2000; i++) write(`d${i % 20}/f${i}`, randomBytes(1000));
    const first = await rig.backup([source]);
    for (let i = 0; i < 2000; i += 100) write(`d${i % 20}/f${i}`, randomBytes(1000));
    const second = await rig.backup([source]);
    expect(second.walk).toMatchObject({ toRead: 20, changedFiles: 20, newFiles: 0 });
    expect(second.fresh).toBe(20_000);
    expect(second.freshManifest).toBeLessThan(first.freshManifest / 3);
    expect(await rig.content(entry(second, 'd0/f100'))).toEqual(readFileSync(at('d0/f100')));
    expect(await rig.content(entry(second, 'd1/f101'))).toEqual(readFileSync(at('d1/f101')));
  });

  test('stores the same content once, also across files and runs', async () => {
    const same = randomBytes(8 * mib);
    write('a', same);
    write('b', same);
    expect((await rig.backup([source])).fresh).toBe(8 * mib);
    renameSync(at('a'), at('c'));
    const second = await rig.backup([source]);
    expect([second.fresh, second.walk.newFiles]).toEqual([0, 1]);
    // An insertion near the front costs a few chunks.
    write('b', Buffer.concat([same.subarray(0, 1000), Buffer.from('inserted'), same.subarray(1000)]));
    expect((await rig.backup([source])).fresh).toBeLessThan(8 * mib);
  });
});

describe('what counts as changed', () => {
  const touchMtime = (): void => utimesSync(at('f'), 1e9, 1e9);
  const touchCtime = (): void => chmodSync(at('f'), 0o600);
  const touchInode = (): void => {
    const { atimeMs, mtimeMs } = lstatSync(at('f'));
    writeFileSync(at('g'), readFileSync(at('f')));
    utimesSync(at('g'), atimeMs / 1000, mtimeMs / 1000);
    renameSync(at('g'), at('f'));
  };
  const cases: [what: string, detect: Detect[], toRead: number, touch: () => void][] = [
    ['mtime', ['size'], 0, touchMtime],
    ['mtime', ['size', 'inode'], 0, touchMtime],
    ['mtime', ['size', 'mtime'], 1, touchMtime],
    ['mtime and so ctime', ['ctime'], 1, touchMtime],
    ['ctime', ['size', 'mtime', 'inode'], 0, touchCtime],
    ['ctime', ['size', 'mtime', 'ctime'], 1, touchCtime],
    ['inode', ['size', 'mtime'], 0, touchInode],
    ['inode', ['size', 'inode'], 1, touchInode],
    ['nothing', ['size', 'mtime', 'ctime', 'inode'], 0, () => undefined],
    ['size', ['mtime'], 1, () => appendFileSync(at('f'), 'x')],
  ];
  test.each(cases)('%s, by %j', async (_, detect, toRead, touch) => {
    write('f', 'content');
    utimesSync(at('f'), 1.6e9, 1.6e9);
    await rig.backup([source], { detect });
    touch();
    const second = await rig.backup([source], { detect });
    expect(second.walk.toRead).toBe(toRead);
    // Metadata is always that of now, and the content is there.
    const stat = lstatSync(at('f'), { bigint: true });
    expect(entry(second, 'f')).toMatchObject({
      mode: Number(stat.mode & 0o7777n),
      mtime: stat.mtimeNs.toString(),
      ctime: stat.ctimeNs.toString(),
    });
    expect(await rig.content(entry(second, 'f'))).toEqual(readFileSync(at('f')));
  });

  test('a file modified just before it was read is read again next time', async () => {
    vi.useRealTimers();
    write('young', '1');
    const first = await rig.backup([source]);
    expect(entry(first, 'young')?.recheck).toBe(true);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 });
    const second = await rig.backup([source]);
    expect([second.walk.toRead, second.fresh]).toEqual([1, 0]);
    expect(entry(second, 'young')?.recheck).toBeUndefined();
    expect((await rig.backup([source])).walk.toRead).toBe(0);
  });

  test('rereading reads all and stores nothing twice', async () => {
    for (let i = 0; i < 20; i++) write(`f${i}`, randomBytes(5000));
    await rig.backup([source]);
    const again = await rig.backup([source], { reread: true });
    expect([again.walk.toRead, again.read, again.fresh]).toEqual([20, 100_000, 0]);
    expect(again.freshManifest).toBe(0);
  });

  test('what no destination holds any more is read again when every chunk is looked up', async () => {
    write('a', 'a');
    write('b', 'b'.repeat(300_000));
    const first = await rig.backup([source]);
    for (const name of rig.catalog.presence('nas').keys()) rig.catalog.dropPresence('nas', name);
    const second = await rig.backup([source], { verify: true });
    expect([second.walk.toRead, second.fresh]).toEqual([2, first.fresh]);
    expect(second.walk.identical).toBe(false);
    expect(second.freshManifest).toBeGreaterThan(0);
    expect(await text(second, 'a')).toBe('a');
  });

  test('a line that cannot be kept is not trusted: the merge refuses it', async () => {
    write('a', 'a');
    await rig.backup([source]);
    for (const name of rig.catalog.presence('nas').keys()) rig.catalog.dropPresence('nas', name);
    await expect(rig.backup([source])).rejects.toMatchObject({ name: 'HoldfastError', code: 'SpoolLost' });
  });
});

describe('large files', () => {
  test('are read in stretches and put together', async () => {
    const data = randomBytes(9 * mib + 12_345);
    write('big', data);
    write('small', 'small');
    const snapshot = await rig.backup([source], { batchBytes: 4 * mib, laneBytes: 2 * mib });
    expect(snapshot.walk.batches.length).toBeGreaterThanOrEqual(3);
    expect(snapshot.lanes.length).toBeGreaterThanOrEqual(3);
    expect((await rig.content(entry(snapshot, 'big'))).equals(data)).toBe(true);
    expect(await text(snapshot, 'small')).toBe('small');
    expect(entry(snapshot, 'big')).toMatchObject({ size: String(data.length) });
    const second = await rig.backup([source], { batchBytes: 4 * mib, laneBytes: 2 * mib });
    expect([second.walk.toRead, second.walk.identical]).toEqual([0, true]);
  });

  test('holes are not read, also across stretches', async () => {
    const fd = openSync(at('sparse'), 'w');
    ftruncateSync(fd, 40 * mib);
    writeSync(fd, randomBytes(mib), 0, mib, 6 * mib);
    writeSync(fd, 'in the middle', 21 * mib + 100);
    closeSync(fd);
    for (const batchBytes of [256 * mib, 8 * mib]) {
      const snapshot = await rig.backup([source], { batchBytes, reread: true });
      expect(entry(snapshot, 'sparse')?.size).toBe(String(40 * mib));
      expect(entry(snapshot, 'sparse')?.holes?.length).toBeGreaterThanOrEqual(3);
      expect(snapshot.read).toBeLessThan(3 * mib);
      expect((await rig.content(entry(snapshot, 'sparse'))).equals(readFileSync(at('sparse')))).toBe(true);
    }
  });

  test('that grow or shrink between walk and reading are taken as they are then', async () => {
    write('grows', randomBytes(5 * mib));
    write('shrinks', randomBytes(9 * mib));
    write('ends', randomBytes(5 * mib));
    const snapshot = await rig.backup([source], {
      batchBytes: 2 * mib,
      laneBytes: mib,
      afterWalk() {
        appendFileSync(at('grows'), randomBytes(3 * mib));
        truncateSync(at('shrinks'), 3 * mib);
        truncateSync(at('ends'), 0);
      },
    });
    for (const name of ['grows', 'shrinks', 'ends']) {
      const content = await rig.content(entry(snapshot, name));
      expect(content.equals(readFileSync(at(name))), name).toBe(true);
      expect(entry(snapshot, name)?.size).toBe(String(content.length));
    }
  });

  test('whose stretches show different states are marked and named', async () => {
    write('torn', randomBytes(6 * mib));
    let calls = 0;
    const original = rig.catalog.addPresence.bind(rig.catalog);
    vi.spyOn(rig.catalog, 'addPresence').mockImplementation((...args) => {
      // Between the first and the next stretch.
      if (calls++ === 0) appendFileSync(at('torn'), 'more');
      original(...args);
    });
    const snapshot = await rig.backup([source], { batchBytes: 2 * mib, laneBytes: 2 * mib });
    expect(entry(snapshot, 'torn')).toMatchObject({ changed: true, recheck: true });
    expect(snapshot.merged.torn).toEqual([at('torn')]);
    expect((await rig.backup([source])).walk.toRead).toBe(1);
  });
});

describe('what happens between walk and reading', () => {
  test('is named: gone, replaced by something else, no longer readable', async () => {
    for (const name of ['stays', 'goes', 'dir', 'link', 'pipe', 'swapped']) write(name, `content of ${name}`);
    write('sub/inside', 'x');
    const snapshot = await rig.backup([source], {
      afterWalk() {
        unlinkSync(at('goes'));
        rmSync(at('sub'), { recursive: true });
        for (const name of ['dir', 'link', 'pipe', 'swapped']) unlinkSync(at(name));
        mkdirSync(at('dir'));
        symlinkSync('/etc/passwd', at('link'));
        execFileSync('mkfifo', [at('pipe')]);
        write('swapped', 'another file of another length');
      },
    });
    expect(problems(snapshot).sort()).toEqual([
      'Unreadable dir',
      'Unreadable link',
      'Unreadable pipe',
      'Vanished goes',
      'Vanished sub/inside',
    ]);
    expect(snapshot.lanes.reduce((sum, lane) => sum + lane.unreadable, 0)).toBe(3);
    for (const name of ['goes', 'dir', 'link', 'pipe', 'sub/inside'])
      expect(entry(snapshot, name), name).toBeUndefined();
    expect(await text(snapshot, 'stays')).toBe('content of stays');
    expect(await text(snapshot, 'swapped')).toBe('another file of another length');
    expect(entry(snapshot, 'swapped')?.inode).toBe(String(lstatSync(at('swapped')).ino));
  });

  test('small files that grow, shrink and empty are taken whole, as they are then', async () => {
    for (const name of ['grows', 'shrinks', 'empties', 'balloons']) write(name, 'x'.repeat(5000));
    const snapshot = await rig.backup([source], {
      afterWalk() {
        appendFileSync(at('grows'), 'y'.repeat(100));
        truncateSync(at('shrinks'), 10);
        truncateSync(at('empties'), 0);
        write('balloons', randomBytes(3 * mib));
      },
    });
    for (const name of ['grows', 'shrinks', 'empties', 'balloons']) {
      expect((await rig.content(entry(snapshot, name))).equals(readFileSync(at(name))), name).toBe(true);
      expect(entry(snapshot, name)?.size).toBe(String(lstatSync(at(name)).size));
    }
    expect(snapshot.problems).toEqual([]);
  });

  test('a file that is written to all the time is read three times, then marked and named', async () => {
    write('busy', randomBytes(24 * mib));
    write('calm', 'calm');
    const writer = spawn('sh', ['-c', `while :; do printf x >> '${at('busy')}'; done`], { stdio: 'ignore' });
    try {
      const snapshot = await rig.backup([source]);
      expect(entry(snapshot, 'busy')).toMatchObject({ changed: true });
      expect(problems(snapshot)).toEqual(['Changed busy']);
      expect(snapshot.read).toBeGreaterThan(3 * 24 * mib);
      expect(entry(snapshot, 'calm')?.changed).toBeUndefined();
    } finally {
      writer.kill('SIGKILL');
      await new Promise((resolve) => writer.once('close', resolve));
    }
    const second = await rig.backup([source]);
    expect(second.walk.toRead).toBe(1);
    expect(entry(second, 'busy')?.changed).toBeUndefined();
    expect((await rig.content(entry(second, 'busy'))).equals(readFileSync(at('busy')))).toBe(true);
  });
});

describe('unreadable', () => {
  const root = process.getuid?.() === 0;
  const asNobody = async <T>(work: () => Promise<T>): Promise<T> => {
    if (!root) return work();
    chownSync(rig.folder, 65534, 65534);
    execFileSync('chown', ['-R', '65534:65534', rig.folder, source]);
    process.seteuid?.(65534);
    try {
      return await work();
    } finally {
      process.seteuid?.(0);
    }
  };

  test('files and folders are named and counted, the others taken', async () => {
    write('open', 'open');
    write('secret', 'secret');
    write('closed/inside', 'x');
    write('half/listed', 'x');
    chmodSync(at('secret'), 0);
    chmodSync(at('closed'), 0);
    // May be listed, but nothing in it may be looked at.
    chmodSync(at('half'), 0o444);
    const snapshot = await asNobody(() => rig.backup([source]));
    expect(problems(snapshot).sort()).toEqual(['Unreadable closed', 'Unreadable half/listed', 'Unreadable secret']);
    expect(snapshot.walk.unreadable + snapshot.lanes.reduce((sum, lane) => sum + lane.unreadable, 0)).toBe(3);
    expect(await text(snapshot, 'open')).toBe('open');
    expect(entry(snapshot, 'closed')?.type).toBe('dir');
  });

  test('paths longer than the system opens are named, all others taken', async () => {
    const name = 'n'.repeat(250);
    const home = process.cwd();
    process.chdir(source);
    for (let i = 0; i < 18; i++) {
      mkdirSync(name);
      process.chdir(name);
      writeFileSync('file', 'deep');
    }
    process.chdir(home);
    write('other', 'x');
    const snapshot = await rig.backup([source]);
    expect(snapshot.walk.unreadable).toBeGreaterThan(0);
    expect(new Set(snapshot.problems.map(({ code }) => code))).toEqual(new Set(['Unreadable']));
    expect(await text(snapshot, 'other')).toBe('x');
    const longest = Math.max(...[...snapshot.entries.keys()].map((each) => each.length));
    expect(longest).toBeGreaterThan(3000);
    expect(await text(snapshot, `${name}/`.repeat(12).concat('file'))).toBe('deep');
  });

  test('a source path that is a symlink is told of, and what it points to counts as not read', async () => {
    mkdirSync(at('real'));
    symlinkSync('real', at('alias'));
    const snapshot = await rig.backup([at('alias')]);
    expect(problems(snapshot)).toEqual(['SymlinkSource alias']);
    expect(snapshot.walk.unreadable).toBe(1);
  });

  test('a source path that is gone fails the source', async () => {
    await expect(rig.backup([at('nowhere')])).rejects.toMatchObject({ name: 'HoldfastError', code: 'SourceMissing' });
  });
});

describe('hardlinks', () => {
  test('name the first path and repeat its chunks, read once', async () => {
    write('a', randomBytes(100_000));
    mkdirSync(at('sub'));
    linkSync(at('a'), at('b'));
    linkSync(at('a'), at('sub/c'));
    const snapshot = await rig.backup([source]);
    expect([snapshot.read, snapshot.walk.toRead]).toEqual([100_000, 1]);
    expect(entry(snapshot, 'a')?.hardlink).toBeUndefined();
    for (const name of ['b', 'sub/c']) {
      expect(entry(snapshot, name)).toMatchObject({
        hardlink: at('a'),
        chunks: entry(snapshot, 'a')?.chunks,
        size: '100000',
      });
    }
    expect((await rig.backup([source])).walk.identical).toBe(true);
  });

  test('all names of a file that is read again get its new content', async () => {
    vi.useRealTimers();
    write('a', '1');
    linkSync(at('a'), at('b'));
    const first = await rig.backup([source]);
    expect([entry(first, 'a')?.recheck, entry(first, 'b')?.recheck]).toEqual([true, true]);
    // Same size, and the times set back: only the mark tells.
    const { mtime, atime } = lstatSync(at('a'));
    write('a', '2');
    utimesSync(at('a'), atime, mtime);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 });
    const second = await rig.backup([source], { detect: ['size', 'inode'] });
    expect([await text(second, 'a'), await text(second, 'b')]).toEqual(['2', '2']);
    expect([entry(second, 'a')?.recheck, entry(second, 'b')?.recheck]).toEqual([undefined, undefined]);
  });

  test('a new first name takes the place of the old one', async () => {
    write('b', 'content');
    linkSync(at('b'), at('c'));
    await rig.backup([source]);
    linkSync(at('b'), at('a'));
    const second = await rig.backup([source]);
    expect(entry(second, 'a')?.hardlink).toBeUndefined();
    expect([entry(second, 'b')?.hardlink, entry(second, 'c')?.hardlink]).toEqual([at('a'), at('a')]);
    unlinkSync(at('a'));
    unlinkSync(at('c'));
    const third = await rig.backup([source]);
    expect(entry(third, 'b')?.hardlink).toBeUndefined();
    expect(await text(third, 'b')).toBe('content');
  });

  test('a name whose first one went away while being read is named, not lost in silence', async () => {
    write('a', 'content');
    linkSync(at('a'), at('b'));
    write('c', 'other');
    linkSync(at('c'), at('d'));
    const snapshot = await rig.backup([source], {
      afterWalk() {
        unlinkSync(at('a'));
        unlinkSync(at('c'));
        unlinkSync(at('d'));
      },
    });
    expect(problems(snapshot).sort()).toEqual(['Unreadable b', 'Vanished a', 'Vanished c', 'Vanished d']);
    expect(await text(await rig.backup([source]), 'b')).toBe('content');
  });

  test("never get another file's content when their first name was replaced", async () => {
    write('a', 'old content');
    linkSync(at('a'), at('b'));
    const snapshot = await rig.backup([source], {
      afterWalk() {
        write('new', 'new content');
        renameSync(at('new'), at('a'));
      },
    });
    expect(await text(snapshot, 'a')).toBe('new content');
    expect(entry(snapshot, 'b')).toBeUndefined();
    expect(problems(snapshot)).toEqual(['Unreadable b']);
  });

  test('large ones, in stretches', async () => {
    const data = randomBytes(5 * mib);
    write('a', data);
    linkSync(at('a'), at('b'));
    const snapshot = await rig.backup([source], { batchBytes: 2 * mib, laneBytes: 2 * mib });
    expect((await rig.content(entry(snapshot, 'b'))).equals(data)).toBe(true);
    expect(snapshot.read).toBe(5 * mib);
  });
});
