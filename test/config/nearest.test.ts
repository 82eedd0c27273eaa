import fc from 'fast-check';
import { expect, test } from 'vitest';
import { editDistance, nearest } from '../../src/config/nearest.js';

test('distance counts insertions, deletions, changes and swaps', () => {
  expect(editDistance('exlude', 'exclude')).toBe(1);
  expect(editDistance('paths', 'path')).toBe(1);
  expect(editDistance('hots', 'host')).toBe(1);
  expect(editDistance('kitten', 'sitting')).toBe(3);
});

test('distance is symmetric, and nothing only between equals', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      const distance = editDistance(a, b);
      return (
        distance === editDistance(b, a) && (distance === 0) === (a === b) && distance <= Math.max(a.length, b.length)
      );
    }),
  );
});

test('suggests what is near and nothing else', () => {
  expect(nearest('exlude', ['paths', 'exclude', 'excludeIfPresent'])).toBe('exclude');
  expect(nearest('Destination', ['destinations', 'jobs'])).toBe('destinations');
  expect(nearest('colour', ['paths', 'exclude'])).toBeUndefined();
  expect(nearest('a', ['b'])).toBeUndefined();
});
