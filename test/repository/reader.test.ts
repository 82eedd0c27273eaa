import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { diff, find, listSnapshots, ls, resolveSnapshot } from '../../src/control/snapshots.js';
import { comparePaths } from '../../src/platform/paths.js';
import { Catalog } from '../../src/repository/catalog.js';
import { packName } from '../../src/repository/layout.js';
import {
  isWithin,
  type PackProblem,
  PackReader,
  partPath,
  partsAt,
  partsWithin,
  readManifest,
} from '../../src/repository/reader.js';
import type { Root } from '../../src/repository/root.js';
import { syncFrom } from '../../src/repository/sync.js';
import { TestRepository } from '../support/make-repository.js';

let folder: string;
let source: string;
let repository: TestRepository;
let first: Root;
let second: Root;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-reader-'));
  source = path.join(folder, 'source');
  for (let d = 0; d < 20; d++) {
    mkdirSync(path.join(source, `d${d}`), { recursive: true });
    for (let i = 0; i < 50; i++) writeFileSync(path.join(source, `d${d}/f${i}.txt`), `${d} ${i}`);
  }
  repository = await TestRepository.create({ folder, destinations: ['nas', 'offsite'] });
  first = await repository.backup([source], new Date('2026-01-01T03:00:00Z'));
  writeFileSync(path.join(source, 'd3/f7.txt'), 'changed');
  writeFileSync(path.join(source, 'd3/new.txt'), 'new');
  rmSync(path.join(source, 'd4/f0.txt'));
  second = await repository.backup([source], new Date('2026-01-02T03:00:00Z'));
});
afterAll(() => {
  repository.close();
  rmSync(folder, { recursive: true, force: true });
});

const collect = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
};
const reader = (problems: PackProblem[] = []): PackReader =>
  new PackReader({ key: repository.key, stores: repository.stores, onProblem: (problem) => problems.push(problem) });

test('a pack is taken from the next destination, and each that failed is named', async () => {
  const pack = repository.packs('data')[0]!;
  // Destinations on one disk may share the file.
  rmSync(repository.objectPath('nas', packName(pack)));
  writeFileSync(repository.objectPath('nas', packName(pack)), randomBytes(100));
  const problems: PackProblem[] = [];
  await reader(problems).open(pack);
  expect(problems).toEqual([expect.objectContaining({ destination: 'nas', pack, kind: 'damaged' })]);
  rmSync(repository.objectPath('nas', packName(pack)));
  await reader(problems).open(pack);
  expect(problems[1]).toMatchObject({ destination: 'nas', pack, kind: 'missing' });
  const lost = new PackReader({ key: repository.key, stores: repository.stores.slice(0, 1) }).open(pack);
  await expect(lost).rejects.toMatchObject({ code: 'ObjectMissing', message: expect.stringContaining(pack) });
});

test('reading below a path gives all of it and few other chunks', async () => {
  const below = path.join(source, 'd11');
  const all = await collect(readManifest(reader(), repository.catalog, second, 'files'));
  const some = await collect(readManifest(reader(), repository.catalog, second, 'files', { from: below }));
  const within = (lines: string[]): string[] =>
    lines.filter((line) => isWithin((JSON.parse(line) as { path: string }).path, below));
  expect(within(some)).toEqual(within(all));
  expect(within(all)).toHaveLength(51);
  expect(some.length).toBeLessThan(all.length / 4);
});

