import {
  closeSync,
  lstatSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  abilities,
  dataSegments,
  freeSpace,
  listXattrs,
  makeNode,
  readAccounts,
  setTimes,
  setTimesFd,
  setXattr,
} from '../../src/platform/native.js';

const can = abilities();
const root = process.geteuid?.() === 0;
let dir: string;
let file: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-native-'));
  file = join(dir, 'file');
  writeFileSync(file, 'content');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const notUtf8 = (): Buffer => Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0xfe, 0x61])]);

describe.runIf(can.nsTimes.available)('times', () => {
  const mtimeOf = (path: string | Buffer): bigint => lstatSync(path, { bigint: true }).mtimeNs;

  it.each([1_700_000_000_123_456_789n, 0n, -1n, -86_400_000_000_001n, 4_102_444_800_000_000_001n])(
    'sets %s ns exactly',
    (mtimeNs) => {
      setTimes(file, { mtimeNs });
      expect(mtimeOf(file)).toBe(mtimeNs);
    },
  );

  it('leaves the access time alone unless given', () => {
    setTimes(file, { atimeNs: 77n, mtimeNs: 1n });
    setTimes(file, { mtimeNs: 2n });
    expect(lstatSync(file, { bigint: true }).atimeNs).toBe(77n);
  });

  it('sets those of a symlink or of its target', () => {
    const link = join(dir, 'times-link');
    symlinkSync(file, link);
    setTimes(file, { mtimeNs: 5n });
    setTimes(link, { mtimeNs: -7n });
    expect([mtimeOf(file), mtimeOf(link)]).toEqual([5n, -7n]);
    setTimes(link, { mtimeNs: 9n }, true);
    expect([mtimeOf(file), mtimeOf(link)]).toEqual([9n, -7n]);
  });

  it('works on names that are no UTF-8, and on descriptors', () => {
    writeFileSync(notUtf8(), '');
    setTimes(notUtf8(), { mtimeNs: 123n });
    expect(mtimeOf(notUtf8())).toBe(123n);
    const fd = openSync(file, 'r+');
    setTimesFd(fd, undefined, -3n);
    closeSync(fd);
    expect(mtimeOf(file)).toBe(-3n);
  });

  it('fails as node:fs does', () => {
    expect(() => setTimes(join(dir, 'none'), { mtimeNs: 1n })).toThrowError(
      expect.objectContaining({ code: 'ENOENT', path: join(dir, 'none') }),
    );
    expect(() => setTimes(`${file}\0x`, { mtimeNs: 1n })).toThrowError(expect.objectContaining({ code: 'EINVAL' }));
  });
});

describe('xattrs', () => {
  /** tmpfs and others may have no user attributes. */
  function supported(): boolean {
    try {
      setXattr(file, 'user.probe', Buffer.from('x'));
      return true;
    } catch {
      return false;
    }
  }

  it('come back byte by byte, also long, empty and binary ones, and by descriptor', () => {
    if (!can.xattrs.available || !supported()) {
      expect(listXattrs(file)).toEqual([]);
      return;
    }
    const values: [string, Buffer][] = [
      ['user.binary', Buffer.from([0, 255, 10, 0])],
      ['user.empty', Buffer.alloc(0)],
      ['user.größe', Buffer.alloc(2000, 'ö')],
    ];
    const path = join(dir, 'attributes');
    writeFileSync(path, '');
    const fd = openSync(path, 'r+');
    for (const [name, value] of values) setXattr(name === 'user.empty' ? fd : path, name, value);
    setXattr(path, Buffer.from('user.\xff', 'latin1'), Buffer.from('v'));
    const found = listXattrs(path).filter(([name]) => name.toString().startsWith('user.'));
    expect(found.filter(([name]) => typeof name === 'string').sort()).toEqual(values.sort());
    expect(found.filter(([name]) => typeof name !== 'string')).toEqual([
      [Buffer.from('user.\xff', 'latin1'), Buffer.from('v')],
    ]);
    expect(listXattrs(fd)).toEqual(listXattrs(path));
    closeSync(fd);
  });

  it.runIf(can.xattrs.available)('of a symlink are its own, and errors carry codes', () => {
    const link = join(dir, 'xattr-link');
    symlinkSync(file, link);
    expect(listXattrs(link).filter(([name]) => name.toString().startsWith('user.'))).toEqual([]);
    expect(() => listXattrs(join(dir, 'none'))).toThrowError(expect.objectContaining({ code: 'ENOENT' }));
  });

  it('of filesystems without any are none', () => {
    expect(listXattrs('/proc/self/status')).toEqual([]);
  });
});

describe.runIf(can.fifos.available)('makeNode', () => {
  it('makes FIFOs, sockets and devices', () => {
    makeNode(join(dir, 'fifo'), 'fifo', 0o600);
    expect(lstatSync(join(dir, 'fifo')).isFIFO()).toBe(true);
    expect(() => makeNode(join(dir, 'fifo'), 'fifo', 0o600)).toThrowError(expect.objectContaining({ code: 'EEXIST' }));
    makeNode(join(dir, 'socket'), 'socket', 0o600);
    expect(lstatSync(join(dir, 'socket')).isSocket()).toBe(true);
    if (!can.devices.available) return;
    const { rdev } = lstatSync('/dev/null', { bigint: true });
    makeNode(join(dir, 'null'), 'char', 0o600, rdev);
    const made = lstatSync(join(dir, 'null'), { bigint: true });
    expect([made.isCharacterDevice(), made.rdev]).toEqual([true, rdev]);
  });
});

