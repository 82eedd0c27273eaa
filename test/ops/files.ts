import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';

/** An absolute path inside the project. */
export const inProject = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

export const text = (path: string): string => readFileSync(inProject(path), 'utf8');

/** Reads a YAML file of the project against a schema; duplicate keys and unknown shapes throw. */
export function yaml<T>(path: string, schema: z.ZodType<T>): T {
  return schema.parse(parse(text(path), { uniqueKeys: true }));
}

export const packageJson = z
  .object({ scripts: z.record(z.string(), z.string()), engines: z.object({ node: z.string() }) })
  .parse(JSON.parse(text('package.json')));
