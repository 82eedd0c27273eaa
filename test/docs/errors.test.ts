import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { exitCodeOf } from '../../src/cli/errors.js';
import { errorCodes, HoldfastError } from '../../src/errors.js';

const page = readFileSync(resolve(import.meta.dirname, '../../docs/errors.md'), 'utf8');

/** The rows of the page's first table: code, exit code, whether it is tried again. */
const rows = [...page.matchAll(/^\| `(\w+)` \| (\d) \| (yes|no) \| (.+?) \| (.*?) ?\|$/gm)].map(
  ([, code = '', exit, again, meaning]) => ({ code, exit: Number(exit), again: again === 'yes', meaning }),
);
/** Retried where it is thrown, although not by its code alone. */
const retriedByPlace = new Set(['TargetFull']);

test('every code is documented, in the order of the list, and no other', () => {
  expect(rows.map(({ code }) => code)).toEqual([...errorCodes]);
});

test.each(errorCodes.map((code) => [code]))('%s: exit code and retry are as documented', (code) => {
  const row = rows.find((one) => one.code === code);
  const error = new HoldfastError(code, 'x');
  expect(row?.exit).toBe(exitCodeOf(error));
  expect(row?.again).toBe(error.retryable || retriedByPlace.has(code));
  expect(row?.meaning?.length).toBeGreaterThan(10);
});
