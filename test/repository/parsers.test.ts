import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DeletionRecord, parseDeletion } from '../../src/repository/deletions.js';
import { entryHead, entryLine, parseEntry } from '../../src/repository/entry.js';
import { type IndexPack, indexPackLine, parseIndex } from '../../src/repository/index-file.js';
import {
  compactTime,
  deletionIdOf,
  deletionName,
  indexIdOf,
  indexName,
  newObjectId,
  packHashOf,
  packName,
  snapshotIdOf,
  snapshotName,
} from '../../src/repository/layout.js';
import { parseRoot, rootBytes } from '../../src/repository/root.js';
import { chunk, entry, indexPack, makeRoot } from './arbitraries.js';

const refused = expect.objectContaining({ name: 'HoldfastError', code: 'IntegrityMismatch', retryable: false });

/** Whatever `run` throws is IntegrityMismatch. */
function onlyRefuses(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    expect(error).toEqual(refused);
  }
}

/** `value` with one of its members, at any depth, replaced. */
const broken = (value: object): fc.Arbitrary<unknown> => {
  const places: (string | number)[][] = [];
  const visit = (node: unknown, at: (string | number)[]): void => {
    if (at.length > 0) places.push(at);
    if (typeof node !== 'object' || node === null) return;
    for (const [key, member] of Object.entries(node)) visit(member, [...at, Array.isArray(node) ? Number(key) : key]);
  };
  visit(value, []);
  return fc.tuple(fc.constantFrom(...places), fc.oneof(fc.jsonValue(), fc.constant(undefined))).map(([at, member]) => {
    const copy = structuredClone(value);
    let node: unknown = copy;
    for (const key of at.slice(0, -1)) node = Reflect.get(node as object, key);
    Reflect.set(node as object, at.at(-1)!, member);
    return copy;
  });
};

describe('manifest entries', () => {
  test('come back as they were, in one canonical line that begins with its head', () => {
    fc.assert(
      fc.property(entry, (value) => {
        const line = entryLine(value);
        expect(line).not.toContain('\n');
        expect(parseEntry(line)).toEqual(value);
        expect(entryLine(parseEntry(line))).toBe(line);
        expect(line.startsWith(entryHead(value))).toBe(true);
        // The order in which a caller happened to set the keys does not show.
        expect(entryLine(Object.fromEntries(Object.entries(value).reverse()) as typeof value)).toBe(line);
      }),
      { numRuns: 400 },
    );
  });

  test('heads of different metadata are different', () => {
    fc.assert(
      fc.property(entry, entry, (a, b) => {
        const { chunks: _, holes: __, xattrs: ___, ...metadata } = a;
        fc.pre(entryLine(a) !== entryLine(b));
        expect(entryHead(a) === entryHead(b)).toBe(entryHead(b) === entryHead(metadata));
      }),
      { numRuns: 50 },
    );
  });

  test('what is malformed is refused, and nothing else is thrown', () => {
    fc.assert(
      fc.property(fc.string(), (text) => onlyRefuses(() => parseEntry(text))),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.jsonValue(), (value) => onlyRefuses(() => parseEntry(JSON.stringify(value)))),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(
        entry.chain((value) => broken(value)),
        (value) => onlyRefuses(() => parseEntry(JSON.stringify(value))),
      ),
      { numRuns: 500 },
    );
  });

  const file = {
    path: '/a',
    type: 'file',
    mode: 420,
    uid: 0,
    gid: 0,
    size: '1',
    mtime: '1',
    ctime: '1',
    inode: '1',
    chunks: [],
  };
  test.each<[string, Record<string, unknown>]>([
    ['both path and path64', { path64: 'YQ==' }],
    ['no path', { path: undefined }],
    ['an empty path', { path: '' }],
    ['an unknown type', { type: 'door' }],
    ['a fractional mode', { mode: 1.5 }],
    ['a negative owner', { uid: -1 }],
    ['a numeric mtime', { mtime: 1 }],
    ['a giant mtime', { mtime: '1'.repeat(40) }],
    ['a negative size', { size: '-1' }],
    ['a file without chunks', { chunks: undefined }],
    ['a short chunk id', { chunks: ['ab'] }],
    ['an upper-case chunk id', { chunks: ['A'.repeat(64)] }],
    ['a symlink without target', { type: 'symlink' }],
    ['a negative hole', { holes: [['-1', '5']] }],
    ['a numeric hole', { holes: [[1, 5]] }],
    ['a user that is a number', { user: 5 }],
    ['a mark that is not true', { changed: 'yes' }],
    ['xattrs that are no pairs', { xattrs: [['a']] }],
  ])('refuses %s', (_, change) => {
    expect(() => parseEntry(JSON.stringify({ ...file, ...change }))).toThrow(refused);
    expect(parseEntry(JSON.stringify(file))).toEqual(file);
  });
});

