import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeNode, setTimes } from '../../../src/platform/native.js';
import { comparePaths } from '../../../src/platform/paths.js';
import { type FilesOptions, type WalkedEntry, walkFiles } from '../../../src/sources/files/walk.js';
import type { Problem } from '../../../src/sources/source.js';

let dir: string;
beforeEach(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-walk-')));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Makes files (content: their path) and, with a trailing slash, directories. */
function make(...paths: string[]): void {
  for (const path of paths) {
    const full = `${dir}/${path}`;
    mkdirSync(path.endsWith('/') ? full : full.slice(0, full.lastIndexOf('/')), { recursive: true });
    if (!path.endsWith('/')) writeFileSync(full, path);
  }
}

function walk(options: Partial<FilesOptions> = {}): { entries: WalkedEntry[]; problems: Problem[]; paths: string[] } {
  const problems: Problem[] = [];
  const all: FilesOptions = {
    paths: [dir],
    include: [],
    exclude: [],
    excludeIfPresent: [],
    oneFileSystem: false,
    ...options,
  };
  const entries = [...walkFiles(all, (problem) => problems.push(problem))];
  const paths = entries.map(({ path }) =>
    path === dir ? '.' : path.startsWith(`${dir}/`) ? path.slice(dir.length + 1) : path,
  );
  return { entries, problems, paths };
}

function expectOrdered(entries: readonly WalkedEntry[]): void {
  for (let i = 1; i < entries.length; i++) {
    const [before, after] = [entries[i - 1]!, entries[i]!];
    expect(comparePaths(before.raw ?? before.path, after.raw ?? after.path)).toBeLessThan(0);
  }
}

const bytes = (...parts: (string | number[] | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => Buffer.from(part as string)));

describe('what it emits', () => {
  it('every kind of entry with its metadata', () => {
    make('d/file', 'empty/');
    chmodSync(`${dir}/d/file`, 0o4751);
    setTimes(`${dir}/d/file`, { mtimeNs: -1_234_567_891n });
    linkSync(`${dir}/d/file`, `${dir}/d/hardlink`);
    symlinkSync('../no where', `${dir}/link`);
    symlinkSync(Buffer.from([0x2f, 0xff]), `${dir}/rawlink`);
    makeNode(`${dir}/pipe`, 'fifo', 0o600);
    makeNode(`${dir}/sock`, 'socket', 0o600);
    const { entries, problems, paths } = walk();
    expect(paths).toEqual(['.', 'd', 'd/file', 'd/hardlink', 'empty', 'link', 'pipe', 'rawlink', 'sock']);
    expect(entries.map(({ type }) => type)).toEqual([
      'dir',
      'dir',
      'file',
      'file',
      'dir',
      'symlink',
      'fifo',
      'symlink',
      'socket',
    ]);
    expect(problems).toEqual([]);
    const stat = lstatSync(`${dir}/d/file`, { bigint: true });
    expect(entries[2]).toEqual({
      path: `${dir}/d/file`,
      type: 'file',
      mode: 0o4751,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      size: 6n,
      mtimeNs: -1_234_567_891n,
      ctimeNs: stat.ctimeNs,
      ino: stat.ino,
      dev: stat.dev,
      nlink: 2,
    });
    expect(entries[3]?.ino).toBe(stat.ino);
    expect(entries[5]?.target).toBe('../no where');
    expect(entries[7]).toMatchObject({ target: undefined, rawTarget: Buffer.from([0x2f, 0xff]) });
  });

  it('devices with their number', () => {
    const { entries } = walk({ paths: ['/dev/null'] });
    expect(entries).toMatchObject([{ type: 'char', rdev: lstatSync('/dev/null', { bigint: true }).rdev }]);
  });

  it('names of all kinds, ordered by their bytes', () => {
    const names = [
      'a',
      'a b',
      'a!',
      'a-b',
      'a.b',
      'new\nline',
      'quo"te',
      "apo'",
      'back\\slash',
      '😀',
      '\uffee',
      'é',
      'é',
      '*',
      '\ufffd',
      'x'.repeat(255),
    ];
    make('a/b', ...names.filter((name) => name !== 'a'));
    const { entries, paths, problems } = walk();
    expect(new Set(paths)).toEqual(new Set(['.', 'a/b', ...names]));
    expect(paths.indexOf('a/b')).toBe(paths.indexOf('a') + 1);
    expect(paths.indexOf('😀')).toBeGreaterThan(paths.indexOf('\uffee'));
    expect(entries.every(({ raw }) => raw === undefined)).toBe(true);
    expect(problems).toEqual([]);
    expectOrdered(entries);
  });

  it('names that are no UTF-8, and all below them, as bytes', () => {
    const odd = bytes(`${dir}/`, [0xff, 0x64]);
    mkdirSync(odd);
    writeFileSync(bytes(odd, '/plain'), '1');
    writeFileSync(bytes(odd, '/', [0xc3]), '22');
    writeFileSync(bytes(odd, '/x.tmp'), '');
    make('ascii', '\ufffd', 'über');
    const { entries, problems } = walk({ exclude: ['*.tmp'] });
    expect(problems).toEqual([]);
    expectOrdered(entries);
    expect(entries.map(({ path, raw }) => raw ?? path)).toEqual([
      dir,
      `${dir}/ascii`,
      `${dir}/über`,
      `${dir}/\ufffd`,
      odd,
      bytes(odd, '/plain'),
      bytes(odd, '/', [0xc3]),
    ]);
    expect(entries[6]).toMatchObject({ path: `${dir}/\ufffdd/\ufffd`, size: 2n });
  });

  it('paths of 3,000 bytes; what is too long for the system is named', () => {
    const name = 'n'.repeat(249);
    let deep = dir;
    while (deep.length + 250 <= 4095) deep += `/${name}`;
    mkdirSync(deep, { recursive: true });
    // A path of 4,096 bytes or more can only be made relative to a directory.
    execFileSync('mkdir', [name], { cwd: deep });
    const { entries, problems } = walk();
    execFileSync('rmdir', [name], { cwd: deep });
    expect(entries.at(-1)?.path).toBe(deep);
    expect(deep.length).toBeGreaterThan(3000);
    expect(problems).toMatchObject([
      { code: 'Unreadable', path: `${deep}/${name}`, message: expect.stringContaining('ENAMETOOLONG') },
    ]);
  });

  it('the same as find, for a tree of real files', () => {
    const tree = realpathSync('node_modules/zod');
    const found = execFileSync('find', [tree, '-print0'], { maxBuffer: 1 << 26 })
      .toString()
      .split('\0')
      .slice(0, -1);
    const { entries } = walk({ paths: [tree] });
    expect(entries.map(({ path }) => path)).toEqual(found.sort(comparePaths));
  });
});

describe('source paths', () => {
  it('overlapping ones are visited once, in order', () => {
    make('b/x/1', 'b/y/2', 'b-c/3', 'a/4');
    const { paths } = walk({ paths: [`${dir}/b-c`, `${dir}/b/y/`, `${dir}/b`, `${dir}/./b`, `${dir}/a/4`] });
    expect(paths).toEqual(['a/4', 'b', 'b/x', 'b/x/1', 'b/y', 'b/y/2', 'b-c', 'b-c/3']);
  });

  it('named ones are taken even inside of what is excluded, in order', () => {
    make('a/1', 'cache/deep/keep/2', 'cache/deep/3', 'cache/keep2/4', 'z');
    const { entries, paths } = walk({
      paths: [dir, `${dir}/cache/deep/keep`, `${dir}/cache/keep2`],
      exclude: ['/cache', 'keep2'],
    });
    expect(paths).toEqual([
      '.',
      'a',
      'a/1',
      'cache/deep/keep',
      'cache/deep/keep/2',
      'cache/keep2',
      'cache/keep2/4',
      'z',
    ]);
    expectOrdered(entries);
  });

  it('named ones are taken even inside of a directory skipped for its tag', () => {
    make('a/.nobackup', 'a/b/c/1', 'a/d', 'e');
    const { paths } = walk({ paths: [dir, `${dir}/a/b/c`], excludeIfPresent: ['.nobackup'] });
    expect(paths).toEqual(['.', 'a', 'a/b/c', 'a/b/c/1', 'e']);
  });

  it('a missing one is an error that names it, before any entry', () => {
    make('a');
    const missing = expect.objectContaining({ code: 'SourceMissing', message: expect.stringContaining(`${dir}/gone`) });
    expect(() => walk({ paths: [dir, `${dir}/gone`] })).toThrowError(missing);
    expect(() => walk({ paths: [`${dir}/a/gone`] })).toThrowError(expect.objectContaining({ code: 'SourceMissing' }));
  });

  it('one that is a symlink is not followed, but said', () => {
    make('real/file');
    symlinkSync('real', `${dir}/link`);
    const { entries, problems } = walk({ paths: [`${dir}/link`] });
    expect(entries).toMatchObject([{ path: `${dir}/link`, type: 'symlink', target: 'real' }]);
    expect(problems).toMatchObject([{ code: 'SymlinkSource', path: `${dir}/link` }]);
  });

  it('one that is a file is taken, whatever the patterns', () => {
    make('a.txt');
    expect(walk({ paths: [`${dir}/a.txt`], include: ['*.php'], exclude: ['*.txt'] }).paths).toEqual(['a.txt']);
  });
});

describe('what it leaves out', () => {
  it('excluded entries, and all below excluded directories', () => {
    make('a/cache/1', 'a/x.tmp', 'a/keep', 'cache', 'logs/a.log', 'logs/deep/b.log', 'top', 'sub/top');
    const { paths } = walk({ exclude: ['cache/', '*.tmp', '/top', 'logs/**', `${dir}/a/keep`] });
    expect(paths).toEqual(['.', 'a', 'cache', 'logs', 'sub', 'sub/top']);
  });

  it('what is not included, and directories that lead nowhere', () => {
    make('a/b/x.php', 'a/c/x.txt', 'empty/', 'y.php', 'z/x.txt');
    expect(walk({ include: ['**/*.php'] }).paths).toEqual(['.', 'a', 'a/b', 'a/b/x.php', 'y.php']);
    expect(walk({ include: ['*.none'] }).paths).toEqual(['.']);
    expect(walk({ include: ['*.php'], exclude: ['/a'] }).paths).toEqual(['.', 'y.php']);
  });

  it('but takes all below a directory included by name', () => {
    make('a/docs/x', 'a/docs/deep/y', 'a/docs/empty/', 'a/other', 'docs2/z');
    expect(walk({ include: ['docs/'] }).paths).toEqual([
      '.',
      'a',
      'a/docs',
      'a/docs/deep',
      'a/docs/deep/y',
      'a/docs/empty',
      'a/docs/x',
    ]);
  });

  it('the content of directories with a tag', () => {
    make('a/.nobackup', 'a/b/c', 'd/e');
    expect(walk({ excludeIfPresent: ['CACHEDIR.TAG', '.nobackup'] }).paths).toEqual(['.', 'a', 'd', 'd/e']);
  });

  it('other file systems, if told to', () => {
    const options = { paths: ['/dev'], include: ['/null', '/shm/'] };
    const shm = lstatSync('/dev/shm');
    expect(shm.dev).not.toBe(lstatSync('/dev').dev);
    const marker = mkdtempSync('/dev/shm/holdfast-walk-');
    try {
      expect(walk(options).paths).toContain(marker);
      const { paths } = walk({ ...options, oneFileSystem: true });
      expect(paths).toContain('/dev/shm');
      expect(paths).not.toContain(marker);
    } finally {
      rmSync(marker, { recursive: true });
    }
  });
});

describe('what goes wrong', () => {
  /** Walks, doing something once a path has been emitted. */
  function during(path: string, act: () => void): { paths: string[]; problems: Problem[] } {
    const problems: Problem[] = [];
    const paths: string[] = [];
    const options = { paths: [dir], include: [], exclude: ['*.tmp'], excludeIfPresent: [], oneFileSystem: false };
    for (const entry of walkFiles(options, (problem) => problems.push(problem))) {
      paths.push(entry.path.slice(dir.length + 1));
      if (entry.path === `${dir}/${path}`) act();
    }
    return { paths, problems };
  }

  it('entries that vanish are named, unless they are excluded', () => {
    make('a', 'b', 'c.tmp', 'd');
    const { paths, problems } = during('a', () => {
      unlinkSync(`${dir}/b`);
      unlinkSync(`${dir}/c.tmp`);
    });
    expect(paths).toEqual(['', 'a', 'd']);
    expect(problems).toMatchObject([{ code: 'Vanished', path: `${dir}/b` }]);
  });

  it('a directory that turns into a file, or vanishes, after it was seen', () => {
    make('a/x', 'b/y', 'c');
    const { paths, problems } = during('a/x', () => {
      rmSync(`${dir}/b`, { recursive: true });
    });
    expect(paths).toEqual(['', 'a', 'a/x', 'c']);
    expect(problems).toMatchObject([{ code: 'Vanished', path: `${dir}/b` }]);
  });

  it('a source path that is gone when its turn comes fails the walk', () => {
    make('a/1', 'b/2');
    const walked = walkFiles(
      { paths: [`${dir}/a`, `${dir}/b`], include: [], exclude: [], excludeIfPresent: [], oneFileSystem: false },
      () => {},
    );
    walked.next();
    renameSync(`${dir}/b`, `${dir}/c`);
    expect(() => [...walked]).toThrowError(expect.objectContaining({ code: 'SourceMissing' }));
  });

  it('a directory that can not be listed is emitted and named', () => {
    make('locked/inside', 'z');
    chmodSync(`${dir}/locked`, 0);
    chmodSync(dir, 0o755);
    // Root may list anything.
    process.seteuid?.(process.geteuid?.() || 65534);
    try {
      const { paths, problems } = walk();
      expect(paths).toEqual(['.', 'locked', 'z']);
      expect(problems).toMatchObject([
        { code: 'Unreadable', path: `${dir}/locked`, message: expect.stringContaining('EACCES') },
      ]);
    } finally {
      process.seteuid?.(process.getuid?.() ?? 0);
      chmodSync(`${dir}/locked`, 0o700);
    }
  });
});

it('lists nothing more than the directory does', () => {
  make('a', 'b/c');
  expect(walk().paths).toEqual(['.', ...readdirSync(dir, { recursive: true }).map(String).sort()]);
});
