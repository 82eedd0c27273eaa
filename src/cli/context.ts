import { join } from 'node:path';
import type { LoadedConfig } from '../config/load.js';

/** The options every command takes. */
export interface GlobalOptions {
  config?: string;
  json: boolean;
  quiet: boolean;
  verbose: boolean;
  /** A file with an RSA private key. */
  identity?: string;
  /** The passphrase of that key: a file, or `-`. */
  identityPassphraseFile?: string;
}

/** What a command gets: the global options, and the two ways to say something. */
export interface Context {
  readonly options: GlobalOptions;
  /** Prints the command's result: the document with --json, else the text. */
  result(document: unknown, text: () => string): void;
  /** One NDJSON line with --json; nothing otherwise. */
  event(document: unknown): void;
  /** A line for people, on stderr. Not with --quiet. */
  say(line: string): void;
  /** A warning for people, on stderr, whatever the options. */
  warn(line: string): void;
  /** Finds, reads and checks the config; its warnings go to stderr. */
  load(): Promise<LoadedConfig>;
  /** Sets the exit code unless a worse one is set. */
  exit(code: ExitCode): void;
}

export type ExitCode = 0 | 1 | 2 | 3 | 130;

const severity: readonly ExitCode[] = [0, 3, 1, 2, 130];

/** The worse of two exit codes. */
export function worst(a: ExitCode, b: ExitCode): ExitCode {
  return severity.indexOf(a) >= severity.indexOf(b) ? a : b;
}

export interface Output {
  exitCode: ExitCode;
  /** Where unexpected errors are logged, once that is known. */
  logFile?: string;
}

export function makeContext(given: Partial<GlobalOptions>, output: Output): Context {
  const options: GlobalOptions = { json: false, quiet: false, verbose: false, ...given };
  const stderr = (line: string) => void process.stderr.write(`${line}\n`);
  const context: Context = {
    options,
    result(document, text) {
      if (options.json) process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
      else {
        const lines = text();
        if (lines !== '') process.stdout.write(lines.endsWith('\n') ? lines : `${lines}\n`);
      }
    },
    event(document) {
      if (options.json) process.stdout.write(`${JSON.stringify(document)}\n`);
    },
    say(line) {
      if (!options.quiet) stderr(line);
    },
    warn(line) {
      stderr(`warning: ${line}`);
    },
    async load() {
      const { findConfig, loadConfig } = await import('../config/load.js');
      const loaded = loadConfig(findConfig(options.config));
      output.logFile = join(loaded.config.log.path, 'holdfast.log');
      for (const warning of loaded.warnings) {
        if (!options.quiet) context.warn(`${warning.path === undefined ? '' : `${warning.path}: `}${warning.message}`);
      }
      if (options.identity === undefined) return loaded;
      const { readIdentity, withIdentity } = await import('./identity.js');
      return withIdentity(loaded, await readIdentity(options.identity, options.identityPassphraseFile));
    },
    exit(code) {
      output.exitCode = worst(output.exitCode, code);
    },
  };
  return context;
}
