import { readFileSync, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { errnoOf, HoldfastError } from '../errors.js';
import { runCommand } from './command.js';
import { expandHome } from './paths.js';
import { secretRegistry } from './redact.js';
import { parseReferences, type Reference } from './references.js';
import { isSensitive, leaves, mask } from './sensitive.js';
import { isGuessable } from './topics.js';

export { redact, SecretRegistry, secretRegistry } from './redact.js';
export { isSensitive, secretless, unmask } from './sensitive.js';

const commandTimeoutMs = 30_000;
const maxFile = 1024 * 1024;

export interface ResolveOptions {
  /** How long a `${command:...}` may take. Default 30 s. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/**
 * What a config's value stands for, with its references followed now; nothing is kept but for redaction.
 * `key` (`encryption.passphrase`) is for the message of `SecretMissing`, which names the reference and never a value.
 */
export async function resolveSecret(value: string, key: string, options: ResolveOptions = {}): Promise<string> {
  const parsed = parseReferences(value);
  if ('problem' in parsed) throw missing(key, parsed.problem);
  let resolved = '';
  for (const piece of parsed.pieces) {
    if (piece === mask)
      throw missing(
        key,
        'the secret is masked here (***)',
        'It is a plain value in the config file: read it from there.',
      );
    if (typeof piece === 'string') {
      resolved += piece;
      continue;
    }
    const secret = await follow(piece, key, options);
    remember(secret, key);
    resolved += secret;
  }
  if (parsed.pieces.some((piece) => typeof piece !== 'string') || isSensitive(key.split('.'))) remember(resolved, key);
  return resolved;
}

/** So that errors, logs and messages hold it no more. */
function remember(secret: string, key: string): void {
  if (!key.endsWith('.topic') || !isGuessable(secret, secretRegistry.openNames)) secretRegistry.add(secret);
}

/** A copy of a part of a config (a destination, a notifier, `temporal`) with every string resolved. `key` is where the part is. */
export async function resolveSecrets<T extends object>(part: T, key: string, options: ResolveOptions = {}): Promise<T> {
  const copy = structuredClone(part);
  for (const leaf of leaves(copy)) {
    const full = /^\[/.test(leaf.key) ? `${key}${leaf.key}` : [key, leaf.key].filter((part) => part !== '').join('.');
    leaf.set(await resolveSecret(leaf.value, full, options));
    if (isSensitive([...key.split('.'), ...leaf.path])) remember(leaf.value, full);
  }
  return copy;
}

async function follow(reference: Reference, key: string, options: ResolveOptions): Promise<string> {
  const { text, target } = reference;
  switch (reference.kind) {
    case 'env': {
      const value = process.env[target];
      if (value === undefined)
        throw missing(
          key,
          `${text}: the environment variable is not set`,
          `Set ${target} for the process that runs Holdfast.`,
        );
      return notEmpty(value, key, text);
    }
    case 'file':
      return notEmpty(readSecretFile(expandHome(target), key, text), key, text);
    case 'credential': {
      const folder = process.env.CREDENTIALS_DIRECTORY;
      if (folder === undefined || !isAbsolute(folder)) {
        throw missing(
          key,
          `${text}: there is no $CREDENTIALS_DIRECTORY`,
          'systemd sets it for services with LoadCredential= or LoadCredentialEncrypted=.',
        );
      }
      return notEmpty(readSecretFile(join(folder, target), key, text), key, text);
    }
    case 'command': {
      const result = await runCommand(target, {
        timeoutMs: options.timeoutMs ?? commandTimeoutMs,
        signal: options.signal,
      });
      if ('problem' in result)
        throw missing(key, `${text}: the command ${result.problem}`, 'Run it by hand, as the user that runs Holdfast.');
      return notEmpty(withoutNewline(result.output), key, text);
    }
  }
}

function readSecretFile(path: string, key: string, text: string): string {
  try {
    if (statSync(path).size > maxFile) throw missing(key, `${text}: the file is larger than 1 MiB`);
    return withoutNewline(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    const errno = errnoOf(error);
    const reason =
      errno === 'ENOENT'
        ? 'the file does not exist'
        : errno === 'EACCES'
          ? 'this user may not read the file'
          : `the file cannot be read (${errno ?? 'unknown error'})`;
    throw missing(key, `${text}: ${reason}`);
  }
}

function withoutNewline(text: string): string {
  return text.replace(/(?:\r?\n)+$/, '');
}

function notEmpty(value: string, key: string, text: string): string {
  if (value === '') throw missing(key, `${text} is empty`);
  return value;
}

function missing(key: string, what: string, hint?: string): HoldfastError {
  return new HoldfastError('SecretMissing', `${key}: ${what}`, { key, hint });
}
