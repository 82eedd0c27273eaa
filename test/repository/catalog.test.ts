import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Catalog } from '../../src/repository/catalog.js';
import { ChunkFilter } from '../../src/repository/chunk-filter.js';
import type { IndexPack } from '../../src/repository/index-file.js';
import { packName } from '../../src/repository/layout.js';
import { Scope } from '../../src/repository/scope.js';
import { chunk, makeRoot } from './arbitraries.js';

let folder: string;
let catalog: Catalog;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-catalog-'));
  catalog = new Catalog(path.join(folder, 'deep', 'site.db'));
});
afterEach(() => {
  catalog.close();
  rmSync(folder, { recursive: true, force: true });
});

const id = (letter: string): string => letter.repeat(64);
const pack = (letter: string, chunks: string[], change: Partial<IndexPack> = {}): IndexPack => ({
  pack: id(letter),
  kind: 'data',
  generation: 'g1',
  size: 1000,
  plain: 5000,
  chunks: chunks.map((each, at) => [id(each), 512 * (2 * at + 1), 10 + at]),
  ...change,
});

const packsIn = (index: string): (IndexPack | undefined)[] =>
  catalog.packsOf(index).map((row) => catalog.indexPack(row.hash));

describe('Catalog', () => {
  test('gives an index back as it came, packs and chunks in their order', () => {
    const packs = [pack('a', ['1', '2', '3']), pack('b', [], { kind: 'manifest' }), pack('c', ['3'])];
    catalog.addPacks('i1', packs);
    expect(packsIn('i1')).toEqual(packs);
    expect(catalog.indexes()).toEqual(['i1']);
    expect(catalog.locate(id('3')).map(({ row, at, length }) => [row.hash, at, length])).toEqual([
      [id('a'), 512 * 5, 12],
      [id('c'), 512, 10],
    ]);
    expect(catalog.locate(id('9'))).toEqual([]);
  });

  test('a pack may stand in several indexes; it goes with the last of them', () => {
    catalog.addPacks('i1', [pack('a', ['1']), pack('b', ['2'])]);
    catalog.addPacks('i2', [pack('a', ['1'])]);
    catalog.listPacks('i3', [id('a'), id('f')]);
    const number = catalog.locate(id('1'))[0]?.row.no ?? -1;
    expect(catalog.indexesOf(number).sort()).toEqual(['i1', 'i2', 'i3']);
    catalog.unlist('i1', [id('a'), id('b'), id('f')]);
    expect(catalog.packNumber(id('b'))).toBeUndefined();
    expect(catalog.locate(id('2'))).toEqual([]);
    expect(catalog.locate(id('1'))).toHaveLength(1);
    catalog.unlist('i2', [id('a')]);
    expect(catalog.packsOf('i3').map((row) => row.hash)).toEqual([id('a')]);
    catalog.unlist('i3', [id('a')]);
    expect(catalog.locate(id('1'))).toEqual([]);
    expect(catalog.indexes()).toEqual([]);
  });

  test('adding the same again changes nothing', () => {
    for (let i = 0; i < 2; i++) catalog.addPacks('i1', [pack('a', ['1', '2'])]);
    expect(packsIn('i1')).toEqual([pack('a', ['1', '2'])]);
  });

  test('an index that breaks half-way adds nothing', () => {
    const bad = function* (): Generator<IndexPack> {
      yield pack('a', ['1']);
      throw new Error('line 2');
    };
    expect(() => catalog.addPacks('i1', bad())).toThrow('line 2');
    expect(catalog.packNumber(id('a'))).toBeUndefined();
    expect(catalog.indexes()).toEqual([]);
  });

  test('presence is what the last listing said, per destination', () => {
    catalog.setPresence(
      'nas',
      new Map([
        [packName(id('a')), 5],
        [packName(id('b')), 6],
      ]),
    );
    catalog.setPresence('offsite', new Map([[packName(id('a')), 5]]));
    expect(catalog.holders(packName(id('a'))).sort()).toEqual(['nas', 'offsite']);
    catalog.setPresence('nas', new Map([[packName(id('b')), 7]]));
    expect(catalog.holders(packName(id('a')))).toEqual(['offsite']);
    expect(catalog.presence('nas')).toEqual(new Map([[packName(id('b')), 7]]));
    catalog.addPresence('nas', 'x', 1);
    catalog.dropPresence('nas', packName(id('b')));
    expect(catalog.presence('nas')).toEqual(new Map([['x', 1]]));
    catalog.setPresence('nas', new Map());
    expect(catalog.holders('x')).toEqual([]);
    expect(catalog.presence('offsite').size).toBe(1);
  });

  test('snapshots by seq, newest first; marks replaced; all forgotten by clear', () => {
    for (const seq of [2, 10, 9]) {
      const root = makeRoot({ id: `000000000000000${seq % 10}`, seq });
      catalog.putSnapshot({ id: root.id, seq, name: `snapshots/${seq}`, sha256: 'x', root });
    }
    expect(catalog.snapshots().map((row) => row.seq)).toEqual([10, 9, 2]);
    expect(catalog.snapshot('0000000000000009')?.root.seq).toBe(9);
    catalog.dropSnapshot('0000000000000009');
    expect(catalog.snapshotIds()).toEqual(new Set(['0000000000000000', '0000000000000002']));
    catalog.setMarks([id('a')]);
    catalog.setMarks([id('b'), id('b')]);
    expect([catalog.isMarked(id('a')), catalog.isMarked(id('b'))]).toEqual([false, true]);
    catalog.addPacks('i1', [pack('a', ['1'])]);
    catalog.set('seq', '4');
    catalog.clear();
    expect([
      catalog.get('seq'),
      catalog.snapshots(),
      catalog.indexes(),
      catalog.locate(id('1')),
      catalog.isMarked(id('b')),
    ]).toEqual([undefined, [], [], [], false]);
  });

  test('another connection sees what was written; the folder is private', () => {
    catalog.addPacks('i1', [pack('a', ['1'])]);
    const second = new Catalog(catalog.file);
    try {
      expect(second.packNumber(id('a'))).toBeDefined();
      second.addPacks('i2', [pack('b', ['2'])]);
      expect(catalog.locate(id('2'))).toHaveLength(1);
    } finally {
      second.close();
    }
    expect(statSync(path.dirname(catalog.file)).mode & 0o777).toBe(0o700);
  });
});

