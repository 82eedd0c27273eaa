import { createHash, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { destinationOfUrl } from '../../src/config/destination-url.js';
import { HoldfastError } from '../../src/errors.js';
import { compress, decompress } from '../../src/repository/codec.js';
import { type DeletionRecord, parseDeletion } from '../../src/repository/deletions.js';
import { entryLine, entryPathBytes, parseEntry } from '../../src/repository/entry.js';
import { indexPackLine, parseIndex } from '../../src/repository/index-file.js';
import { keyLines, parseKeyLines } from '../../src/repository/key-sheet.js';
import { createKeyFile, createRsaKeyFile, isBearable, keyFileBytes, parseKeyFile } from '../../src/repository/keys.js';
import { indexName } from '../../src/repository/layout.js';
import { eachLine, splitLines } from '../../src/repository/lines.js';
import { messageLength } from '../../src/repository/message-length.js';
import { PackBuilder } from '../../src/repository/pack-writer.js';
import { chunkAt } from '../../src/repository/reader.js';
import { parseRoot, rootBytes } from '../../src/repository/root.js';
import { readPublicKey } from '../../src/repository/rsa.js';
import { type AesKey, openBytes, sealBytes } from '../../src/repository/seal.js';
import { parseUntrusted } from '../../src/repository/untrusted-json.js';
import { entry, indexPack, makeRoot } from '../repository/arbitraries.js';

/**
 * Readers get what strangers may have written: whatever it is, they refuse it with IntegrityMismatch or give something that is safe
 * to use, in bounded time and memory. Each property runs this often:
 */
const runs = Number(process.env.HOLDFAST_FUZZ_RUNS ?? 400);
const timeout = 120_000 + runs * 60;

const isRefusal = (error: unknown, ...codes: string[]): boolean =>
  error instanceof HoldfastError && ['IntegrityMismatch', ...codes].includes(error.code) && !error.retryable;

function onlyRefuses(read: () => unknown, ...codes: string[]): void {
  try {
    read();
  } catch (error) {
    if (!isRefusal(error, ...codes)) throw error;
  }
}

const nasty = [
  '[',
  '{"a":',
  '[[[[[[[[',
  '"',
  '\\',
  '\n',
  '\0',
  '1e999',
  '-0',
  '1e400',
  '99999999999999999999',
  'null',
  'true',
  '"__proto__":',
  '"constructor":{"prototype":{}}',
  '../',
  '/',
  '..',
  '\ud800',
  '\u2028',
  '{}',
  '[]',
  '""',
  ',',
  ':',
  '0'.repeat(400),
  '['.repeat(5000),
  '"x":1,'.repeat(300),
].map((text) => Buffer.from(text));

/** Valid bytes with some of them changed, taken out, repeated, or with something nasty put in. */
function mutated(valid: Buffer): fc.Arbitrary<Buffer> {
  const place = fc.nat({ max: Math.max(0, valid.length) });
  const edit = fc.oneof(
    fc.tuple(place, fc.nat({ max: 7 })).map(([at, bit]) => (bytes: Buffer) => {
      const copy = Buffer.from(bytes);
      if (copy.length > 0) copy[at % copy.length] = (copy[at % copy.length] ?? 0) ^ (1 << bit);
      return copy;
    }),
    fc.tuple(place, fc.nat({ max: 200 })).map(
      ([at, count]) =>
        (bytes: Buffer) =>
          Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + count)]),
    ),
    fc.tuple(place, fc.constantFrom(...nasty)).map(
      ([at, text]) =>
        (bytes: Buffer) =>
          Buffer.concat([bytes.subarray(0, at), text, bytes.subarray(at)]),
    ),
    fc.tuple(place, place).map(
      ([from, to]) =>
        (bytes: Buffer) =>
          Buffer.concat([bytes, bytes.subarray(Math.min(from, to), Math.max(from, to))]),
    ),
  );
  return fc
    .array(edit, { minLength: 1, maxLength: 4 })
    .map((edits) => edits.reduce((bytes, next) => next(bytes), valid));
}

/** JSON documents with one member replaced by anything. */
function rebuilt(valid: object): fc.Arbitrary<Buffer> {
  const places: (string | number)[][] = [];
  const visit = (node: unknown, at: (string | number)[]): void => {
    if (at.length > 0) places.push(at);
    if (typeof node !== 'object' || node === null) return;
    for (const [key, member] of Object.entries(node)) visit(member, [...at, Array.isArray(node) ? Number(key) : key]);
  };
  visit(valid, []);
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom<unknown>(undefined, 1e308, -1, 0.5, 2 ** 53, '\0', '../../x', []),
  );
  return fc.tuple(fc.constantFrom(...places), value).map(([at, member]) => {
    const copy = structuredClone(valid);
    let node: unknown = copy;
    for (const key of at.slice(0, -1)) node = Reflect.get(node as object, key);
    Reflect.set(node as object, at.at(-1) ?? '', member);
    return Buffer.from(JSON.stringify(copy));
  });
}

