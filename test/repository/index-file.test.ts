import { expect, test } from 'vitest';
import { type IndexPack, indexBytes, parseIndex } from '../../src/repository/index-file.js';

const pack = (change: Partial<IndexPack> = {}): IndexPack => ({
  pack: 'ab'.repeat(32),
  kind: 'data',
  generation: 'g',
  size: 10,
  plain: 2000,
  chunks: [['cd'.repeat(32), 1536, 4]],
  ...change,
});

test('what an index supersedes stands on its first line, and nowhere else', () => {
  const bytes = indexBytes([pack(), pack({ pack: 'ef'.repeat(32) })], ['0123456789abcdef']);
  const [first, second] = [...parseIndex(bytes, 'index')];
  expect(first?.supersedes).toEqual(['0123456789abcdef']);
  expect(second?.supersedes).toBeUndefined();
  const wrong = Buffer.concat([indexBytes([pack()]), bytes]);
  expect(() => [...parseIndex(wrong, 'index')]).toThrow('index line 2 is not an index entry');
  const bad = Buffer.from(`${JSON.stringify(pack({ supersedes: ['../x'] }))}\n`);
  expect(() => [...parseIndex(bad, 'index')]).toThrow('index line 1 is not an index entry');
});

test('an index longer than a string can be is read line by line', () => {
  const line = indexBytes([pack({ chunks: Array.from({ length: 5000 }, () => ['cd'.repeat(32), 1536, 4]) })]);
  const lines = Math.ceil(0x1ffffff0 / line.length);
  const data = Buffer.alloc((lines + 1) * line.length, line);
  expect(() => data.toString('utf8')).toThrow();
  let read = 0;
  for (const { chunks } of parseIndex(data.subarray(0, 3 * line.length), 'index')) read += chunks.length;
  expect(read).toBe(15_000);
  const far = parseIndex(data.subarray((lines - 2) * line.length), 'index');
  expect([...far]).toHaveLength(3);
  const whole = parseIndex(data, 'index');
  expect(whole.next().value?.chunks).toHaveLength(5000);
});
