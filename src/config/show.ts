import { stringify } from 'yaml';
import { z } from 'zod';
import { type Config, type ConfigInput, configSchema } from './schema.js';
import { secretless } from './sensitive.js';

/** A config as it would be written, with every default filled in and literal secrets masked: what `config show --json` prints. */
export function configForShow(config: Config): ConfigInput {
  return z.encode(configSchema, secretless(config));
}

/** The same as YAML or JSON text; without literal secrets, a config that loads to the same. */
export function showConfig(config: Config, format: 'yaml' | 'json' = 'yaml'): string {
  const shown = configForShow(config);
  return format === 'json'
    ? `${JSON.stringify(shown, null, 2)}\n`
    : stringify(shown, { lineWidth: 0, aliasDuplicateObjects: false });
}
