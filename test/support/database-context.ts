import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { DatabaseContext } from '../../src/sources/database.js';

/** A context for a source's calls on a temporary folder. */
export function databaseContext(): DatabaseContext & {
  folder: string;
  bytes: number;
  abort: AbortController;
  remove(): void;
} {
  const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-db-'));
  const abort = new AbortController();
  for (const name of ['temp', 'processes']) mkdirSync(path.join(folder, name), { mode: 0o700 });
  const context = {
    folder,
    abort,
    signal: abort.signal,
    tempDir: path.join(folder, 'temp'),
    processes: path.join(folder, 'processes'),
    bytes: 0,
    onProgress(bytes: number) {
      context.bytes += bytes;
    },
    log: () => undefined,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
  return context;
}