describe('Scope', () => {
  beforeEach(() => {
    catalog.addPacks('i1', [pack('a', ['1', '2'])]);
    catalog.addPacks('i2', [pack('b', ['2', '3'])]);
    catalog.setPresence('nas', new Map([[packName(id('a')), 1000]]));
  });
  const packs = (scope: Scope, chunkId: string): string[] => scope.locate(chunkId).map((place) => place.pack);

  test('chunks resolve in its indexes and nowhere else', () => {
    const reader = new Scope(catalog, ['i1'], undefined, false);
    expect(packs(reader, id('2'))).toEqual([id('a')]);
    expect([reader.has(id('1')), reader.has(id('3')), reader.has(id('9'))]).toEqual([true, false, false]);
    expect(packs(new Scope(catalog, ['i1', 'i2'], undefined, false), id('2')).sort()).toEqual([id('a'), id('b')]);
    expect(new Scope(catalog, [], undefined, false).has(id('1'))).toBe(false);
  });

  test('a writer relies only on packs that are stored, unmarked, or its own', () => {
    const writer = (own?: string): Scope => new Scope(catalog, ['i1', 'i2'], own, true);
    expect([writer().has(id('1')), writer().has(id('3'))]).toEqual([true, false]);
    expect(new Scope(catalog, ['i1'], 'i2', true).has(id('3'))).toBe(true);
    catalog.setMarks([id('a')]);
    expect([writer().has(id('1')), writer().has(id('2'))]).toEqual([false, false]);
    expect(writer('i1').has(id('1'))).toBe(true);
  });

  test('a place tells offset and length', () => {
    expect(new Scope(catalog, ['i1'], undefined, false).locate(id('2'))).toEqual([
      { pack: id('a'), offset: 1536, length: 11 },
    ]);
  });
});

describe('ChunkFilter', () => {
  test('never denies what was added, and rarely claims what was not', () => {
    const filter = ChunkFilter.for(10);
    const shared = new ChunkFilter(filter.memory);
    const added = fc.sample(chunk, { numRuns: 3000, seed: 1 });
    for (const each of added) filter.add(each);
    expect(added.every((each) => shared.mayHave(each))).toBe(true);
    const others = fc.sample(chunk, { numRuns: 3000, seed: 2 });
    expect(others.filter((each) => filter.mayHave(each)).length).toBeLessThan(30);
  });

  test('is as large as it has to be', () => {
    const bytes = [0, 10, 500_000, 600_000, 5_000_000, 1e9].map((chunks) => ChunkFilter.for(chunks).memory.byteLength);
    expect(bytes).toEqual([1, 1, 1, 2, 16, 16].map((mebibytes) => mebibytes << 20));
  });

  test('a claim is no proof: the catalog is asked', () => {
    catalog.filter = ChunkFilter.for(10);
    catalog.filter.add(id('7'));
    catalog.addPacks('i3', [pack('c', ['4'])]);
    catalog.setPresence('nas', new Map([[packName(id('c')), 1000]]));
    const scope = new Scope(catalog, ['i3'], undefined, true);
    expect([scope.has(id('7')), scope.has(id('4'))]).toEqual([false, true]);
  });

  test('filled from the catalog it knows all of it', () => {
    catalog.addPacks('i1', [pack('a', ['1', '2'])]);
    const filter = ChunkFilter.for(10);
    catalog.fill(filter);
    expect([filter.mayHave(id('1')), filter.mayHave(id('2')), filter.mayHave(id('9'))]).toEqual([true, true, false]);
  });
});
