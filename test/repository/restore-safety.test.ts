import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Entry, entryLine } from '../../src/repository/entry.js';
import { sha256Hex } from '../../src/repository/hash.js';
import { TestRepository } from '../support/make-repository.js';
import { restoreInline } from '../support/restore-inline.js';

let folder: string;
let target: string;
let outside: string;
let repository: TestRepository;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-safety-'));
  target = path.join(folder, 'jail', 'target');
  outside = path.join(folder, 'outside');
  mkdirSync(outside);
  writeFileSync(path.join(outside, 'precious'), 'precious');
  repository = await TestRepository.create({ folder, encrypted: false });
});
afterEach(() => {
  repository.close();
  // Nothing was made beside the target, nothing outside was touched.
  expect(readdirSync(outside)).toEqual(['precious']);
  expect(readFileSync(path.join(outside, 'precious'), 'utf8')).toBe('precious');
  if (existsSync(path.join(folder, 'jail'))) expect(readdirSync(path.join(folder, 'jail'))).toEqual(['target']);
  rmSync(folder, { recursive: true, force: true });
});

const content = Buffer.from('evil');
const common = {
  mode: 0o644,
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  mtime: '1700000000000000000',
  ctime: '0',
  inode: '1',
};
const file = (at: string, more: Partial<Entry> = {}): string =>
  entryLine({ ...common, path: at, type: 'file', size: '4', chunks: [sha256Hex(content)], ...more });
const dir = (at: string): string => entryLine({ ...common, path: at, type: 'dir', mode: 0o755 });
const link = (at: string, to: string): string => entryLine({ ...common, path: at, type: 'symlink', target: to });

describe('manifests that are refused as a whole', () => {
  test.each([
    ['a parent component', [file('/a/../../outside/x')]],
    ['a parent component at the end', [dir('/a/..')]],
    ['only a parent component', [file('/..')]],
    ['a dot component', [file('/a/./x')]],
    ['an empty component', [file('/a//x')]],
    ['a relative path', [file('a/x')]],
    ['a NUL', [file('/a\0b')]],
    ['a path twice', [file('/a'), file('/a')]],
    ['paths out of order', [file('/b'), file('/a')]],
    ['a hardlink to a path with ..', [file('/a', { hardlink: '/../../outside/precious' })]],
    [
      'raw bytes with ..',
      [
        file('', {
          path: undefined,
          path64: Buffer.from([0x2f, 0xff, 0x2f, 0x2e, 0x2e, 0x2f, 0x61]).toString('base64'),
        }),
      ],
    ],
  ])('%s', async (_, lines) => {
    await repository.forge(lines, [content]);
    await expect(restoreInline(repository, target)).rejects.toMatchObject({ code: 'TargetUnsafe' });
    expect(existsSync(target)).toBe(false);
  });
});

test('what lies below a symlink or file of the snapshot is left out and named', async () => {
  await repository.forge(
    [link('/a', outside), file('/a/x'), dir('/a/y'), file('/a/y/z'), file('/b'), file('/b/x'), file('/c')],
    [content],
  );
  const document = await restoreInline(repository, target);
  expect(document.status).toBe('partial');
  expect(document.damaged.map((one) => one.path).sort()).toEqual(['/a/x', '/a/y/z', '/b/x']);
  expect(lstatSync(path.join(target, 'a')).isSymbolicLink()).toBe(true);
  expect(readFileSync(path.join(target, 'c'), 'utf8')).toBe('evil');
});

test.each(['never', 'changed', 'always'] as const)(
  'a directory that is a symlink at the target is not followed (%s)',
  async (overwrite) => {
    mkdirSync(target, { recursive: true });
    symlinkSync(outside, path.join(target, 'a'));
    await repository.forge([dir('/a'), file('/a/precious'), file('/a/x'), dir('/a/y'), file('/b')], [content]);
    const document = await restoreInline(repository, target, { overwrite });
    expect(document).toMatchObject({ status: 'partial', files: { restored: 1, failed: 2 } });
    expect(lstatSync(path.join(target, 'a')).isSymbolicLink()).toBe(true);
  },
);

test.each(['never', 'changed', 'always'] as const)(
  'a directory only implied that is a symlink is not followed (%s)',
  async (overwrite) => {
    mkdirSync(target, { recursive: true });
    symlinkSync(outside, path.join(target, 'a'));
    await repository.forge([file('/a/b/x')], [content]);
    const document = await restoreInline(repository, target, { overwrite });
    expect(document.files).toEqual({ restored: 0, skipped: 0, failed: 1 });
  },
);

test('a symlink in a file’s place is kept, or replaced itself', async () => {
  mkdirSync(target, { recursive: true });
  symlinkSync(path.join(outside, 'precious'), path.join(target, 'a'));
  await repository.forge([file('/a')], [content]);
  expect(await restoreInline(repository, target)).toMatchObject({ status: 'partial', files: { skipped: 1 } });
  expect(lstatSync(path.join(target, 'a')).isSymbolicLink()).toBe(true);
  expect(await restoreInline(repository, target, { overwrite: 'always' })).toMatchObject({ status: 'succeeded' });
  expect(lstatSync(path.join(target, 'a')).isFile()).toBe(true);
});

test('a hardlink through a symlink or to a file that was not restored is not made', async () => {
  await repository.forge(
    [link('/a', path.join(outside, 'precious')), file('/b', { hardlink: '/a' }), file('/c', { hardlink: '/nowhere' })],
    [content],
  );
  const document = await restoreInline(repository, target);
  expect(document).toMatchObject({ status: 'partial', files: { restored: 0, failed: 2 } });
  expect(existsSync(path.join(target, 'b'))).toBe(false);
});

test('sizes that chunks and holes do not make up are refused per file', async () => {
  await repository.forge(
    [
      file('/fine', { size: '12', holes: [['0', '8']] }),
      file('/huge', { size: '99999999999999999999' }),
      file('/long', { size: '5' }),
      file('/negative-hole', { size: '8', holes: [['2', '4']] }),
      file('/overlap', {
        size: '12',
        holes: [
          ['4', '8'],
          ['6', '1'],
        ],
      }),
    ],
    [content],
  );
  const document = await restoreInline(repository, target);
  expect(document.files).toEqual({ restored: 1, skipped: 0, failed: 4 });
  expect(readFileSync(path.join(target, 'fine'), 'latin1')).toBe(`${'\0'.repeat(8)}evil`);
});

test('a chunk outside the snapshot’s indexes is not used', async () => {
  const other = await TestRepository.create({ folder: mkdtempSync(path.join(folder, 'other-')), encrypted: false });
  await other.forge([file('/a')]);
  expect(await restoreInline(other, target)).toMatchObject({ status: 'failed', files: { restored: 0, failed: 1 } });
  other.close();
});
