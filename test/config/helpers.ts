import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { ConfigErrors, type LoadedConfig, parseConfig } from '../../src/config/load.js';

/** `${env:X}` without looking like a forgotten template. */
export const ref = (inside: string) => `\${${inside}}`;

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A folder that is gone after the test. */
export function tempFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-config-')));
  folders.push(folder);
  return folder;
}

/** A small config that is fine, with parts replaced; an undefined part is left out. */
export function sample(parts: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    host: 'web-1',
    state: '/nonexistent/state',
    encryption: { passphrase: ref('env:HOLDFAST_TEST') },
    destinations: { nas: { type: 'local', path: '/nonexistent/nas' } },
    jobs: { site: job() },
    ...parts,
  };
}

export function job(parts: Record<string, unknown> = {}): Record<string, unknown> {
  return { sources: [{ type: 'files', paths: ['/nonexistent/www'] }], destinations: ['nas'], ...parts };
}

export function files(parts: Record<string, unknown> = {}): Record<string, unknown> {
  return { type: 'files', paths: ['/nonexistent/www'], ...parts };
}

export function load(data: unknown): LoadedConfig {
  return parseConfig(JSON.stringify(data), '/etc/holdfast/holdfast.json');
}

/** The problems of a text, as `line: key: message`. */
export function problemsIn(source: string): string[] {
  try {
    parseConfig(source, 'holdfast.yaml');
  } catch (error) {
    if (error instanceof ConfigErrors) {
      return error.problems.map(
        ({ line, key, message }) => `${line}: ${key === undefined ? '' : `${key}: `}${message}`,
      );
    }
    throw error;
  }
  return [];
}

/** The problems of data, as `key: message`. */
export function problemsOf(data: unknown): string[] {
  return problemsIn(JSON.stringify(data)).map((problem) => problem.replace(/^1: /, ''));
}

export function warningCodes(data: unknown): string[] {
  return load(data).warnings.map((warning) => warning.code);
}