const check = (property: fc.IProperty<[Buffer]>): void => fc.assert(property, { numRuns: runs });
const inputs = (valid: object): fc.Arbitrary<Buffer> =>
  fc.oneof(
    mutated(Buffer.from(JSON.stringify(valid))),
    rebuilt(valid),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  );

const root = makeRoot({ previous: { id: '0011223344556677', sha256: 'c'.repeat(64) }, keyRevision: 3, pinned: true });
const deletion: DeletionRecord = {
  format: 1,
  id: '00112233445566aa',
  time: '2026-01-01T00:00:00.000Z',
  snapshots: [{ id: '0011223344556677', seq: 3, sha256: 'c'.repeat(64) }],
  packs: ['a'.repeat(64)],
  indexes: ['0011223344556678'],
};
const key: AesKey = { repository: '0f8fad5b-d9cb-469f-a165-70867728950e', key: new Uint8Array(32).fill(9) };

describe('whatever is read as', () => {
  test('a root', { timeout }, () => {
    check(
      fc.property(inputs(root), (bytes) =>
        onlyRefuses(() => {
          const parsed = parseRoot(bytes, 'nas: snapshots/x.json');
          // What readers do with one.
          rootBytes(parsed);
          structuredClone(parsed);
          new Date(parsed.time).toISOString();
          for (const index of parsed.indexes) expect(indexName(index)).toMatch(/^index\/[0-9a-f]{16}\.ndjson$/);
          for (const source of parsed.sources) {
            for (const part of source.manifest) expect(part.chunk).toMatch(/^[0-9a-f]{64}$/);
            for (const path of source.paths) expect(typeof path).toBe('string');
          }
        }),
      ),
    );
  });

  test('an index', { timeout }, () => {
    const lines = fc.sample(indexPack, { numRuns: 3, seed: 7 });
    const valid = Buffer.from(lines.map((pack) => `${indexPackLine(pack)}\n`).join(''));
    check(
      fc.property(fc.oneof(mutated(valid), inputs(lines[0] ?? {})), (bytes) =>
        onlyRefuses(() => {
          for (const pack of parseIndex(bytes, 'nas: index/x.ndjson')) {
            expect(pack.pack).toMatch(/^[0-9a-f]{64}$/);
            for (const [id, offset, length] of pack.chunks) {
              expect(id).toMatch(/^[0-9a-f]{64}$/);
              expect(offset >= 0 && length >= 0 && offset + length <= pack.plain).toBe(true);
            }
          }
        }),
      ),
    );
  });

  test('a line of a manifest', { timeout }, () => {
    const samples = fc.sample(entry, { numRuns: 40, seed: 5 });
    const any = fc
      .constantFrom(...samples)
      .chain((one) => fc.oneof(mutated(Buffer.from(entryLine(one))), rebuilt(one)));
    check(
      fc.property(any, (bytes) =>
        onlyRefuses(() => {
          const parsed = parseEntry(bytes.toString('utf8'));
          entryPathBytes(parsed);
          BigInt(parsed.mtime);
          BigInt(parsed.size ?? '0');
          for (const id of parsed.chunks ?? []) expect(id).toMatch(/^[0-9a-f]{64}$/);
          for (const [offset, length] of parsed.holes ?? []) expect(BigInt(offset) + BigInt(length) >= 0n).toBe(true);
        }),
      ),
    );
  });

  test('a deletion record', { timeout }, () => {
    check(
      fc.property(inputs(deletion), (bytes) =>
        onlyRefuses(() => {
          const parsed = parseDeletion(bytes, 'nas: deletions/x.json');
          JSON.stringify(parsed);
          for (const pack of parsed.packs) expect(pack).toMatch(/^[0-9a-f]{64}$/);
          for (const index of parsed.indexes) expect(index).toMatch(/^[0-9a-f]{16}$/);
        }),
      ),
    );
  });

  test('a key file', { timeout }, async () => {
    const { file } = await createKeyFile('web-1', 'site', 'p');
    const pem = generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey.export({ type: 'spki', format: 'pem' });
    const rsa = createRsaKeyFile('web-1', 'site', readPublicKey(pem.toString(), 'x'));
    check(
      fc.property(fc.oneof(inputs(file), inputs(rsa)), (bytes) =>
        onlyRefuses(() => {
          const parsed = parseKeyFile(bytes, 'nas: holdfast.json');
          keyFileBytes(parsed);
          let work = 0;
          for (const slot of parsed.slots) {
            if (slot.type !== 'scrypt') continue;
            expect(isBearable(slot)).toBe(true);
            work += slot.N * slot.r * slot.p;
          }
          expect(work).toBeLessThanOrEqual(2 ** 26);
        }),
      ),
    );
  });

  test('a compressed object', { timeout }, () => {
    const plain = Buffer.from('some text that repeats '.repeat(300));
    const limit = 20_000;
    const bombs = (['zstd', 'gzip'] as const).map((type) =>
      Buffer.from(compress(Buffer.alloc(8 << 20), { type, level: 9 })),
    );
    for (const bomb of bombs) expect(() => decompress(bomb, limit, 'x')).toThrow(HoldfastError);
    const valid = fc.constantFrom(
      ...(['zstd', 'gzip', 'none'] as const).map((type) => Buffer.from(compress(plain, { type, level: 3 }, true))),
      ...bombs,
    );
    check(
      fc.property(
        valid.chain((one) => mutated(one)),
        (bytes) => onlyRefuses(() => expect(decompress(bytes, limit, 'x').length).toBeLessThanOrEqual(limit)),
      ),
    );
  });

  test('a pack’s tar', { timeout }, () => {
    const builder = new PackBuilder('generation');
    const content = Buffer.from('content of a chunk');
    const id = createHash('sha256').update(content).digest('hex');
    builder.add(id, content);
    const tar = Buffer.from(builder.finish());
    const [, offset = 0, length = 0] = builder.places[0] ?? [];
    check(
      fc.property(mutated(tar), (bytes) =>
        onlyRefuses(() => expect(chunkAt(bytes, 'a'.repeat(64), id, offset, length).equals(content)).toBe(true)),
      ),
    );
  });

  test('an encrypted message', { timeout }, async () => {
    const plain = Buffer.from('plain text of a root');
    const valid = await sealBytes(key, 'snapshot', 'snapshots/x', plain);
    expect(messageLength(valid)).toBe(valid.length);
    await fc.assert(
      fc.asyncProperty(mutated(valid), async (bytes) => {
        fc.pre(!bytes.equals(valid));
        messageLength(bytes);
        const opened = await openBytes(key, 'snapshot', 'snapshots/x', bytes).catch((error: unknown) => error);
        expect(isRefusal(opened)).toBe(true);
      }),
      // A tenth: each is a whole decryption.
      { numRuns: Math.ceil(runs / 10) },
    );
  });

  test('a recovery sheet', { timeout }, () => {
    const lines = Buffer.from(keyLines(key).join('\n'));
    check(
      fc.property(mutated(lines), (bytes) =>
        onlyRefuses(() => {
          expect(parseKeyLines(bytes.toString('utf8'), key.repository)).toEqual(key);
        }, 'UsageInvalid'),
      ),
    );
  });

  test('where backups are', { timeout }, () => {
    const urls = ['s3://bucket/prefix?region=eu&forcePathStyle=true', 'file:///mnt/x', '/mnt/ü x', 'sftp://u@h:22/p'];
    const any = fc.constantFrom(...urls).chain((url) => mutated(Buffer.from(url)));
    check(fc.property(any, (bytes) => onlyRefuses(() => destinationOfUrl(bytes.toString('utf8')), 'UsageInvalid')));
  });
});

