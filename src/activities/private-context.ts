import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { errnoOf } from '../errors.js';
import type { DatabaseContext } from '../sources/database.js';
import { endOrphans } from '../sources/exec/process-record.js';
import { isAlive } from './restore-database.js';

const folderOf = (state: string): string => path.join(state, 'tools');

/** Does `work` with folders of its own for tools and files with passwords, which a worker's start clears after a kill. */
export async function withPrivateContext<T>(
  state: string,
  rest: Pick<DatabaseContext, 'signal' | 'log'>,
  work: (context: DatabaseContext) => Promise<T>,
): Promise<T> {
  const parent = folderOf(state);
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  const own = mkdtempSync(path.join(parent, `${process.pid}-`));
  const context = { ...rest, tempDir: path.join(own, 'temp'), processes: path.join(own, 'processes') };
  try {
    for (const folder of [context.tempDir, context.processes]) mkdirSync(folder, { mode: 0o700 });
    return await work({ ...context, onProgress: () => undefined });
  } finally {
    rmSync(own, { recursive: true, force: true });
    removeIfEmpty(parent);
  }
}

/** Ends the tools and removes the files of processes that were killed. */
export async function clearPrivateContexts(state: string): Promise<void> {
  const parent = folderOf(state);
  for (const name of namesIn(parent)) {
    if (isAlive(Number.parseInt(name, 10))) continue;
    await endOrphans(path.join(parent, name, 'processes'));
    rmSync(path.join(parent, name), { recursive: true, force: true });
  }
}

/** Names in a folder; none where there is no such folder. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'EEXIST') throw error;
  }
}