test('no entry is ever in a part that is left out', () => {
  const component = fc.constantFrom('a', 'b', 'a-', 'a.', 'aa', '\u00e9', '\u{1F600}');
  const somePath = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.join('/')}`);
  fc.assert(
    fc.property(
      fc.uniqueArray(somePath, { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 1, max: 7 }),
      somePath,
      (paths, size, wanted) => {
        const sorted = [...paths].sort(comparePaths);
        const parts = sorted.filter((_, at) => at % size === 0).map((one) => ({ chunk: one, path: one }));
        const partOf = (one: string): string =>
          parts.filter((part) => comparePaths(partPath(part), one) <= 0).at(-1)!.path;
        const within = new Set(partsWithin(parts, wanted).map((part) => part.path));
        for (const one of sorted) if (isWithin(one, wanted)) expect(within.has(partOf(one))).toBe(true);
        for (const one of sorted) expect(partsAt(parts, one).map((part) => part.path)).toEqual([partOf(one)]);
      },
    ),
  );
});

test('snapshots are listed and found by id, its beginning, time, and latest', () => {
  const { catalog } = repository;
  expect(listSnapshots(catalog)).toEqual([
    expect.objectContaining({
      id: second.id,
      job: 'job',
      destinations: ['nas', 'offsite'],
      pinned: false,
      complete: true,
      files: 1000,
    }),
    expect.objectContaining({ id: first.id, mode: 'full', time: '2026-01-01T03:00:00.000Z' }),
  ]);
  expect(resolveSnapshot(catalog, 'latest').id).toBe(second.id);
  expect(resolveSnapshot(catalog, first.id).id).toBe(first.id);
  expect(resolveSnapshot(catalog, first.id.slice(0, 12)).id).toBe(first.id);
  expect(resolveSnapshot(catalog, '2026-01-01').id).toBe(first.id);
  expect(resolveSnapshot(catalog, '2026-01-02T03:00:00Z').id).toBe(second.id);
  for (const unknown of ['2025-12-31', 'nothing', '']) {
    expect(() => resolveSnapshot(catalog, unknown)).toThrow(expect.objectContaining({ code: 'SnapshotUnknown' }));
  }
});

test('ls shows one level or all', async () => {
  const browser = { catalog: repository.catalog, reader: reader() };
  const paths = async (at: string | undefined, recursive = false): Promise<string[]> =>
    (await collect(ls(browser, second, at, { recursive }))).map((entry) => entry.path);
  expect(await paths(undefined)).toEqual([source]);
  expect(await paths(source)).toHaveLength(20);
  expect(await paths(`${source}/d3/`)).toHaveLength(51);
  expect(await paths(source, true)).toHaveLength(20 + 1000);
  expect(await paths(path.join(source, 'd3/new.txt'))).toEqual([path.join(source, 'd3/new.txt')]);
  await expect(paths('/nowhere')).rejects.toMatchObject({ code: 'PathUnknown' });
});

test('find goes by name or path, over several snapshots', async () => {
  const browser = { catalog: repository.catalog, reader: reader() };
  const found = await collect(find(browser, [second, first], 'f7.txt', { unique: true }));
  expect(found).toHaveLength(21);
  expect(found.filter((entry) => entry.path.endsWith('/d3/f7.txt')).map((entry) => entry.snapshot)).toEqual([
    second.id,
    first.id,
  ]);
  expect(await collect(find(browser, [second], `${source}/d3/N*.txt`, { ignoreCase: true }))).toHaveLength(1);
});

test('diff tells added, removed, changed', async () => {
  const browser = { catalog: repository.catalog, reader: reader() };
  expect(await collect(diff(browser, first, second))).toEqual([
    {
      path: `${source}/d3/f7.txt`,
      change: 'changed',
      type: 'file',
      what: ['content', 'mtime'],
      size: { before: 3, after: 7 },
    },
    { path: `${source}/d3/new.txt`, change: 'added', type: 'file', size: { after: 3 } },
    { path: `${source}/d4/f0.txt`, change: 'removed', type: 'file', size: { before: 3 } },
  ]);
});

test('a new host sees the same with an empty catalog', async () => {
  const catalog = new Catalog(path.join(folder, 'new-host.db'));
  await syncFrom(repository.stores[1]!, repository.key, catalog);
  expect(listSnapshots(catalog).map((one) => [one.id, one.destinations])).toEqual([
    [second.id, ['offsite']],
    [first.id, ['offsite']],
  ]);
  expect(await collect(ls({ catalog, reader: reader() }, first, `${source}/d4`))).toHaveLength(50);
  catalog.close();
});
