import { lstatSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, HoldfastError } from '../../errors.js';
import { matcherOf } from '../name-patterns.js';

/**
 * Files that a pattern names: itself where it holds no `*`, else those that exist, sorted. `*` stands for any characters
 * but `/`. SQLite's own companions (`-wal`, `-shm`, `-journal`) are no databases.
 * @throws HoldfastError SourceFailed when a folder on the way can't be read.
 */
export function filesOf(pattern: string): string[] {
  if (!pattern.includes('*')) return [pattern];
  const { root } = path.parse(pattern);
  let found = [root];
  const parts = pattern.slice(root.length).split(/[\\/]/);
  for (const [at, part] of parts.entries()) {
    const last = at === parts.length - 1;
    found = found.flatMap((folder) => step(folder, part, last));
  }
  return found.sort();
}

function step(folder: string, part: string, last: boolean): string[] {
  if (!part.includes('*')) {
    const next = path.join(folder, part);
    return !last || isFile(next) ? [next] : [];
  }
  const matches = matcherOf(part);
  return namesIn(folder)
    .filter((name) => matches(name) && !(last && /-(wal|shm|journal)$/.test(name)))
    .map((name) => path.join(folder, name))
    .filter((next) => !last || isFile(next));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return [];
    throw new HoldfastError('SourceFailed', `${folder} can't be read (${errno ?? String(error)})`, {
      retryable: false,
      cause: error,
    });
  }
}

function isFile(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false })?.isDirectory() === false;
}
