import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { configJsonSchema, type JsonSchema } from '../../src/config/json-schema.js';
import { configReference } from './config-reference.js';

const file = resolve(import.meta.dirname, '../../docs/configuration.md');
const marker = /<!-- Generated from the schema.*? -->\n\n/s;

test('docs/configuration.md is up to date (UPDATE_DOCS=1 rewrites it)', () => {
  const page = readFileSync(file, 'utf8');
  const found = marker.exec(page);
  expect(found).not.toBeNull();
  const hand = page.slice(0, (found?.index ?? 0) + (found?.[0].length ?? 0));
  const expected = hand + configReference(configJsonSchema());
  if (process.env.UPDATE_DOCS) writeFileSync(file, expected);
  expect(readFileSync(file, 'utf8')).toBe(expected);
});

test('every key of the schema has a description', () => {
  const bare: string[] = [];
  const visit = (schema: JsonSchema, path: string): void => {
    for (const [key, child] of Object.entries(schema.properties ?? {})) {
      const described =
        child.description !== undefined ||
        [...(child.oneOf ?? []), ...(child.anyOf ?? [])].some((one) => one.description);
      if (!described) bare.push(`${path}.${key}`);
      visit(child, `${path}.${key}`);
    }
    for (const child of [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])]) visit(child, path);
    if (schema.items !== undefined) visit(schema.items, path);
    if (typeof schema.additionalProperties === 'object') visit(schema.additionalProperties, path);
  };
  visit(configJsonSchema(), '');
  expect(bare).toEqual([]);
});
