import { expect, test } from 'vitest';
import { databaseAt, dumpPath } from '../../src/sources/dump-paths.js';

test.each([
  ['shop', 'shop'],
  ['..', '%2E%2E'],
  ['a/b%~c ', 'a%2Fb%25~c%20'],
  ['/srv/ü.db', '%2Fsrv%2F%C3%BC.db'],
])('the dump of %s lies in %s', (name, folder) => {
  expect(dumpPath('pg', name)).toBe(`/.holdfast/pg/${folder}`);
  expect(databaseAt('pg', dumpPath('pg', name))).toBe(name);
});

test('a name that is too long for a folder is cut, and stays the only one of its kind', () => {
  // PostgreSQL: 63 bytes; these are all reversible.
  const postgres = '\u0001'.repeat(63);
  expect(databaseAt('pg', dumpPath('pg', postgres))).toBe(postgres);
  const [one, two] = ['a', 'b'].map((end) => dumpPath('my', '😀'.repeat(63) + end).slice('/.holdfast/my/'.length));
  for (const folder of [one, two]) expect(folder).toMatch(/^(%F0%9F%98%80){16}(%F0%9F)%~[0-9a-f]{32}$/);
  expect(one).not.toBe(two);
  expect(databaseAt('my', `/.holdfast/my/${one}`)).toBeUndefined();
});
