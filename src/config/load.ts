import { createHash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { errnoOf, HoldfastError } from '../errors.js';
import { parseConfigDocument } from './document.js';
import { type Found, problemsOf, withPosition } from './issues.js';
import { nearest } from './nearest.js';
import { normalize } from './normalize.js';
import { expandHome, lookingUpOnce, systemConfigFolder, userConfigFolder } from './paths.js';
import { ConfigErrors, type ConfigProblem, type ConfigWarning } from './problems.js';
import { secretRegistry } from './redact.js';
import { type Config, configSchema, type JobConfig } from './schema.js';
import { secretless } from './sensitive.js';
import { checkNames, validate } from './validate.js';

export type { ConfigProblem, ConfigWarning } from './problems.js';
export { ConfigErrors } from './problems.js';

const fileNames = ['holdfast.yaml', 'holdfast.yml', 'holdfast.json'];
const maxFileSize = 4 * 1024 * 1024;

export interface LoadedConfig {
  config: Config;
  /** Absolute. */
  path: string;
  /** SHA-256 (hex) of the secretless config, whatever the order of its keys. */
  hash: string;
  warnings: ConfigWarning[];
  /** A key pair (PEM) that this process was given and that stands in no file's config: see `withKeyPair`. */
  keyPair?: KeyPair;
}

export interface KeyPair {
  publicKey: string;
  privateKey: string;
}

/** The config with this RSA key pair, for as long as the process lives: nothing of it is written anywhere. */
export function withKeyPair(loaded: LoadedConfig, keyPair: KeyPair): LoadedConfig {
  const { passphrase } = loaded.config.encryption ?? {};
  const encryption = { ...(passphrase === undefined ? {} : { passphrase }), ...keyPair };
  return { ...loaded, config: { ...loaded.config, encryption }, keyPair };
}

/**
 * Where the config file is: `explicit` (--config), $HOLDFAST_CONFIG, the working folder, the user's, then the system's config folder.
 * @throws HoldfastError ConfigNotFound, with the places it looked at.
 */
export function findConfig(explicit?: string): string {
  const named = explicit ?? process.env.HOLDFAST_CONFIG;
  if (named !== undefined && named !== '') {
    const path = resolve(expandHome(named));
    if (existsSync(path)) return path;
    const from = explicit === undefined ? ' ($HOLDFAST_CONFIG)' : '';
    throw new HoldfastError('ConfigNotFound', `there is no config file ${path}${from}`, { file: path, hint: initHint });
  }
  const places = [process.cwd(), userConfigFolder(), systemConfigFolder()].flatMap((folder) =>
    fileNames.map((name) => join(folder, name)),
  );
  const found = places.find((place) => existsSync(place));
  if (found !== undefined) return found;
  throw new HoldfastError(
    'ConfigNotFound',
    `there is no config file; looked for\n${places.map((place) => `  ${place}`).join('\n')}`,
    { hint: initHint },
  );
}

const initHint = '`holdfast init` writes a config to start from; --config FILE names another.';

/**
 * Reads and checks a config file.
 * @throws HoldfastError ConfigNotFound; ConfigErrors (ConfigInvalid) with every problem found. Never anything else.
 */
export function loadConfig(path: string): LoadedConfig {
  const file = resolve(path);
  return parseConfig(readSource(file), file);
}

/** The same for text that is at hand; `file` is for messages. */
export function parseConfig(source: string, file: string): LoadedConfig {
  if (source.trim() === '')
    throw new ConfigErrors(file, [{ message: 'the file is empty', line: 1 }], { hint: initHint });
  const document = parseConfigDocument(source);
  if ('problems' in document) throw new ConfigErrors(file, sorted(document.problems));
  const { value, locate } = document;
  if (value === null || value === undefined)
    throw new ConfigErrors(file, [{ message: 'the file says nothing', line: 1 }], { hint: initHint });

  const fail = (found: readonly Found[]) =>
    new ConfigErrors(file, sorted(found.map((one) => withPosition(one, locate))));
  const parsed = configSchema.safeParse(value);
  if (!parsed.success) throw fail([...problemsOf(parsed.error.issues, value), ...checkNames(value)]);
  const config = normalize(parsed.data);
  secretRegistry.openNames = [config.host, ...[config.jobs, config.destinations, config.notify].flatMap(Object.keys)];
  const { problems, warnings } = lookingUpOnce(() => validate(config));
  const names = checkNames(value);
  if (problems.length + names.length > 0) throw fail([...names, ...problems]);
  return { config, path: file, hash: configHash(config), warnings };
}

/** SHA-256 (hex) of a config without its secrets, whatever the order of its keys. */
export function configHash(config: Config): string {
  return createHash('sha256')
    .update(JSON.stringify(canonical(secretless(config))))
    .digest('hex');
}

/** @throws HoldfastError JobUnknown, with the nearest name. */
export function findJob(config: Config, name: string): JobConfig {
  const job = Object.hasOwn(config.jobs, name) ? config.jobs[name] : undefined;
  if (job !== undefined) return job;
  const names = Object.keys(config.jobs);
  const near = nearest(name, names);
  throw new HoldfastError(
    'JobUnknown',
    `there is no job '${name}'${near === undefined ? '' : `; did you mean '${near}'?`}`,
    {
      hint: `Jobs: ${names.join(', ')}.`,
    },
  );
}

/**
 * The job, for what only repositories can do.
 * @throws HoldfastError JobUnknown, UsageInvalid.
 */
export function findRepositoryJob(config: Config, name: string, what: string, hint: string): JobConfig {
  const job = findJob(config, name);
  if (job.format === 'repository') return job;
  throw new HoldfastError('UsageInvalid', `${what}; the job '${name}' has \`format: archive\``, { hint });
}

/** Whether no Temporal is configured, so that the embedded server serves. */
export function usesEmbeddedServer({ temporal }: Config): boolean {
  return temporal?.address === undefined && temporal?.profile === undefined;
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, item]) => [key, canonical(item)]));
}

