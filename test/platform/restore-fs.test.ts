import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { abilities, listXattrs, setXattr } from '../../src/platform/native.js';
import { type RelativePath, type RestoreMetadata, SafeRoot, tempPrefix } from '../../src/platform/restore-fs.js';

const isRoot = process.geteuid?.() === 0;
const file = (more: Partial<RestoreMetadata> = {}): RestoreMetadata => ({ type: 'file', ...more });
const unsafe = expect.objectContaining({ code: 'TargetUnsafe' });
const errno = (code: string): unknown => expect.objectContaining({ code });

describe.each([
  ['through /proc', false],
  ['checking every component', true],
])('SafeRoot %s', (_, checked) => {
  let dir: string;
  let outside: string;
  let root: SafeRoot;
  beforeEach(() => {
    dir = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-restore-')));
    outside = join(dir, 'outside');
    mkdirSync(outside);
    root = SafeRoot.open(join(dir, 'new', 'target'), { openDirectories: 4, checked });
  });
  afterEach(() => {
    root.close();
    rmSync(dir, { recursive: true, force: true });
  });
  const at = (path: string): string => join(root.path, path);

  it('makes directories, files, links and nodes below the target', () => {
    expect(root.mkdir('d')).toBe(true);
    expect(root.mkdir('d')).toBe(false);
    root.mkdirs('d/e/f/g');
    expect(root.writeFile('d/e/f/g/file', [Buffer.from('con'), Buffer.from('tent')], file({ mode: 0o640 }))).toEqual(
      [],
    );
    expect(readFileSync(at('d/e/f/g/file'), 'utf8')).toBe('content');
    expect(lstatSync(at('d/e/f/g/file')).mode & 0o7777).toBe(0o640);
    expect(lstatSync(at('d/e/f')).mode & 0o7777).toBe(0o700);
    root.symlink('../../elsewhere', 'd/link');
    expect(root.readlink('d/link').toString()).toBe('../../elsewhere');
    root.link('d/e/f/g/file', 'd/hard');
    expect(lstatSync(at('d/hard')).nlink).toBe(2);
    root.makeNode('d/fifo', 'fifo', 0o600);
    expect(lstatSync(at('d/fifo')).isFIFO()).toBe(true);
    expect(root.list('d').map(String).sort()).toEqual(['e', 'fifo', 'hard', 'link']);
    expect(root.list('').map(String)).toEqual(['d']);
    expect(root.lstat('d/hard')?.size).toBe(7n);
    expect(root.lstat('d/none')).toBeUndefined();
    expect(root.lstat('none/none')).toBeUndefined();
    root.unlink('d/hard');
    expect(existsSync(at('d/hard'))).toBe(false);
  });

  it('takes names that are no UTF-8, new lines and 255 bytes', () => {
    const odd = Buffer.from([0xff, 0x2f, 0xc3]);
    root.mkdir(odd.subarray(0, 1));
    root.writeFile(odd, [Buffer.from('x')], file({ mtimeNs: -5n }));
    expect(readdirSync(Buffer.concat([Buffer.from(`${root.path}/`), odd.subarray(0, 1)]), 'buffer')).toEqual([
      Buffer.of(0xc3),
    ]);
    expect(root.lstat(odd)?.mtimeNs).toBe(-5n);
    root.mkdir('über');
    root.writeFile(Buffer.from('über/1'), [], file());
    root.writeFile(`über/${'n'.repeat(255)}`, [], file());
    root.writeFile('new\nline', [], file());
    expect(readdirSync(at('über')).sort()).toEqual(['1', 'n'.repeat(255)]);
  });

  it.each<[string, RelativePath]>([
    ['parents', '../outside/x'],
    ['parents inside', 'd/../x'],
    ['a parent at the end', 'd/..'],
    ['absolute paths', '/etc/x'],
    ['the root', '/'],
    ['nothing', ''],
    ['dots', './x'],
    ['a dot at the end', 'd/.'],
    ['empty components', 'd//x'],
    ['trailing slashes', 'd/'],
    ['NULs', 'd/x\0y'],
    ['NULs in parents', 'd\0/x'],
    ['parents as bytes', Buffer.from('d/../../outside/x')],
    ['absolute bytes', Buffer.from('/x')],
  ])('refuses %s', (_name, path) => {
    root.mkdir('d');
    expect(() => root.writeFile(path, [], file())).toThrowError(unsafe);
    expect(() => root.mkdir(path)).toThrowError(unsafe);
    expect(() => root.mkdirs(path)).toThrowError(unsafe);
    expect(() => root.symlink('x', path)).toThrowError(unsafe);
    expect(() => root.unlink(path)).toThrowError(unsafe);
    expect(() => root.applyMetadata(path, file())).toThrowError(unsafe);
    expect(() => root.publish('d', path, true)).toThrowError(unsafe);
    expect(readdirSync(outside)).toEqual([]);
    expect(readdirSync(root.path)).toEqual(['d']);
  });

  it('refuses to pass through symlinks and files', () => {
    symlinkSync(outside, at('link'));
    writeFileSync(at('plain'), '');
    for (const path of ['link/x', 'plain/x', 'link/d/x']) {
      expect(() => root.writeFile(path, [], file())).toThrowError(unsafe);
      expect(() => root.lstat(path)).toThrowError(unsafe);
    }
    for (const path of ['link', 'plain']) expect(() => root.mkdir(path)).toThrowError(unsafe);
    expect(() => root.list('link')).toThrowError(unsafe);
    expect(() => root.openFile('link')).toThrowError(unsafe);
    expect(readdirSync(outside)).toEqual([]);
  });

  it('never follows a symlink at the end', () => {
    const victim = join(outside, 'victim');
    writeFileSync(victim, 'untouched', { mode: 0o600 });
    const before = lstatSync(victim, { bigint: true });
    symlinkSync(victim, at('link'));
    expect(() => root.createFile('link')).toThrowError(errno('EEXIST'));
    expect(() => root.chmod('link', 0o777)).toThrow();
    expect(() => root.applyMetadata('link', file({ mode: 0o777 }))).toThrowError(unsafe);
    root.setTimes('link', 5n);
    if (isRoot) root.chown('link', 12, 34);
    expect(root.applyMetadata('link', { type: 'symlink', mode: 0o777, mtimeNs: 7n })).toEqual([]);
    expect(root.lstat('link')?.mtimeNs).toBe(7n);
    const temp = root.createTemp('link');
    root.finish(temp, file());
    root.publish(temp.path, 'link', true);
    expect(lstatSync(at('link')).isFile()).toBe(true);
    expect(lstatSync(victim, { bigint: true })).toEqual(before);
  });

  it('a directory swapped for a symlink leads nowhere else', () => {
    root.mkdirs('a/b');
    root.writeFile('a/b/first', [], file());
    renameSync(at('a/b'), at('a/moved'));
    symlinkSync(outside, at('a/b'));
    try {
      root.writeFile('a/b/second', [], file());
      root.mkdir('a/b/third');
    } catch (error) {
      expect(error).toEqual(unsafe);
    }
    root.mkdir('other');
    expect(readdirSync(outside)).toEqual([]);
  });

  it('works with far more directories than it keeps open, and deeper', () => {
    const depth = 40;
    const deep = Array.from({ length: depth }, (_v, i) => `d${i}`).join('/');
    root.mkdirs(deep);
    for (let i = 0; i < 20; i++) {
      root.mkdir(`wide${i}`);
      root.writeFile(`wide${i}/f`, [Buffer.of(i)], file());
      root.link(`wide${i}/f`, `${deep}/f${i}`);
      root.writeFile(`wide${i}/g`, [], file());
    }
    expect(readdirSync(at(deep))).toHaveLength(20);
    expect(readFileSync(at(`${deep}/f7`))).toEqual(Buffer.of(7));
  });

  it('sees directories that were removed and made again', () => {
    root.mkdir('d');
    root.writeFile('d/f', [], file());
    root.unlink('d/f');
    root.rmdir('d');
    expect(() => root.createFile('d/f')).toThrowError(errno('ENOENT'));
    root.mkdir('d');
    root.writeFile('d/f', [], file());
    rmSync(at('d'), { recursive: true });
    root.mkdir('d');
    root.writeFile('d/f', [], file());
    expect(existsSync(at('d/f'))).toBe(true);
  });

  it('publishes temporary files beside their place, replacing only when told to', () => {
    root.mkdir('d');
    writeFileSync(at('d/old'), 'old');
    const temp = root.createTemp('d/old');
    writeSync(temp.fd, 'new');
    root.finish(temp, file({ mode: 0o600 }));
    expect(readdirSync(at('d')).filter((name) => name.startsWith(tempPrefix))).toHaveLength(1);
    expect(() => root.publish(temp.path, 'd/old', false)).toThrowError(errno('EEXIST'));
    expect(readFileSync(at('d/old'), 'utf8')).toBe('old');
    root.publish(temp.path, 'd/old', true);
    expect(readFileSync(at('d/old'), 'utf8')).toBe('new');
    const other = root.createTemp('top');
    root.finish(other, file());
    root.publish(other.path, 'top', false);
    expect(readdirSync(root.path).sort()).toEqual(['d', 'top']);
    expect(readdirSync(at('d'))).toEqual(['old']);
  });

  it('opens regular files only', () => {
    root.writeFile('f', [Buffer.from('abc')], file());
    const { fd, stat } = root.openFile('f');
    closeSync(fd);
    expect(stat.size).toBe(3n);
    root.makeNode('fifo', 'fifo', 0o600);
    root.mkdir('d');
    expect(() => root.openFile('fifo')).toThrowError(unsafe);
    expect(() => root.openFile('d')).toThrowError(unsafe);
  });

  it('names the real path in errors', () => {
    root.mkdir('d');
    const message = expect.stringContaining(`${root.path}/d/none`);
    expect(() => root.unlink('d/none')).toThrowError(expect.objectContaining({ code: 'ENOENT', message }));
    expect(() => root.setTimes('d/none', 1n)).toThrowError(expect.objectContaining({ code: 'ENOENT', message }));
    try {
      root.unlink('d/none');
    } catch (error) {
      expect(String(error)).not.toContain('/proc');
    }
  });

  it('leaves nothing of a small file that could not be written', () => {
    const broken = new Uint8Array(new SharedArrayBuffer(8)).subarray(2);
    Object.defineProperty(broken, 'length', {
      get() {
        throw new Error('broken');
      },
    });
    expect(() => root.writeFile('f', [Buffer.from('x'), broken], file())).toThrowError('broken');
    expect(readdirSync(root.path)).toEqual([]);
  });

  describe('metadata', () => {
    it('sets modes exactly, whatever the umask and the directory', () => {
      root.mkdir('d');
      for (const mode of [0o666, 0o400, 0o000, 0o777, 0o4755, 0o2640, 0o1777]) {
        root.writeFile(`d/${mode}`, [Buffer.from('x')], file({ mode, mtimeNs: BigInt(mode) * 1_000_000_001n }));
        const stat = lstatSync(at(`d/${mode}`), { bigint: true });
        expect([Number(stat.mode) & 0o7777, stat.mtimeNs]).toEqual([mode, BigInt(mode) * 1_000_000_001n]);
      }
      expect(root.applyMetadata('d', { type: 'dir', mode: 0o3751, mtimeNs: -9n })).toEqual([]);
      const stat = lstatSync(at('d'), { bigint: true });
      expect([Number(stat.mode) & 0o7777, stat.mtimeNs]).toEqual([0o3751, -9n]);
    });

    it.runIf(isRoot)('sets owners, before setuid bits and in directories that hand down their group', () => {
      root.mkdir('d');
      chownSync(at('d'), 0, 77);
      chmodSync(at('d'), 0o2755);
      const owners: [number, number][] = [
        [0, 0],
        [0, 77],
        [1000, 1000],
        [0, 0],
      ];
      for (const [i, [uid, gid]] of owners.entries()) {
        expect(root.writeFile(`d/${i}`, [], file({ mode: 0o6755, uid, gid }))).toEqual([]);
        const stat = lstatSync(at(`d/${i}`));
        expect([stat.uid, stat.gid, stat.mode & 0o7777]).toEqual([uid, gid, 0o6755]);
      }
      root.applyMetadata('d', { type: 'dir', mode: 0o755, uid: 5, gid: 6 });
      root.writeFile('d/after', [], file({ uid: 0, gid: 0, mode: 0o644 }));
      expect(lstatSync(at('d/after'))).toMatchObject({ uid: 0, gid: 0 });
      expect(lstatSync(at('d'))).toMatchObject({ uid: 5, gid: 6 });
      root.symlink('x', 'link');
      root.applyMetadata('link', { type: 'symlink', uid: 8, gid: 9 });
      expect(lstatSync(at('link'))).toMatchObject({ uid: 8, gid: 9 });
      root.applyMetadata('d/0', file({ mode: 0o4711, uid: 3, gid: 3 }));
      expect(lstatSync(at('d/0')).mode & 0o7777).toBe(0o4711);
    });

    it('sets modes exactly below a default ACL', () => {
      root.mkdir('d');
      // Version 2; user::rwx, group::---, mask::rwx absent, other::---.
      const entry = (tag: number, perm: number): number[] => [tag, 0, perm, 0, 255, 255, 255, 255];
      const acl = Buffer.from([2, 0, 0, 0, ...entry(1, 7), ...entry(4, 0), ...entry(32, 0)]);
      try {
        setXattr(at('d'), 'system.posix_acl_default', acl);
      } catch (error) {
        // No ACLs here: then nothing can go wrong either.
        expect(error).toMatchObject({ code: 'ENOTSUP' });
      }
      for (const name of ['1', '2']) {
        root.writeFile(`d/${name}`, [], file({ mode: 0o644 }));
        expect(lstatSync(at(`d/${name}`)).mode & 0o7777).toBe(0o644);
      }
    });

    it('sets xattrs, also of read-only files, and warns of those that are refused', () => {
      let supported = abilities().xattrs.available;
      try {
        setXattr(dir, 'user.probe', Buffer.from('x'));
      } catch {
        supported = false;
      }
      const xattrs: RestoreMetadata['xattrs'] = [
        ['nonsense.name', Buffer.from('x')],
        ['user.good', Buffer.from([0, 1])],
      ];
      const warnings = root.writeFile('f', [], file({ mode: 0o400, xattrs, mtimeNs: 3n }));
      expect(warnings.map(({ code }) => code)).toContain('XattrNotRestored');
      expect(warnings).toHaveLength(supported ? 1 : 2);
      const found = listXattrs(at('f')).filter(([name]) => name.toString().startsWith('user.'));
      expect(found).toEqual(supported ? [xattrs[1]] : []);
      expect(lstatSync(at('f'), { bigint: true }).mtimeNs).toBe(3n);
      root.mkdir('d');
      expect(root.applyMetadata('d', { type: 'dir', xattrs: xattrs.slice(1) })).toHaveLength(supported ? 0 : 1);
    });

    it('warns of owners that only root may set, and leaves out setuid then', () => {
      chmodSync(dir, 0o755);
      const asUser = process.geteuid?.() || 65534;
      chmodSync(join(dir, 'new'), 0o755);
      if (isRoot) chownSync(root.path, asUser, asUser);
      process.setegid?.(process.getegid?.() || asUser);
      process.seteuid?.(asUser);
      try {
        const metadata = { mode: 0o4755, uid: 4242, gid: 4242, mtimeNs: 6n };
        const expected = [{ code: 'OwnerNotRestored' }, { code: 'ModeNotRestored' }];
        expect(root.writeFile('f', [], file(metadata))).toMatchObject(expected);
        const stat = lstatSync(at('f'), { bigint: true });
        expect([Number(stat.mode) & 0o7777, stat.mtimeNs, Number(stat.uid)]).toEqual([0o755, 6n, asUser]);
        expect(root.applyMetadata('f', file({ ...metadata, mode: 0o755 }))).toMatchObject(expected.slice(0, 1));
        expect(root.writeFile('own', [], file({ mode: 0o4755, uid: asUser }))).toEqual([]);
        expect(lstatSync(at('own')).mode & 0o7777).toBe(0o4755);
      } finally {
        process.seteuid?.(process.getuid?.() ?? 0);
        process.setegid?.(process.getgid?.() ?? 0);
      }
    });

    it('refuses an entry of another type', () => {
      root.mkdir('d');
      expect(() => root.applyMetadata('d', file())).toThrowError(unsafe);
      expect(() => root.applyMetadata('none', file())).toThrowError(errno('ENOENT'));
    });
  });

  it('hardlinks to what is already below, of any kind of path', () => {
    root.writeFile('f', [], file());
    linkSync(at('f'), at('g'));
    root.mkdir('d');
    root.link('g', 'd/h');
    expect(lstatSync(at('f')).nlink).toBe(3);
    expect(() => root.link('f', 'd/h')).toThrowError(errno('EEXIST'));
  });
});

it('keeps no directory open after close', () => {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-restore-'));
  const open = (): number => readdirSync('/proc/self/fd').length;
  const before = open();
  const root = SafeRoot.open(dir, { openDirectories: 8 });
  for (let i = 0; i < 50; i++) {
    root.mkdirs(`a${i}/b`);
    root.writeFile(`a${i}/b/f`, [], file());
  }
  expect(open() - before).toBeLessThanOrEqual(12);
  root.close();
  expect(open()).toBe(before);
  rmSync(dir, { recursive: true });
});
