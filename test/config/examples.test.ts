import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { configJsonSchema, type JsonSchema } from '../../src/config/json-schema.js';
import { loadConfig } from '../../src/config/load.js';

const folder = fileURLToPath(new URL('../../config/', import.meta.url));
const expectedWarnings: Record<string, string[]> = { 'minimal.yaml': ['Unencrypted'] };

test('are all here', () => {
  expect(readdirSync(folder).sort()).toEqual([
    'drive-and-dropbox.yaml',
    'example.json',
    'example.yaml',
    'minimal.yaml',
    's3-and-nas.yaml',
    's3-services.yaml',
    'sftp-and-ftp.yaml',
  ]);
});

test.each(readdirSync(folder))('%s loads', (name) => {
  const { config, warnings } = loadConfig(join(folder, name));
  expect(Object.keys(config.jobs).length).toBeGreaterThan(0);
  expect(warnings.map(({ code }) => code)).toEqual(expectedWarnings[name] ?? []);
});

test('example.yaml uses every key of the schema', () => {
  const used: unknown = parse(readFileSync(join(folder, 'example.yaml'), 'utf8'));
  const commented = new Set([
    '$schema',
    'profile',
    'apiKey',
    'ui',
    'sessionToken',
    'serverName',
    'caFile',
    'driveId',
    'refreshToken',
    'agent',
    'publicKey',
    'privateKey',
  ]);
  const text = JSON.stringify(used);
  const keys = new Set<string>();
  const walk = (schema: JsonSchema) => {
    for (const [key, child] of Object.entries(schema.properties ?? {})) {
      keys.add(key);
      walk(child);
    }
    for (const child of [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])]) walk(child);
    if (schema.items !== undefined) walk(schema.items);
    if (typeof schema.additionalProperties === 'object') walk(schema.additionalProperties);
  };
  walk(configJsonSchema());
  expect([...keys].filter((key) => !commented.has(key) && !text.includes(`"${key}":`))).toEqual([]);
});
