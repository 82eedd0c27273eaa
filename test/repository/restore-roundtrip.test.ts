import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { listXattrs, makeNode, setTimes, setXattr } from '../../src/platform/native.js';
import { sha256Hex } from '../../src/repository/hash.js';
import { packName } from '../../src/repository/layout.js';
import { partsFor } from '../../src/repository/restore/join-plans.js';
import type { Root } from '../../src/repository/root.js';
import { TestRepository } from '../support/make-repository.js';
import { restoreInline } from '../support/restore-inline.js';

const isRoot = process.getuid?.() === 0;
let folder: string;
let source: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-restore-'));
  source = path.join(folder, 'source');
  mkdirSync(source);
  nastyTree(source);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const raw = (directory: string, name: Buffer): Buffer => Buffer.concat([Buffer.from(`${directory}/`), name]);

function nastyTree(root: string): void {
  const at = (name: string): string => path.join(root, name);
  mkdirSync(at('empty'));
  mkdirSync(at('a/b/c'), { recursive: true });
  for (let i = 0; i < 300; i++) writeFileSync(at(`a/b/file-${i}`), `content ${i}\n`.repeat(i));
  writeFileSync(at('a-b'), 'sorts after a/b');
  writeFileSync(at('zero'), '');
  writeFileSync(at('large'), randomBytes(9 * 1024 * 1024));
  writeFileSync(at('twice'), readFileSync(at('large')));
  writeFileSync(at('multi'), randomBytes(70 * 1024 * 1024));
  const fd = openSync(at('sparse'), 'w');
  writeSync(fd, Buffer.from('begin'), 0, 5, 0);
  writeSync(fd, Buffer.alloc(300_000, 7), 0, 300_000, 32 * 1024 * 1024);
  ftruncateSync(fd, 64 * 1024 * 1024);
  closeSync(fd);
  const hollow = openSync(at('hollow'), 'w');
  ftruncateSync(hollow, 5 * 1024 * 1024);
  closeSync(hollow);
  linkSync(at('a/b/file-7'), at('hard-1'));
  linkSync(at('a/b/file-7'), at('a/hard-2'));
  symlinkSync('a/b/file-1', at('link'));
  symlinkSync('/nowhere/at all', at('dangling'));
  symlinkSync(Buffer.from([0x74, 0xff, 0xfe]), at('odd-link'));
  writeFileSync(raw(root, Buffer.from([0x6e, 0xff, 0x80])), 'not utf-8');
  mkdirSync(raw(root, Buffer.from([0xfe, 0x64])));
  writeFileSync(Buffer.concat([raw(root, Buffer.from([0xfe, 0x64])), Buffer.from('/in-it')]), 'below raw');
  writeFileSync(at('n'.repeat(255)), 'longest name');
  writeFileSync(at('new\nline "quote" \u{1F600}'), 'odd name');
  let deep = root;
  while (deep.length < 3000) {
    deep = path.join(deep, 'd'.repeat(200));
    mkdirSync(deep);
  }
  writeFileSync(path.join(deep, 'bottom'), 'deep');
  makeNode(at('fifo'), 'fifo', 0o640);
  writeFileSync(at('setuid'), '#!/bin/sh\n');
  chmodSync(at('setuid'), 0o4755);
  mkdirSync(at('sticky'));
  chmodSync(at('sticky'), 0o1777);
  writeFileSync(at('readonly'), 'r');
  chmodSync(at('readonly'), 0o400);
  if (isRoot) {
    makeNode(at('null'), 'char', 0o666, 259n);
    writeFileSync(at('owned'), 'by another');
    lchownSync(at('owned'), 12345, 54321);
    chmodSync(at('owned'), 0o6751);
    lchownSync(at('link'), 12345, 54321);
    mkdirSync(at('owned-dir'), { mode: 0o750 });
    writeFileSync(at('owned-dir/f'), 'f');
    lchownSync(at('owned-dir'), 12345, 54321);
  }
  try {
    setXattr(at('zero'), 'user.note', Buffer.from([0, 1, 2, 255]));
    setXattr(at('a'), 'user.dir', Buffer.from('directory'));
  } catch {
    // A file system without extended attributes: the comparison then has none on both sides.
  }
  setTimes(at('zero'), { mtimeNs: -1_234_567_890_123_456_789n });
  setTimes(at('a-b'), { mtimeNs: 1_700_000_000_123_456_789n });
  setTimes(at('link'), { mtimeNs: 1_600_000_000_987_654_321n });
  setTimes(at('empty'), { mtimeNs: -1n });
  setTimes(at('a/b'), { mtimeNs: 1_500_000_000_000_000_001n });
  setTimes(at('fifo'), { mtimeNs: 1_400_000_000_000_000_003n });
}

interface Seen {
  mode: number;
  owner: string;
  mtime: bigint;
  size: bigint;
  rdev: bigint;
  content: string;
  xattrs: string;
  group: string | undefined;
}

