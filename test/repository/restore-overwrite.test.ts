import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TestRepository } from '../support/make-repository.js';
import { restoreInline } from '../support/restore-inline.js';

let folder: string;
let source: string;
let target: string;
let repository: TestRepository;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-overwrite-'));
  source = path.join(folder, 'source');
  target = path.join(folder, 'target');
  mkdirSync(path.join(source, 'sub'), { recursive: true });
  for (const name of ['same', 'touched', 'longer', 'other', 'gone', 'sub/deep'])
    writeFileSync(path.join(source, name), `content of ${name}`);
  writeFileSync(path.join(source, 'big'), Buffer.alloc(3 << 20, 'big'));
  symlinkSync('same', path.join(source, 'link'));
  repository = await TestRepository.create({ folder, encrypted: false });
  await repository.backup([source]);
  await restoreInline(repository, target);
  // Only the mtime, the size, the content alone.
  utimesSync(at('touched'), 1, 1);
  writeFileSync(at('longer'), 'content of longer, and more');
  writeFileSync(at('other'), 'CONTENT OF OTHER');
  rmSync(at('gone'));
  writeFileSync(at('mine'), 'not from the snapshot');
  rmSync(at('link'));
  symlinkSync('elsewhere', at('link'));
});
afterEach(() => {
  repository.close();
  rmSync(folder, { recursive: true, force: true });
});
const at = (name: string): string => path.join(target, source, name);
const text = (name: string): string => readFileSync(at(name), 'utf8');

test('never keeps what differs and fills what is missing', async () => {
  const document = await restoreInline(repository, target, { overwrite: 'never' });
  expect(document).toMatchObject({ status: 'partial', files: { restored: 5, skipped: 2, failed: 0 }, damaged: [] });
  expect(document.warnings.map((warning) => warning.code)).toContain('Kept');
  expect(text('longer')).toBe('content of longer, and more');
  expect(text('other')).toBe('CONTENT OF OTHER');
  expect(text('gone')).toBe('content of gone');
  expect(lstatSync(at('touched')).mtimeMs).toBe(1000);
  expect(lstatSync(at('link')).isSymbolicLink()).toBe(true);
});

test.each(['changed', 'always'] as const)(
  '%s makes everything as in the snapshot and leaves other files alone',
  async (overwrite) => {
    const inode = lstatSync(at('same')).ino;
    const document = await restoreInline(repository, target, { overwrite });
    expect(document).toMatchObject({ status: 'succeeded', files: { restored: 7, skipped: 0, failed: 0 } });
    for (const name of ['same', 'touched', 'longer', 'other', 'gone', 'sub/deep']) {
      expect(text(name)).toBe(`content of ${name}`);
      expect(lstatSync(at(name), { bigint: true }).mtimeNs).toBe(
        lstatSync(path.join(source, name), { bigint: true }).mtimeNs,
      );
    }
    expect(text('mine')).toBe('not from the snapshot');
    expect(text('link')).toBe('content of same');
    expect(lstatSync(at('same')).ino === inode).toBe(overwrite === 'changed');
  },
);

test('a directory in the place of a file is never removed', async () => {
  rmSync(at('same'));
  mkdirSync(at('same'));
  const document = await restoreInline(repository, target, { overwrite: 'always' });
  expect(document).toMatchObject({ status: 'partial', files: { failed: 1 } });
  expect(lstatSync(at('same')).isDirectory()).toBe(true);
});

test('paths choose files and directories, with the directories that lead there', async () => {
  const into = path.join(folder, 'chosen');
  const paths = [path.join(source, 'sub'), `${path.join(source, 'big')}`];
  const document = await restoreInline(repository, into, { paths });
  expect(document).toMatchObject({ status: 'succeeded', files: { restored: 2 } });
  expect(readFileSync(path.join(into, source, 'sub/deep'), 'utf8')).toBe('content of sub/deep');
  expect(existsSync(path.join(into, source, 'same'))).toBe(false);
  expect(lstatSync(path.join(into, source), { bigint: true }).mtimeNs).toBe(
    lstatSync(source, { bigint: true }).mtimeNs,
  );
});

test('a path the snapshot does not have is refused before anything is written', async () => {
  const into = path.join(folder, 'nothing');
  const wanted = restoreInline(repository, into, { paths: [path.join(source, 'sub'), path.join(source, 'su')] });
  await expect(wanted).rejects.toMatchObject({ code: 'PathUnknown' });
  expect(existsSync(into)).toBe(false);
  await expect(restoreInline(repository, into, { paths: ['relative'] })).rejects.toMatchObject({
    code: 'UsageInvalid',
  });
  await expect(restoreInline(repository, into, { snapshot: 'ffff' })).rejects.toMatchObject({
    code: 'SnapshotUnknown',
  });
});

test('a hardlink whose first name is not wanted comes as a file of its own', async () => {
  linkSync(path.join(source, 'same'), path.join(source, 'sub/linked-1'));
  linkSync(path.join(source, 'same'), path.join(source, 'sub/linked-2'));
  await repository.backup([source]);
  const into = path.join(folder, 'linked');
  const document = await restoreInline(repository, into, { paths: [path.join(source, 'sub')] });
  expect(document).toMatchObject({ status: 'succeeded', files: { restored: 3 } });
  const [one, two] = [1, 2].map((n) => lstatSync(path.join(into, source, `sub/linked-${n}`)));
  expect(one?.ino).toBe(two?.ino);
  expect(readFileSync(path.join(into, source, 'sub/linked-2'), 'utf8')).toBe('content of same');
});
