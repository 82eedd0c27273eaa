import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { comparePaths, isBelow } from '../../src/platform/paths.js';

/** The definition: component by component, each by its bytes. */
function byComponents(a: Buffer, b: Buffer): number {
  const split = (path: Buffer): Buffer[] =>
    path
      .toString('latin1')
      .split('/')
      .map((part) => Buffer.from(part, 'latin1'));
  const [left, right] = [split(a), split(b)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const order = Buffer.compare(left[i]!, right[i]!);
    if (order !== 0) return order;
  }
  return left.length - right.length;
}

const unit = fc.constantFrom(
  'a',
  'b',
  '/',
  '!',
  ' ',
  '-',
  '.',
  '\n',
  '\u0001',
  'é',
  '\uffee',
  '\ue000',
  '😀',
  '\u{10ffff}',
);
const text = fc.array(unit, { maxLength: 8 }).map((units) => units.join(''));
const bytes = fc.uint8Array({ maxLength: 8 }).map((array) => Buffer.from(array));
const path = fc.oneof(text, fc.string({ unit: 'grapheme', maxLength: 12 }), bytes);

describe('comparePaths', () => {
  it('orders by component and raw bytes, for strings and bytes alike', () => {
    fc.assert(
      fc.property(path, path, (a, b) => {
        const expected = byComponents(Buffer.from(a), Buffer.from(b));
        expect(Math.sign(comparePaths(a, b))).toBe(Math.sign(expected));
        expect(Math.sign(comparePaths(Buffer.from(a), b))).toBe(Math.sign(expected));
      }),
      { numRuns: 3000 },
    );
  });

  it('puts what a directory holds before names that begin alike, and emoji after U+FFEE', () => {
    const sorted = ['a', 'a/z', 'a!', 'a-b', 'a.b', 'aa', '\uffee', '😀'];
    expect([...sorted].reverse().sort(comparePaths)).toEqual(sorted);
  });
});

it('isBelow takes whole components', () => {
  expect(isBelow('/a/b', '/a')).toBe(true);
  expect(isBelow('/ab', '/a')).toBe(false);
  expect(isBelow('/a', '/a')).toBe(false);
  expect(isBelow('/a', '/')).toBe(true);
  expect(isBelow('/', '/')).toBe(false);
});
