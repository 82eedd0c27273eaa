import { z } from 'zod';
import { configSchema } from './schema.js';

/** A JSON Schema as far as the config's uses it. */
export interface JsonSchema {
  $schema?: string;
  title?: string;
  description?: string;
  type?: string;
  const?: unknown;
  enum?: unknown[];
  default?: unknown;
  writeOnly?: boolean;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  propertyNames?: JsonSchema;
  items?: JsonSchema;
  oneOf?: JsonSchema[];
  anyOf?: JsonSchema[];
  [keyword: string]: unknown;
}

/** The JSON Schema (draft 2020-12) of what a config file may say. */
export function configJsonSchema(): JsonSchema {
  const { '~standard': _, ...schema } = z.toJSONSchema(configSchema, { io: 'input', target: 'draft-2020-12' });
  return JSON.parse(JSON.stringify(schema));
}

let cached: JsonSchema | undefined;

/** The names of the keys possible at `path`; of a union's variants, those of the one that `value` chooses by its `type`. */
export function knownKeys(path: readonly PropertyKey[], root: unknown): string[] {
  cached ??= configJsonSchema();
  let variants: JsonSchema[] = [cached];
  let value = root;
  for (const part of path) {
    variants = choose(variants, value).flatMap((schema) => child(schema, part));
    value = valueAt(value, part);
  }
  const keys = choose(variants, value).flatMap((schema) => Object.keys(schema.properties ?? {}));
  return [...new Set(keys)].filter((key) => key !== '$schema');
}

function choose(schemas: JsonSchema[], value: unknown): JsonSchema[] {
  const all = schemas.flatMap((schema) => schema.oneOf ?? schema.anyOf ?? [schema]);
  const type = valueAt(value, 'type');
  const chosen = all.filter((schema) => type !== undefined && schema.properties?.type?.const === type);
  return chosen.length > 0 ? chosen : all;
}

function child(schema: JsonSchema, part: PropertyKey): JsonSchema[] {
  if (typeof part === 'number') return schema.items === undefined ? [] : [schema.items];
  const own = schema.properties?.[String(part)];
  if (own !== undefined) return [own];
  return typeof schema.additionalProperties === 'object' ? [schema.additionalProperties] : [];
}

/** `value[part]` of data that may be of any shape; own properties only. */
export function valueAt(value: unknown, part: PropertyKey): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
  return Reflect.get(value, part);
}