describe('dataSegments', () => {
  it.runIf(can.sparse.available)('finds the data between holes', () => {
    const mib = 1024 * 1024;
    const path = join(dir, 'sparse');
    const fd = openSync(path, 'w+');
    truncateSync(path, 10 * mib);
    expect(dataSegments(fd, 10 * mib)).toEqual([]);
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 3 * mib);
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 9 * mib);
    const segments = dataSegments(fd, 10 * mib)!;
    expect(segments).toHaveLength(2);
    for (const [i, offset] of [3 * mib, 9 * mib].entries()) {
      const [start, end] = segments[i]!;
      expect(start <= offset && end >= offset + 4096 && end - start < mib).toBe(true);
    }
    closeSync(fd);
  });

  it('is undefined for a file without holes, and for an empty one', () => {
    const fd = openSync(file, 'r');
    expect(dataSegments(fd, 7)).toBeUndefined();
    expect(dataSegments(fd, 0)).toBeUndefined();
    closeSync(fd);
  });
});

it('abilities give a reason for all that is missing', () => {
  for (const { available, reason } of Object.values(can)) expect(available).toBe(reason === undefined);
  if (process.platform === 'linux')
    expect(can.nsTimes.available && can.xattrs.available && can.sparse.available).toBe(true);
  expect(can.owners.available).toBe(root);
});

it('readAccounts parses names, skipping what is no account', () => {
  const passwd = join(dir, 'passwd');
  const group = join(dir, 'group');
  writeFileSync(passwd, '# comment\nroot:x:0:0::/root:/bin/sh\nalias:x:0:0::/:\nbad:x:no:1\n+::::::\nweb:x:33:33\n');
  writeFileSync(group, 'www:x:33:web,root\n');
  const accounts = readAccounts(passwd, group);
  expect([accounts.userName(0), accounts.userName(33), accounts.userName(1)]).toEqual(['root', 'web', undefined]);
  expect([accounts.uid('alias'), accounts.uid('bad'), accounts.gid('www'), accounts.groupName(33)]).toEqual([
    0,
    undefined,
    33,
    'www',
  ]);
  expect(readAccounts(join(dir, 'none'), join(dir, 'none')).userName(0)).toBeUndefined();
});

it('freeSpace is within the size of the filesystem', async () => {
  const { free, total } = await freeSpace(dir);
  expect(free).toBeGreaterThan(0);
  expect(total).toBeGreaterThanOrEqual(free);
});

it('koffi loads in several threads at once', async () => {
  const code = `
    const koffi = require('koffi');
    const getpid = koffi.load(null).func('int getpid()');
    require('node:worker_threads').parentPort.postMessage(getpid());`;
  const pids = await Promise.all(
    [1, 2, 3].map(
      () =>
        new Promise((resolve, reject) => {
          new Worker(code, { eval: true }).once('message', resolve).once('error', reject);
        }),
    ),
  );
  expect(pids).toEqual([process.pid, process.pid, process.pid]);
});

it('without koffi everything degrades and says so', async () => {
  // A platform that the bindings don't know stands for all reasons why they can't load.
  const real = Object.getOwnPropertyDescriptor(process, 'platform')!;
  Object.defineProperty(process, 'platform', { ...real, value: 'sunos' });
  vi.resetModules();
  try {
    const degraded = await import('../../src/platform/native.js');
    const mtimeMs = (): number => lstatSync(file).mtimeMs;
    degraded.setTimes(file, { mtimeNs: -5_000_000_000n });
    expect(mtimeMs()).toBe(-5000);
    degraded.setTimes(file, { mtimeNs: 1_700_000_000_000_000_000n });
    expect(mtimeMs()).toBe(1_700_000_000_000);
    const unsupported = expect.objectContaining({ code: 'ENOTSUP' });
    expect(() => degraded.setXattr(file, 'user.a', Buffer.from(''))).toThrowError(unsupported);
    expect(() => degraded.makeNode(join(dir, 'no'), 'fifo', 0o600)).toThrowError(unsupported);
    expect(degraded.listXattrs(file)).toEqual([]);
    const fd = openSync(file, 'r+');
    expect(degraded.dataSegments(fd, 100)).toBeUndefined();
    degraded.setTimesFd(fd, undefined, 3_000_000_000n);
    closeSync(fd);
    expect(mtimeMs()).toBe(3000);
    const missing = { available: false, reason: 'not available on sunos' };
    expect(degraded.abilities()).toMatchObject({
      nsTimes: missing,
      xattrs: missing,
      devices: missing,
      sparse: missing,
    });
  } finally {
    Object.defineProperty(process, 'platform', real);
    vi.resetModules();
  }
});
