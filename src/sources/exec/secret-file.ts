import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';

export interface SecretFile {
  path: string;
  /** Idempotent. */
  remove(): void;
}

/**
 * A file that only this user may read, for tools that take a password by path (`PGPASSFILE`, `--defaults-extra-file`).
 * The caller removes it; after kill -9 it goes with its folder, which the run owns.
 */
export function writeSecretFile(folder: string, name: string, content: string): SecretFile {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = path.join(folder, `${name}-${randomUUID()}`);
  const fd = openSync(file, 'wx', 0o600);
  try {
    writeSync(fd, content);
  } finally {
    closeSync(fd);
  }
  return { path: file, remove: () => rmSync(file, { force: true }) };
}
