import fc from 'fast-check';
import type { Entry } from '../../src/repository/entry.js';
import type { IndexPack } from '../../src/repository/index-file.js';
import type { Root } from '../../src/repository/root.js';

const hexDigits = '0123456789abcdef'.split('');
export const hex = (length: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...hexDigits), { minLength: length, maxLength: length }).map((digits) => digits.join(''));
export const chunk = hex(64);
const decimal = fc.bigInt({ min: 0n, max: 10n ** 19n }).map(String);
const signed = fc.bigInt({ min: -(10n ** 18n), max: 10n ** 18n }).map(String);
const unsigned32 = fc.nat({ max: 0xffffffff });
const base64 = fc.uint8Array({ minLength: 1, maxLength: 30 }).map((bytes) => Buffer.from(bytes).toString('base64'));
// Lone surrogates stand in no path that is valid UTF-8.
const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 });
const path = fc.oneof(
  text.map((name) => ({ path: `/${name}` })),
  base64.map((name) => ({ path64: name })),
);
const optional = <T>(value: fc.Arbitrary<T>, key: string): fc.Arbitrary<Record<string, T>> =>
  fc.option(value, { nil: undefined }).map((one) => (one === undefined ? {} : { [key]: one }));

/** Well-formed manifest entries of every type. */
export const entry: fc.Arbitrary<Entry> = fc
  .tuple(
    path,
    fc.record({
      mode: fc.nat({ max: 0o7777 }),
      uid: unsigned32,
      gid: unsigned32,
      mtime: signed,
      ctime: signed,
      inode: decimal,
    }),
    optional(text, 'user'),
    optional(text, 'group'),
    fc.oneof(
      fc.constantFrom({ type: 'dir' }, { type: 'fifo' }, { type: 'socket' }),
      fc.record({ type: fc.constantFrom('char', 'block'), rdev: decimal }),
      fc.record({ type: fc.constant('symlink'), target: text }),
      fc.record({ type: fc.constant('symlink'), target64: base64 }),
      fc.record(
        {
          type: fc.constant('file'),
          size: decimal,
          recheck: fc.constant(true),
          changed: fc.constant(true),
          hardlink: text,
          xattrs: fc.array(fc.tuple(text, base64), { minLength: 1, maxLength: 3 }),
          holes: fc.array(fc.tuple(decimal, decimal), { minLength: 1, maxLength: 3 }),
          chunks: fc.array(chunk, { maxLength: 4 }),
        },
        { requiredKeys: ['type', 'size', 'chunks'] },
      ),
    ),
  )
  .map((parts) => Object.assign({}, ...parts) as Entry);

/** One pack as an index lists it, its chunks inside its tar. */
export const indexPack: fc.Arbitrary<IndexPack> = fc
  .record({
    pack: chunk,
    kind: fc.constantFrom('data', 'manifest'),
    generation: fc.uuid(),
    size: fc.nat({ max: 40_000_000 }),
    chunks: fc.array(fc.tuple(chunk, fc.nat({ max: 1_000_000 }), fc.nat({ max: 1_000_000 })), { maxLength: 5 }),
  })
  .map((pack): IndexPack => ({ ...pack, plain: 2_000_000 }));

/** A root that names what it is given. */
export function makeRoot(change: Partial<Root> = {}): Root {
  return {
    format: 1,
    id: '00112233445566aa',
    repository: '0f8fad5b-d9cb-469f-a165-70867728950e',
    host: 'web-1',
    job: 'site',
    seq: 1,
    run: 'backup/web-1/site/1',
    time: '2026-01-02T03:04:05.000Z',
    endedAt: '2026-01-02T03:05:05.000Z',
    mode: 'full',
    generation: 'g',
    indexes: ['0000000000000001'],
    complete: true,
    files: 1,
    bytes: 10,
    sources: [
      {
        name: 'www',
        type: 'files',
        paths: ['/srv/www'],
        complete: true,
        files: 1,
        entries: 2,
        bytes: 10,
        unreadable: 0,
        manifest: [{ chunk: 'a'.repeat(64), path: '/srv/www' }],
      },
    ],
    config: {},
    version: '0.1.0',
    ...change,
  };
}