describe('indexes', () => {
  const read = (text: string): IndexPack[] => [...parseIndex(Buffer.from(text), 'nas: index/x.ndjson')];

  test('come back as they were', () => {
    fc.assert(
      fc.property(fc.array(indexPack, { maxLength: 5 }), (packs) => {
        expect(read(packs.map((pack) => `${indexPackLine(pack)}\n`).join(''))).toEqual(packs);
      }),
      { numRuns: 100 },
    );
  });

  test('what is malformed is refused by name and line', () => {
    fc.assert(
      fc.property(
        indexPack.chain((pack) => broken(pack)),
        (pack) => onlyRefuses(() => read(`${JSON.stringify(pack)}\n`)),
      ),
      { numRuns: 400 },
    );
    fc.assert(
      fc.property(fc.jsonValue(), (value) => onlyRefuses(() => read(JSON.stringify(value)))),
      { numRuns: 200 },
    );
    fc.assert(fc.property(fc.uint8Array(), (bytes) => onlyRefuses(() => [...parseIndex(Buffer.from(bytes), 'x')])));
    const [good] = fc.sample(indexPack, { numRuns: 1, seed: 1 });
    expect(() => read(`${JSON.stringify(good)}\n{}\n`)).toThrow(/nas: index\/x\.ndjson line 2/);
  });

  test('a chunk that would lie outside of its pack is refused', () => {
    const pack = { pack: 'a'.repeat(64), kind: 'data', generation: 'g', size: 10, plain: 1000 };
    const id = 'b'.repeat(64);
    expect(read(JSON.stringify({ ...pack, chunks: [[id, 512, 488]] }))).toHaveLength(1);
    for (const place of [
      [id, 512, 489],
      [id, 1001, 0],
      [id, -1, 5],
      [id, 0, -5],
      [id, 0.5, 1],
      [id, 0],
    ]) {
      expect(() => read(JSON.stringify({ ...pack, chunks: [place] }))).toThrow(refused);
    }
    expect(() => read(JSON.stringify({ ...pack, plain: 2 ** 40, chunks: [] }))).toThrow(refused);
  });
});

describe('roots', () => {
  const root = makeRoot({ previous: { id: '0011223344556677', sha256: 'c'.repeat(64) }, pinned: true });
  test('come back as they were', () => {
    expect(parseRoot(rootBytes(root), 'x')).toEqual(root);
  });

  test('what is malformed is refused by name, and what passes is safe to read', () => {
    fc.assert(
      fc.property(broken(root), (value) => {
        onlyRefuses(() => {
          const parsed = parseRoot(Buffer.from(JSON.stringify(value)), 'nas: snapshots/x.json');
          // What readers do with one: none of it may throw.
          new Date(parsed.time).toISOString();
          for (const source of parsed.sources) {
            for (const path of source.paths) path.startsWith('/');
            for (const part of source.manifest) Buffer.from(part.path64 ?? part.path ?? '', 'utf8');
          }
          parsed.indexes.map(indexName);
          expect(typeof parsed.complete).toBe('boolean');
        });
      }),
      { numRuns: 800 },
    );
    fc.assert(fc.property(fc.uint8Array(), (bytes) => onlyRefuses(() => parseRoot(Buffer.from(bytes), 'x'))));
    expect(() => parseRoot(Buffer.from('null'), 'nas: snapshots/x.json')).toThrow(/nas: snapshots\/x\.json/);
    expect(() => parseRoot(rootBytes({ ...root, format: 2 as 1 }), 'x')).toThrow(/format 2/);
    expect(() => parseRoot(rootBytes({ ...root, indexes: ['../../x'] }), 'x')).toThrow(refused);
    const [source] = root.sources;
    const part = `{"chunk":"${'a'.repeat(64)}","path":""}`;
    const one = rootBytes({ ...root, sources: source ? [{ ...source, manifest: [] }] : [] }).toString();
    const huge = Buffer.from(one.replace('"manifest":[]', `"manifest":[${`${part},`.repeat(1_000_000)}${part}]`));
    expect(() => parseRoot(huge, 'x')).toThrow(/more than 1,000,000 manifest chunks/);
    expect(() => parseRoot(rootBytes({ ...root, complete: 1 as unknown as boolean }), 'x')).toThrow(refused);
  });
});

describe('deletion records', () => {
  const record: DeletionRecord = {
    format: 1,
    id: '00112233445566aa',
    time: '2026-01-01T00:00:00.000Z',
    snapshots: [{ id: '0011223344556677', seq: 3, sha256: 'c'.repeat(64) }],
    packs: ['a'.repeat(64)],
    indexes: ['0011223344556678'],
  };
  const read = (value: unknown): DeletionRecord =>
    parseDeletion(Buffer.from(JSON.stringify(value)), 'nas: deletions/x.json');

  test('come back as they were; what is malformed is refused', () => {
    expect(read(record)).toEqual(record);
    fc.assert(
      fc.property(broken(record), (value) =>
        onlyRefuses(() => {
          const parsed = read(value);
          for (const { id, seq, sha256 } of parsed.snapshots) `${id}${seq}${sha256}`;
          expect(Number.isNaN(Date.parse(parsed.time))).toBe(false);
        }),
      ),
      { numRuns: 400 },
    );
    for (const change of [{ packs: ['../../etc'] }, { indexes: ['x'] }, { snapshots: [null] }, { time: 'yesterday' }]) {
      expect(() => read({ ...record, ...change })).toThrow(refused);
    }
  });
});

describe('names', () => {
  test('give their ids back, and nothing else does', () => {
    fc.assert(
      fc.property(
        chunk,
        fc.date({ min: new Date(0), max: new Date('9999-12-31'), noInvalidDate: true }),
        (hash, time) => {
          const id = newObjectId();
          expect(packHashOf(packName(hash))).toBe(hash);
          expect(snapshotIdOf(snapshotName(time, id))).toBe(id);
          expect(indexIdOf(indexName(id))).toBe(id);
          expect(deletionIdOf(deletionName(id))).toBe(id);
          for (const name of [packName(hash), indexName(id), deletionName(id)])
            expect(snapshotIdOf(name)).toBeUndefined();
          for (const wrong of [
            `${packName(hash)}x`,
            `x${packName(hash)}`,
            `packs/${hash}`,
            `packs/${hash.slice(1, 3)}0/${hash}`,
          ]) {
            expect(packHashOf(wrong)).toBeUndefined();
          }
        },
      ),
    );
    expect(packHashOf(`packs/00/${'f'.repeat(64)}`)).toBeUndefined();
    expect(compactTime(new Date('2026-11-22T03:00:00.123Z'))).toBe('20261122T030000Z');
  });
});
