import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HoldfastError } from '../../src/errors.js';
import { type Codec, compress, compressPack, decompress, detectCodec } from '../../src/repository/codec.js';

const codecs: Codec[] = [
  { type: 'zstd', level: 3 },
  { type: 'zstd', level: 19 },
  { type: 'gzip', level: 6 },
  { type: 'none', level: 0 },
];

/** What `run` throws, as long as it is one of ours. */
function failure(run: () => unknown): HoldfastError {
  try {
    run();
  } catch (error) {
    if (error instanceof HoldfastError) return error;
    throw error;
  }
  throw new Error('did not throw');
}

// Bytes a pack, index or root may start with: never those of a codec's magic number.
const content = fc.uint8Array({ maxLength: 5000 }).map((bytes) => Buffer.concat([Buffer.from('g'), bytes]));

describe.each(codecs)('$type $level', (codec) => {
  test('gives back what went in', () => {
    fc.assert(
      fc.property(content, (data) => {
        const packed = compress(data, codec);
        expect(detectCodec(packed)).toBe(codec.type);
        expect(decompress(packed, data.length, 'x').equals(data)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test('refuses more than the limit, by one byte', () => {
    const data = Buffer.alloc(70_000, 'g');
    const packed = compress(data, codec);
    expect(decompress(packed, data.length, 'x').length).toBe(data.length);
    const error = failure(() => decompress(packed, data.length - 1, 'packs/ab/cd'));
    expect(error.code).toBe('IntegrityMismatch');
    expect(error.message).toContain('packs/ab/cd');
    expect(error.retryable).toBe(false);
  });
});

describe('packs', () => {
  // What two files share lies 16 MiB apart: zstd's own levels forget it on the way.
  const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(17 << 20));
  const shared = noise.subarray(0, 1 << 20);
  const pack = Buffer.concat([noise, shared]);

  test.each([1, 2, 3, 4, 9, 19])('level %i: comes back', (level) => {
    const text = Buffer.from(pack.subarray(0, 1 << 20).toString('base64'));
    const packed = compressPack(text, { type: 'zstd', level });
    expect(packed.length).toBeLessThan(0.8 * text.length);
    expect(decompress(packed, text.length, 'x').equals(text)).toBe(true);
  });

  test.each([3, 4, 9])('level %i: finds what far apart files share', (level) => {
    const packed = compressPack(pack, { type: 'zstd', level });
    expect(packed.length).toBeLessThan(pack.length - 0.9 * shared.length);
    expect(decompress(packed, pack.length, 'x').equals(pack)).toBe(true);
  });

  test('levels may follow one another', () => {
    const text = Buffer.from(Array.from({ length: 200_000 }, (_, n) => `${(n * 7919) % 1013} `).join(''));
    const sizes = [3, 9, 3, 19, 1, 3].map((level) => compressPack(text, { type: 'zstd', level }).length);
    expect(sizes[2]).toBe(sizes[0]);
    expect(sizes[5]).toBe(sizes[0]);
    expect(sizes[3]).toBeLessThan(sizes[0] ?? 0);
  });

  test('the zstd program reads them', () => {
    const packed = compressPack(pack, { type: 'zstd', level: 3 });
    expect(execFileSync('zstd', ['-dc'], { input: packed, maxBuffer: 1 << 26 }).equals(pack)).toBe(true);
  });
});

describe('damage', () => {
  const data = Buffer.from(Array.from({ length: 40_000 }, (_, i) => (i * i) >> 5));
  test.each(['zstd', 'gzip'] as const)('%s: cut short anywhere is refused', (type) => {
    const packed = compress(data, { type, level: 3 });
    fc.assert(
      fc.property(fc.integer({ min: 4, max: packed.length - 1 }), (length) => {
        expect(failure(() => decompress(packed.subarray(0, length), 1 << 20, 'x')).code).toBe('IntegrityMismatch');
      }),
      { numRuns: 80 },
    );
  });

  test('zstd: flipped bits throw nothing but IntegrityMismatch, and never give more than the limit', () => {
    const packed = compress(data, { type: 'zstd', level: 3 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: packed.length * 8 - 1 }), (bit) => {
        const damaged = Buffer.from(packed);
        damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        try {
          expect(decompress(damaged, 1 << 17, 'x').length).toBeLessThanOrEqual(1 << 17);
        } catch (error) {
          expect(error).toMatchObject({ name: 'HoldfastError', code: 'IntegrityMismatch' });
        }
      }),
      { numRuns: 300 },
    );
  });

  test('arbitrary bytes behind a magic number throw nothing but IntegrityMismatch', () => {
    const magics = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), Buffer.from([0x1f, 0x8b])];
    fc.assert(
      fc.property(fc.constantFrom(...magics), fc.uint8Array({ maxLength: 200 }), (magic, bytes) => {
        try {
          expect(decompress(Buffer.concat([magic, bytes]), 65536, 'x').length).toBeLessThanOrEqual(65536);
        } catch (error) {
          expect(error).toMatchObject({ name: 'HoldfastError', code: 'IntegrityMismatch' });
        }
      }),
      { numRuns: 300 },
    );
  });

  test('bytes behind the end of a zstd frame are refused', () => {
    const packed = Buffer.concat([compress(data, { type: 'zstd', level: 3 }), Buffer.from('more')]);
    expect(failure(() => decompress(packed, 1 << 20, 'x')).code).toBe('IntegrityMismatch');
  });
});

test('a bomb without a stated size stops at the limit', () => {
  // Written as a stream, so that the frame does not say how long it is.
  const bomb = execFileSync('sh', ['-c', 'head -c 300000000 /dev/zero | zstd -q -3 -c --no-content-size || true']);
  if (bomb.length > 0) expect(failure(() => decompress(bomb, 1 << 20, 'bomb')).code).toBe('IntegrityMismatch');
  const stated = compress(Buffer.alloc(30_000_000), { type: 'zstd', level: 3 });
  expect(stated.length).toBeLessThan(10_000);
  expect(failure(() => decompress(stated, 1 << 20, 'bomb')).code).toBe('IntegrityMismatch');
});

test('other programs read it', () => {
  const data = Buffer.from('generation and more'.repeat(1000));
  expect(gunzipSync(compress(data, { type: 'gzip', level: 22 })).equals(data)).toBe(true);
});
