import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cutPoint, dumpCuts, fileCuts, maxChunk, minChunk } from '../../src/repository/chunker.js';
import { chunkId } from '../../src/repository/pack-writer.js';

/** Reproducible noise; SHA-independent and fast. */
function noise(bytes: number, seed: number): Buffer {
  const data = Buffer.allocUnsafe(bytes);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < bytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    data[i] = state & 0xff;
  }
  return data;
}

function lengths(data: Buffer, sizes = fileCuts): number[] {
  const cuts: number[] = [];
  for (let at = 0; at < data.length; ) {
    const length = cutPoint(data, at, data.length, true, sizes);
    cuts.push(length);
    at += length;
  }
  return cuts;
}

/** As a reader does that has only `window` bytes in hand at a time. */
function lengthsInPieces(data: Buffer, window: number, steps: number[]): number[] {
  const cuts: number[] = [];
  let at = 0;
  let end = 0;
  let step = 0;
  while (at < data.length) {
    end = Math.min(data.length, Math.max(end, at) + (steps[step++ % steps.length] ?? window));
    for (;;) {
      const length = cutPoint(data, at, end, end === data.length);
      if (length === 0 || at === data.length) break;
      cuts.push(length);
      at += length;
    }
  }
  return cuts;
}

const ids = (data: Buffer, sizes = fileCuts): string[] => {
  let at = 0;
  return lengths(data, sizes).map((length) => {
    at += length;
    return chunkId(data.subarray(at - length, at));
  });
};

/** The cut as docs/format.md puts it, byte by byte. */
function naiveCut(data: Buffer, { min, average, max, strict, loose }: typeof fileCuts): number {
  const gear = Array.from({ length: 256 }, (_, n) =>
    createHash('sha256').update(`holdfast gear ${n}`).digest().readUInt32LE(0),
  );
  let hash = 0;
  for (let at = min - 32; at < Math.min(data.length, max); at++) {
    hash = ((hash << 1) + (gear[data[at] ?? 0] ?? 0)) | 0;
    if (at >= min && (hash & (at < average ? strict : loose)) === 0) return at + 1;
  }
  return Math.min(data.length, max);
}

describe('cutPoint', () => {
  test('cuts where the format says, wherever in its strides that is', () => {
    // Small sizes and loose masks: many cuts, at every remainder.
    const sizes = { min: 40, average: 160, max: 700, strict: 0xfe000000, loose: 0xf8000000 };
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 41, maxLength: 900 }), fc.nat(50), (bytes, before) => {
        const data = Buffer.concat([noise(before, 3), bytes]);
        const cut = cutPoint(data, before, data.length, true, sizes);
        expect(cut).toBe(naiveCut(Buffer.from(bytes), sizes));
      }),
      { numRuns: 2000 },
    );
    const all = noise(1 << 16, 5);
    const remainders = new Set<number>();
    for (let at = 0; at < all.length; ) {
      const cut = cutPoint(all, at, all.length, true, sizes);
      if (all.length - at > sizes.max) expect(cut).toBe(naiveCut(all.subarray(at), sizes));
      remainders.add(cut % 8);
      at += cut;
    }
    expect(remainders.size).toBe(8);
  });

  test.each([
    ['files', fileCuts],
    ['dumps', dumpCuts],
  ])('covers the data of %s with chunks between the bounds, about the average in the middle', (_, sizes) => {
    const data = noise(48 << 20, 7);
    const cuts = lengths(data, sizes);
    expect(cuts.reduce((sum, length) => sum + length, 0)).toBe(data.length);
    for (const length of cuts.slice(0, -1)) {
      expect(length).toBeGreaterThan(sizes.min);
      expect(length).toBeLessThanOrEqual(sizes.max);
    }
    const mean = data.length / cuts.length;
    expect(mean).toBeGreaterThan(sizes.average / 2);
    expect(mean).toBeLessThan(sizes.average * 2);
  });

  test('a few rows changed in the middle of a dump cost a few chunks', () => {
    const data = noise(24 << 20, 11);
    const at = 9_000_000;
    const changed = Buffer.concat([data.subarray(0, at), noise(5000, 12), data.subarray(at + 3000)]);
    const before = new Set(ids(data, dumpCuts));
    expect(ids(changed, dumpCuts).filter((id) => !before.has(id)).length).toBeLessThanOrEqual(3);
  });

  test('the same bytes are always cut at the same places, a fixed list for format 1', () => {
    const data = noise(8 << 20, 1);
    expect(lengths(data)).toEqual(lengths(Buffer.from(data)));
    expect(lengths(data)).toMatchInlineSnapshot(`
      [
        2079489,
        1533489,
        1315511,
        1001310,
        1090115,
        800565,
        568129,
      ]
    `);
  });

  test('how much is in hand at a time changes nothing', () => {
    const data = noise(11 << 20, 3);
    const whole = lengths(data);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1 << 16, max: 6 << 20 }), { minLength: 1, maxLength: 6 }), (steps) => {
        expect(lengthsInPieces(data, maxChunk, steps)).toEqual(whole);
      }),
      { numRuns: 25 },
    );
  });

  test('uniform data is cut at the largest size, and never asks for more than that', () => {
    const zeros = Buffer.alloc(3 * maxChunk);
    expect(cutPoint(zeros, 0, maxChunk, false)).toBeGreaterThan(0);
    expect(lengths(zeros).reduce((sum, length) => sum + length, 0)).toBe(zeros.length);
    for (const length of lengths(zeros)) expect(length).toBeLessThanOrEqual(maxChunk);
  });

  test('short data is one chunk at the end and undecided before it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: minChunk }), (length) => {
        const data = Buffer.alloc(length);
        expect(cutPoint(data, 0, length, true)).toBe(length);
        expect(cutPoint(data, 0, length, false)).toBe(0);
      }),
      { numRuns: 10 },
    );
    expect(cutPoint(noise(maxChunk, 9), 0, maxChunk - 1, false)).toBe(0);
  });

  test('after an insertion the same chunks come again', () => {
    const data = noise(24 << 20, 5);
    const before = new Set(ids(data));
    for (const at of [0, 1_000_000, 9_999_999]) {
      const changed = Buffer.concat([data.subarray(0, at), noise(1234, at + 1), data.subarray(at)]);
      const fresh = ids(changed).filter((id) => !before.has(id));
      expect(fresh.length).toBeGreaterThan(0);
      expect(fresh.length).toBeLessThanOrEqual(5);
    }
  });
});
