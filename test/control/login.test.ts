import { expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.js';
import { login } from '../../src/control/login.js';
import { failure } from '../destinations/conformance.js';

const drive = { type: 'gdrive', credentials: '{}' };
const { config } = parseConfig(
  JSON.stringify({
    destinations: { a: drive, b: { ...drive, folderId: 'x' }, nas: { type: 'local', path: '/mnt/nas' } },
    jobs: { home: { sources: [{ type: 'files', paths: ['/home'] }], destinations: ['a', 'b', 'nas'] } },
  }),
  'test.json',
);
const dialogue = { show: () => {}, ask: () => Promise.resolve('') };

test.each([
  ['gdrive', /several .*gdrive/],
  ['nas', /needs no login/],
  ['dropbox', /no destination 'dropbox'/],
  ['c', /no destination 'c'/],
])('logging in to %s is refused', async (wanted, words) => {
  const error = await failure(login(config, wanted, 'paste', dialogue));
  expect(error.code).toBe('UsageInvalid');
  expect(error.message).toMatch(words);
});
