import type { JsonSchema } from '../../src/config/json-schema.js';

/** Where the schema has secrets, such as `destinations.*[s3].secretAccessKey`, and what a config says at each of them. */
export function secretFields(schema: JsonSchema, config: unknown): Map<string, string[]> {
  const found = new Map<string, string[]>();
  collect(schema, [config], '', found);
  return found;
}

function collect(schema: JsonSchema, values: readonly unknown[], path: string, found: Map<string, string[]>): void {
  if (schema.writeOnly === true) {
    found.set(path, [...(found.get(path) ?? []), ...values.filter((value) => typeof value === 'string')]);
    return;
  }
  for (const variant of [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])]) {
    const type = variant.properties?.type?.const;
    const own = type === undefined ? values : values.filter((value) => member(value, 'type') === type);
    collect(variant, own, type === undefined ? path : `${path}[${String(type)}]`, found);
  }
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const own = values.flatMap((value) => member(value, name) ?? []);
    collect(inner, own, path === '' ? name : `${path}.${name}`, found);
  }
  if (typeof schema.additionalProperties === 'object') {
    const own = values.flatMap((value) => (typeof value === 'object' && value !== null ? Object.values(value) : []));
    collect(schema.additionalProperties, own, `${path}.*`, found);
  }
  if (schema.items !== undefined) collect(schema.items, values.flat(), path, found);
}

const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