test('JSON that is nested too deep is refused, before anything walks it', () => {
  for (const open of ['[', '{"a":']) {
    expect(parseUntrusted(Buffer.from(open.repeat(1e6)), 64)).toBeUndefined();
    const close = open === '[' ? ']' : '}';
    expect(parseUntrusted(Buffer.from(`${open.repeat(64)}1${close.repeat(64)}`), 64)).toBeDefined();
    expect(parseUntrusted(Buffer.from(`${open.repeat(65)}1${close.repeat(65)}`), 64)).toBeUndefined();
  }
  expect(parseUntrusted(Buffer.from(JSON.stringify(`[[[[${'['.repeat(100)}\\"[`)), 1)).toBeDefined();
});

test('JSON of more values than can be held is refused, before anything is made of them', () => {
  expect(parseUntrusted(Buffer.from(`[${'[],'.repeat(4_100_000)}1]`), 64)).toBeUndefined();
  expect(parseUntrusted(Buffer.from('[1,2,{"a":[]},",,,"]'), 64, 8)).toBeDefined();
  expect(parseUntrusted(Buffer.from('[1,2,{"a":[]},",,,"]'), 64, 6)).toBeUndefined();
});

test('an index with a line beyond all bounds is refused', () => {
  const read = (): unknown => [...parseIndex(Buffer.alloc(17 << 20, 0x20), 'nas: index/x.ndjson')];
  expect(read).toThrow(/index\/x.ndjson has a line that is too long/);
});

test('lines are the same whether decoded at once or in pieces', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'grapheme', maxLength: 9 })),
      fc.integer({ min: 1, max: 40 }),
      (lines, size) => {
        const data = Buffer.from(lines.join('\n'));
        const all = data.length === 0 ? [] : splitLines(data);
        expect([...eachLine(data, 'x', size)]).toEqual(all);
      },
    ),
    { numRuns: Math.min(runs, 20_000) },
  );
});
