import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compilePatterns } from '../../../src/sources/files/patterns.js';

const root = '/srv/www';

/** Whether one pattern selects a path relative to the source path; a trailing slash makes it a directory. */
function selects(patterns: string | string[], relative: string): boolean {
  const isDirectory = relative.endsWith('/');
  const path = `${root}/${isDirectory ? relative.slice(0, -1) : relative}`;
  const list = typeof patterns === 'string' ? [patterns] : patterns;
  return compilePatterns(list, root, [root, '/srv/other']).matches(
    path,
    path.slice(path.lastIndexOf('/') + 1),
    isDirectory,
  );
}

describe('compilePatterns', () => {
  it.each([
    // A name at any depth.
    ['cache', 'cache', true],
    ['cache', 'a/b/cache/', true],
    ['cache', 'cache2', false],
    ['*.tmp', 'a/x.tmp', true],
    ['*.tmp', '.tmp', true],
    ['*.tmp', 'x.tmp.keep', false],
    ['*.tar.gz', 'a/x.tar.gz', true],
    ['core*', 'a/core.12', true],
    ['core*', 'score', false],
    ['?.c', 'a/b.c', true],
    ['[!a].c', 'b.c', true],
    ['[!a].c', 'a.c', false],
    ['*.{jpg,png}', 'x/y.png', true],
    ['*', '.hidden', true],
    // Anchored.
    ['/cache', 'cache', true],
    ['/cache', 'a/cache', false],
    ['a/cache', 'a/cache', true],
    ['a/cache', 'b/a/cache', false],
    ['./cache', 'cache', true],
    ['./cache', 'a/cache', false],
    ['/*.log', 'x.log', true],
    ['/*.log', 'a/x.log', false],
    // Directories only.
    ['cache/', 'a/cache/', true],
    ['cache/', 'a/cache', false],
    ['/a/*/', 'a/b/', true],
    ['/a/*/', 'a/b', false],
    ['c*/', 'a/cache/', true],
    ['c*/', 'a/cache', false],
    // Any depth in between.
    ['**/cache', 'cache', true],
    ['**/cache', 'a/b/cache', true],
    ['**/*.php', 'x.php', true],
    ['**/*.php', 'a/b/x.php', true],
    ['a/**/z', 'a/z', true],
    ['a/**/z', 'a/b/c/z', true],
    ['a/**', 'a/b/c', true],
    ['a/**', 'a/', false],
    ['a/**', 'ab/c', false],
    ['**/a/b', 'x/a/b', true],
    ['**', 'any/thing', true],
    // Absolute below a source path.
    ['/srv/www/cache', 'cache', true],
    ['/srv/www/cache', 'srv/www/cache', false],
    ['/srv/www/*/tmp', 'a/tmp', true],
    ['/srv/www/', 'srv/www/', false],
    ['/srv/other/cache', 'cache', false],
    ['/srv/other/cache', 'srv/other/cache', false],
    // Odd names.
    ['a\nb', 'x/a\nb', true],
    ['/x/**/b', 'x/new\nline/b', true],
    ['*"*', 'say "hi"', true],
    ['copy (1)*', 'copy (1).txt', true],
    ['copy (1)*', 'copy 1.txt', false],
    ['\\*', '*', true],
    ['\\*', 'x', false],
    ['\\!x', '!x', true],
    ['*.tmp', 'x\ufffd.tmp', true],
    ['', 'x', false],
    ['/', 'x/', false],
  ])('%j and %j: %s', (pattern, relative, expected) => {
    expect(selects(pattern, relative)).toBe(expected);
  });

  it('takes back with ! what earlier patterns selected', () => {
    const patterns = ['*.log', '!keep.log', '/old/keep.log'];
    expect(selects(patterns, 'a/x.log')).toBe(true);
    expect(selects(patterns, 'a/keep.log')).toBe(false);
    expect(selects(patterns, 'old/keep.log')).toBe(true);
    expect(selects(['!x'], 'x')).toBe(false);
  });

  it('refuses what can not be understood instead of selecting nothing', () => {
    expect(() => selects('*.{jpg', 'x')).toThrowError(expect.objectContaining({ code: 'ConfigInvalid' }));
  });

  it('takes every name literally, with a wildcard beside it too', () => {
    const name = fc
      .string({ unit: fc.constantFrom(...'ab.!@#$%^&()+=|\'",;:~`<> -_'), minLength: 1, maxLength: 6 })
      .filter((text) => text !== '.' && text !== '..' && !text.startsWith('!') && !text.startsWith('.'));
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(selects(a, `d/${b}`)).toBe(a === b);
        expect(selects(`/d/${a}`, `d/${b}`)).toBe(a === b);
        // The first goes to picomatch, the second is its meaning.
        expect(selects(`[q]${a}*`, `q${b}`)).toBe(b.startsWith(a));
        expect(selects(`d/*${a}?`, `d/${b}`)).toBe(b.length > a.length && b.slice(0, -1).endsWith(a));
      }),
      { numRuns: 2000 },
    );
  });

  it('knows directories selected with all they hold', () => {
    const matcher = compilePatterns(['docs', '/a/b', 'img/', '/c*/', '*x*', '/*'], root, [root]);
    const holds = (relative: string): boolean =>
      matcher.holds(`${root}/${relative}`, relative.slice(relative.lastIndexOf('/') + 1));
    expect(['docs', 'z/docs', 'a/b', 'z/img', 'cc'].map(holds)).toEqual([true, true, true, true, true]);
    expect(['xx', 'a', 'z/a/b', 'z/cc'].map(holds)).toEqual([false, false, false, false]);
    expect(compilePatterns(['docs', '!docs'], root, [root]).holds(`${root}/docs`, 'docs')).toBe(false);
  });
});