function sorted(problems: readonly ConfigProblem[]): ConfigProblem[] {
  return [...problems].sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}

function readSource(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readCapped(file);
  } catch (error) {
    throw readProblem(file, error);
  }
  const utf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  if (utf16) throw new ConfigErrors(file, [{ message: 'the file is UTF-16; save it as UTF-8' }]);
  try {
    // Drops a byte order mark.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ConfigErrors(file, [{ message: 'the file is not UTF-8', line: badLine(bytes) }]);
  }
}

function readCapped(file: string): Buffer {
  const handle = openSync(file, 'r');
  try {
    const stat = fstatSync(handle);
    if (stat.isDirectory())
      throw new ConfigErrors(file, [{ message: 'is a folder, not a config file' }], {
        hint: `Name the file in it: --config ${join(file, 'holdfast.yaml')}`,
      });
    if (stat.size > maxFileSize)
      throw new ConfigErrors(file, [{ message: 'is larger than 4 MiB: this is no config file' }]);
    const bytes = readFileSync(handle);
    if (bytes.length > maxFileSize)
      throw new ConfigErrors(file, [{ message: 'is larger than 4 MiB: this is no config file' }]);
    return bytes;
  } finally {
    closeSync(handle);
  }
}

function readProblem(file: string, error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const errno = errnoOf(error);
  if (errno === 'ENOENT' || errno === 'ENOTDIR') {
    return new HoldfastError('ConfigNotFound', `there is no config file ${file}`, { file, hint: initHint });
  }
  if (errno === 'EACCES' || errno === 'EPERM') {
    return new ConfigErrors(file, [{ message: 'this user may not read the file' }], {
      hint: 'Run Holdfast as the user the file belongs to, or change its permissions.',
      cause: error,
    });
  }
  if (errno === 'EISDIR') return new ConfigErrors(file, [{ message: 'is a folder, not a config file' }]);
  return new ConfigErrors(file, [{ message: `the file cannot be read (${errno ?? 'unknown error'})` }], {
    cause: error,
  });
}

function badLine(bytes: Buffer): number {
  const text = new TextDecoder().decode(bytes);
  return text.slice(0, text.indexOf('�')).split('\n').length;
}