/** Everything a restore has to bring back, by path relative to `root`. */
function survey(root: string): Map<string, Seen> {
  const seen = new Map<string, Seen>();
  const groups = new Map<bigint, string>();
  const visit = (at: Buffer, rel: string): void => {
    const stat = lstatSync(at, { bigint: true });
    let group: string | undefined;
    if (stat.isFile() && stat.nlink > 1n) {
      group = groups.get(stat.ino) ?? rel;
      groups.set(stat.ino, group);
    }
    seen.set(rel, {
      mode: Number(stat.mode),
      owner: `${stat.uid}:${stat.gid}`,
      mtime: stat.mtimeNs,
      size: stat.isDirectory() ? 0n : stat.size,
      rdev: stat.isCharacterDevice() ? stat.rdev : 0n,
      content: stat.isFile()
        ? readFileSync(at).toString('latin1')
        : stat.isSymbolicLink()
          ? readlinkSync(at, { encoding: 'buffer' }).toString('latin1')
          : '',
      xattrs: stat.isSymbolicLink() ? '' : JSON.stringify(listXattrs(at)),
      group,
    });
    if (!stat.isDirectory()) return;
    for (const name of readdirSync(at, { encoding: 'buffer' })) {
      visit(Buffer.concat([at, Buffer.from('/'), name]), `${rel}/${name.toString('latin1')}`);
    }
  };
  visit(Buffer.from(root), '');
  return seen;
}

function expectSame(target: string, from = source): void {
  const before = survey(from);
  const after = survey(target);
  expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
  for (const [rel, was] of before) {
    const is = after.get(rel);
    // Compared apart, so that a difference does not print megabytes.
    expect(is?.content === was.content, `content of ${JSON.stringify(rel)}`).toBe(true);
    expect({ ...is, content: '' }, rel).toEqual({ ...was, content: '' });
  }
}

describe.each([
  { name: 'encrypted, zstd', options: {} },
  {
    name: 'in the clear, gzip, small lanes',
    options: { encrypted: false, codec: { type: 'gzip', level: 1 } as const, laneBytes: 8 << 20 },
  },
])('$name', ({ options }) => {
  test('a tree with everything in it comes back as it was', async () => {
    const work = mkdtempSync(path.join(folder, 'work-'));
    const repository = await TestRepository.create({ folder: work, ...options });
    await repository.backup([source]);
    const target = path.join(work, 'target');
    const document = await restoreInline(repository, target);
    expect(document.damaged).toEqual([]);
    expect(document.warnings).toEqual([]);
    expect(document.status).toBe('succeeded');
    expectSame(path.join(target, source));
    const sparse = lstatSync(path.join(target, source, 'sparse'));
    expect(sparse.blocks * 512).toBeLessThan(2 * 1024 * 1024);
    // Once more, on top: everything is found to be there, nothing is written.
    const again = await restoreInline(repository, target);
    expect(again).toMatchObject({ status: 'succeeded', bytes: 0, files: { ...document.files } });
    expectSame(path.join(target, source));
    expect(existsSync(path.join(target, source, '.holdfast'))).toBe(false);
    repository.close();
    rmSync(work, { recursive: true, force: true });
  });
});

test('a tree large enough to be planned in two parts comes back as it was', async () => {
  const work = mkdtempSync(path.join(folder, 'many-'));
  const many = path.join(work, 'source');
  for (let d = 0; d < 60; d++) {
    const at = path.join(many, `top/${d % 3 === 0 ? 'deep/er' : 'flat'}/d${10 + d}`);
    mkdirSync(at, { recursive: true, mode: d % 7 === 0 ? 0o700 : 0o755 });
    for (let i = 0; i < 50; i++) writeFileSync(path.join(at, `f${i}`), `${d} ${i % 10}`);
    if (d > 0) linkSync(path.join(many, 'top/deep/er/d10/f0'), path.join(at, 'linked'));
  }
  for (const name of ['a-large', 'top/z-large']) writeFileSync(path.join(many, name), randomBytes(50 * 1024 * 1024));
  const repository = await TestRepository.create({ folder: work });
  const root = await repository.backup([many]);
  expect(partsFor(root, [])).toBe(2);
  const target = path.join(work, 'target');
  const document = await restoreInline(repository, target);
  expect(document).toMatchObject({ status: 'succeeded', files: { restored: root.files, skipped: 0, failed: 0 } });
  expectSame(path.join(target, many), many);
  // One of the large files loses a piece: only that one.
  const [pack] = repository
    .packs('data')
    .filter((one) => one === packOf(repository, path.join(many, 'top/z-large'), root));
  rmSync(repository.objectPath('nas', packName(pack!)));
  const again = await restoreInline(repository, path.join(work, 'again'));
  expect(again).toMatchObject({ status: 'partial', files: { failed: 1, restored: root.files - 1 } });
  expect(again.damaged.map((one) => one.path)).toEqual([path.join(many, 'top/z-large')]);
  repository.close();
  rmSync(work, { recursive: true, force: true });
});

/** The pack of a file's last chunk. */
function packOf(repository: TestRepository, file: string, root: Root): string | undefined {
  const content = readFileSync(file);
  const last = repository.packs('data').find((pack) => {
    const chunks = repository.catalog.indexPack(pack)?.chunks ?? [];
    return chunks.some(([id, , length]) => sha256Hex(content.subarray(content.length - length)) === id);
  });
  expect(root.files).toBeGreaterThan(3000);
  return last;
}
