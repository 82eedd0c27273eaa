import { join } from 'node:path';
import type { LogConfig } from './schema.js';
import { logSchema } from './schema-log.js';

/** The log as a config without `log` has it. */
export function defaultLog(state: string): LogConfig {
  return { ...logSchema.parse(undefined), path: join(state, 'logs') };
}
