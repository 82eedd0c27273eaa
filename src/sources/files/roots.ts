import { type BigIntStats, lstatSync } from 'node:fs';
import { resolve } from 'node:path';
import { errnoOf, HoldfastError } from '../../errors.js';
import { comparePaths, isBelow } from '../../platform/paths.js';

/** A source path, with the source paths that lie below it. */
export interface Root {
  path: string;
  nested: Root[];
}

function normalise(path: string): string {
  const absolute = resolve(path);
  return process.platform === 'win32' ? absolute.replaceAll('\\', '/') : absolute;
}

/** Sorted as manifests are, each path once, nested ones inside their outer ones. */
export function rootTree(paths: readonly string[]): Root[] {
  const sorted = [...new Set(paths.map(normalise))].sort(comparePaths);
  const top: Root[] = [];
  const open: Root[] = [];
  for (const path of sorted) {
    while (open.length > 0 && !isBelow(path, open[open.length - 1]!.path)) open.pop();
    const root: Root = { path, nested: [] };
    (open[open.length - 1]?.nested ?? top).push(root);
    open.push(root);
  }
  return top;
}

/** Throws SourceMissing, or SourceFailed where the system refuses to look. */
export function statRoot(path: string): BigIntStats {
  try {
    return lstatSync(path, { bigint: true });
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new HoldfastError('SourceMissing', `the source path ${path} does not exist`, {
        hint: 'is a disk not mounted? Otherwise correct the path in the config',
        cause: error,
      });
    }
    throw new HoldfastError('SourceFailed', `the source path ${path} can't be read (${code ?? String(error)})`, {
      hint: 'run the worker as a user that may read it',
      retryable: false,
      cause: error,
    });
  }
}
