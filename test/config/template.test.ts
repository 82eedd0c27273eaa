import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { resolveSecret, secretRegistry } from '../../src/config/secrets.js';
import { initConfig, newPassphrase, passphrasePath, writePassphrase } from '../../src/config/template.js';
import { tempFolder } from './helpers.js';

afterEach(() => vi.unstubAllEnvs());

test('what init writes is accepted, and its passphrase resolves', async () => {
  const folder = tempFolder();
  // Names that YAML would trip over, were they not quoted.
  const [source, destination, configFolder] = ['my: files #1', '"disk" \\ ü', 'conf'].map((name) => join(folder, name));
  if (source === undefined || destination === undefined || configFolder === undefined) throw new Error('unreachable');
  for (const path of [source, destination]) mkdirSync(path);
  const file = join(folder, 'holdfast.yaml');
  writeFileSync(file, initConfig({ host: 'web-1', sourcePath: source, destinationPath: destination, configFolder }));
  expect(writePassphrase(passphrasePath(configFolder))).toBe(true);

  const { config, warnings } = loadConfig(file);
  expect(warnings).toEqual([]);
  expect(config.host).toBe('web-1');
  expect(config.destinations.disk).toMatchObject({ type: 'local', path: destination });
  expect(config.jobs.files?.sources[0]).toMatchObject({ type: 'files', paths: [source] });
  const passphrase = await resolveSecret(config.encryption?.passphrase ?? '', 'encryption.passphrase');
  expect(`${passphrase}\n`).toBe(readFileSync(join(configFolder, 'passphrase'), 'utf8'));
  secretRegistry.clear();
});

test('what init writes by default is accepted', () => {
  vi.stubEnv('XDG_STATE_HOME', undefined);
  const file = join(tempFolder(), 'holdfast.yaml');
  writeFileSync(file, initConfig({ host: 'web-1' }));
  expect(loadConfig(file).warnings.map(({ code }) => code)).toEqual(['StateExcluded']);
});

test('passphrases are long, random and readable', () => {
  const passphrase = newPassphrase();
  expect(passphrase).toMatch(/^[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){6}$/);
  expect(newPassphrase()).not.toBe(passphrase);
});

test('a passphrase file is private, and never overwritten', () => {
  const path = join(tempFolder(), 'new/passphrase');
  expect(writePassphrase(path)).toBe(true);
  const first = readFileSync(path, 'utf8');
  if (process.platform !== 'win32') {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700);
  }
  expect(writePassphrase(path)).toBe(false);
  expect(readFileSync(path, 'utf8')).toBe(first);
});

test('a passphrase file that cannot be written', () => {
  const blocker = join(tempFolder(), 'file');
  writeFileSync(blocker, '');
  expect(() => writePassphrase(join(blocker, 'passphrase'))).toThrow(expect.objectContaining({ code: 'UsageInvalid' }));
});
