import { describe, expect, it } from 'vitest';
import { worst } from '../../src/cli/context.js';
import { diffLine, modeText } from '../../src/cli/print/entry.js';

describe('modes as ls shows them', () => {
  it.each([
    ['file', 0o644, '-rw-r--r--'],
    ['dir', 0o1777, 'drwxrwxrwt'],
    ['file', 0o4755, '-rwsr-xr-x'],
    ['file', 0o4644, '-rwSr--r--'],
    ['file', 0o2755, '-rwxr-sr-x'],
    ['symlink', 0o777, 'lrwxrwxrwx'],
    ['fifo', 0o1600, 'prw------T'],
  ])('%s %o is %s', (type, mode, text) => expect(modeText(type, mode)).toBe(text));
});

it('says what differs', () => {
  const size = { before: 1000, after: 2000 };
  expect(diffLine({ path: '/a', change: 'changed', type: 'file', what: ['content', 'mtime'], size })).toBe(
    'M /a (content, mtime; 1 kB -> 2 kB)',
  );
  expect(diffLine({ path: '/d', change: 'added', type: 'dir' })).toBe('+ /d/');
});

it('knows which exit code is worse', () => {
  expect([0, 3, 1, 3].reduce<0 | 1 | 2 | 3 | 130>((a, b) => worst(a, b as 0 | 1 | 3), 0)).toBe(1);
  expect(worst(3, 0)).toBe(3);
  expect(worst(1, 130)).toBe(130);
});
