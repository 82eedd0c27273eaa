import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { humanBytes, humanCount, humanDuration, localTime, plural } from '../../src/cli/print/format.js';
import { printable, table } from '../../src/cli/print/table.js';

describe('numbers for people', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1500, '1.5 kB'],
    [1000, '1 kB'],
    [999_999, '1 MB'],
    [123_456_789, '123 MB'],
    [20e9, '20 GB'],
    [5e18, '5000 PB'],
  ])('%d bytes are %s', (bytes, text) => expect(humanBytes(bytes)).toBe(text));

  it.each([
    [0, '0 ms'],
    [850, '850 ms'],
    [4200, '4.2 s'],
    [59_990, '1 m 00 s'],
    [185_000, '3 m 05 s'],
    [7_800_000, '2 h 10 m'],
    [3 * 86_400_000 + 4 * 3_600_000, '3 d 4 h'],
  ])('%d ms are %s', (ms, text) => expect(humanDuration(ms)).toBe(text));

  it('never prints 60 of what the next unit counts', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e10 }), (ms) => {
        expect(humanDuration(ms)).not.toMatch(/\b60 (s|m)\b/);
      }),
    );
  });

  it('groups digits and knows one from many', () => {
    expect(humanCount(1_234_567)).toBe('1,234,567');
    expect(plural(1, 'file')).toBe('1 file');
    expect(plural(1200, 'file')).toBe('1,200 files');
  });

  it('shows no time for none', () => {
    expect(localTime(null)).toBe('-');
    expect(localTime('nonsense')).toBe('-');
  });
});

describe('tables', () => {
  it('aligns columns and leaves no blanks at the end of a line', () => {
    const text = table(
      [
        { name: 'a', size: '1' },
        { name: 'long', size: '1000' },
      ],
      [
        { title: 'NAME', value: (row) => row.name },
        { title: 'SIZE', value: (row) => row.size, align: 'right' },
      ],
    );
    expect(text).toBe('NAME  SIZE\na        1\nlong  1000');
  });

  it('says so when there is nothing', () => expect(table([], [], 'no runs yet')).toBe('no runs yet'));

  it('lets no control character of a name through', () => {
    expect(printable('a\u001b[2Jb\r\n\u202e')).toBe('a\\x1b[2Jb\\x0d\\x0a\\x202e');
  });
});
