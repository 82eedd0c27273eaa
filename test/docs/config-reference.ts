import type { JsonSchema } from '../../src/config/json-schema.js';

/** The config's reference in Markdown: a table for every object in the JSON Schema, depth first. */
export function configReference(schema: JsonSchema): string {
  const sections: string[] = [];
  section(schema, '', sections);
  return `${sections.join('\n\n')}\n`;
}

function section(schema: JsonSchema, path: string, sections: string[]): void {
  const rows: string[] = [];
  const deeper: [JsonSchema, string][] = [];
  const title = path === '' ? '### Top level' : `### \`${path}\``;
  for (const [key, child] of Object.entries(schema.properties ?? {})) {
    if (key === '$schema') continue;
    const need = schema.required?.includes(key) ? 'required' : defaultOf(child);
    rows.push(`| \`${key}\` | ${kindOf(child)} | ${need} | ${cell(descriptionOf(child))} |`);
    deeper.push(...objectsIn(child, path === '' ? key : `${path}.${key}`));
  }
  const about = schema.description !== undefined && path !== '' ? `${schema.description}\n\n` : '';
  sections.push(`${title}\n\n${about}| key | value | default | meaning |\n|---|---|---|---|\n${rows.join('\n')}`);
  for (const [child, name] of deeper) section(child, name, sections);
}

/** The objects with keys of their own that a value may be or hold, with how one writes where they stand. */
function objectsIn(schema: JsonSchema, path: string): [JsonSchema, string][] {
  const variants = schema.oneOf ?? schema.anyOf;
  if (variants !== undefined) return variants.flatMap((variant) => objectsIn(variant, path));
  if (schema.items !== undefined) return objectsIn(schema.items, `${path}[]`);
  if (typeof schema.additionalProperties === 'object') return objectsIn(schema.additionalProperties, `${path}.NAME`);
  if (schema.properties === undefined) return [];
  const keys = Object.keys(schema.properties);
  const type = schema.properties.type?.const;
  if (type === undefined)
    return [[schema, keys.includes('cron') || keys.includes('every') ? `${path} (${keys[0]})` : path]];
  return keys.length === 1 ? [] : [[schema, `${path} (type: ${String(type)})`]];
}

function kindOf(schema: JsonSchema): string {
  if (schema.const !== undefined) return `\`${String(schema.const)}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${String(value)}\``).join(' or ');
  const variants = schema.oneOf ?? schema.anyOf;
  if (variants !== undefined) {
    const types = variants.map((variant) => variant.properties?.type?.const);
    if (types.every((type) => type !== undefined))
      return `by \`type\`: ${types.map((type) => `\`${String(type)}\``).join(', ')}`;
    return [...new Set(variants.map(kindOf))].join(' or ');
  }
  if (schema.items !== undefined)
    return `list of ${schema.items.enum === undefined ? `${kindOf(schema.items)}s` : kindOf(schema.items)}`;
  if (schema.type === 'object') return typeof schema.additionalProperties === 'object' ? 'by name' : 'object';
  if (schema.type === 'integer') {
    const { minimum, maximum } = schema;
    return `whole number${typeof minimum === 'number' ? `, from ${minimum}${typeof maximum === 'number' && maximum < 1e9 ? ` to ${maximum}` : ''}` : ''}`;
  }
  return schema.type === 'boolean' ? '`true` or `false`' : schema.writeOnly ? 'secret' : 'text';
}

function defaultOf({ default: value }: JsonSchema): string {
  if (
    value === undefined ||
    (typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0)
  )
    return '';
  return `\`${typeof value === 'string' && value !== '' ? value : JSON.stringify(value)}\``;
}

function descriptionOf(schema: JsonSchema): string {
  return schema.description ?? '';
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
