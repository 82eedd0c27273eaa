import { existsSync, readFileSync } from 'node:fs';

/** package.json lies one folder up from the compiled files, two from the bundled command. */
const manifest = ['../package.json', '../../package.json']
  .map((name) => new URL(name, import.meta.url))
  .find((url) => existsSync(url));

/** The version in package.json. */
export const version: string =
  manifest === undefined ? '0.0.0' : (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
