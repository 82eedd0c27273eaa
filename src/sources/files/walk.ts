import { isUtf8 } from 'node:buffer';
import { type BigIntStats, lstatSync } from 'node:fs';
import { isBelow } from '../../platform/paths.js';
import type { Report } from '../source.js';
import { type EntryType, makeEntry, typeOfMode, type WalkedEntry } from './entry.js';
import { listNames } from './names.js';
import { compilePatterns, type Matcher } from './patterns.js';
import { problemOf } from './problems.js';
import { type Root, rootTree, statRoot } from './roots.js';

export type { EntryType, WalkedEntry } from './entry.js';

export interface FilesOptions {
  /** Absolute source paths; nested and repeated ones are visited once. */
  paths: readonly string[];
  /** When not empty: only what matches, and the directories that lead there. */
  include: readonly string[];
  exclude: readonly string[];
  /** A directory that holds one of these names is taken without its content. */
  excludeIfPresent: readonly string[];
  oneFileSystem: boolean;
}

/** What holds for everything below one source path. */
interface Scope {
  excludes: readonly Matcher[];
  includes: readonly Matcher[];
  dev: bigint;
}

/** A directory being walked. */
interface Directory {
  kind: 'directory';
  entry: WalkedEntry;
  prefix: string;
  rawPrefix: Buffer | undefined;
  names: string[] | Buffer[];
  next: number;
  scope: Scope;
  /** Everything below was included by name. */
  included: boolean;
  nested: readonly Root[];
}

/** Source paths to start from, in order. */
interface Starts {
  kind: 'starts';
  roots: readonly Root[];
  next: number;
  scope: Scope;
}

const statOptions = { bigint: true, throwIfNoEntry: false } as const;
const noNames: string[] = [];
const slash = Buffer.from('/');
const noScope: Scope = { excludes: [], includes: [], dev: 0n };

/**
 * Walks the source paths: each path below them once, a directory before what it holds, siblings by the raw bytes of
 * their names (the order of `comparePaths`). Synchronous, for a worker thread. What can't be read is reported and left
 * out; a missing source path throws SourceMissing, a bad pattern ConfigInvalid, both before the first entry.
 */
export function* walkFiles(options: FilesOptions, report: Report): Generator<WalkedEntry, void, void> {
  const tree = rootTree(options.paths);
  const all: string[] = [];
  const check = (root: Root): void => {
    statRoot(root.path);
    all.push(root.path);
    root.nested.forEach(check);
  };
  tree.forEach(check);

  const matchers = new Map<string, { exclude: Matcher; include: Matcher }>();
  for (const path of all) {
    matchers.set(path, {
      exclude: compilePatterns(options.exclude, path, all),
      include: compilePatterns(options.include, path, all),
    });
  }
  const selective = options.include.length > 0;
  const tags = options.excludeIfPresent;
  // Directories that are emitted only once something below them is.
  const pending: WalkedEntry[] = [];
  const stack: (Directory | Starts)[] = [{ kind: 'starts', roots: tree, next: 0, scope: noScope }];

  const descend = (
    entry: WalkedEntry,
    scope: Scope,
    included: boolean,
    enter: boolean,
    nested: readonly Root[],
  ): void => {
    const { path, raw } = entry;
    let names: string[] | Buffer[] = noNames;
    let listed = false;
    if (enter) {
      try {
        names = listNames(
          raw ?? path,
          nested.length === 0 ? noNames : nested.map((root) => firstName(path, root.path)),
        );
        listed = true;
      } catch (error) {
        report(problemOf(error, path, raw));
      }
      if (tags.length > 0 && tags.some((tag) => holdsName(names, tag))) {
        names = noNames;
        listed = false;
      }
    }
    const bottom = path.endsWith('/');
    stack.push({
      kind: 'directory',
      entry,
      prefix: bottom ? path : `${path}/`,
      rawPrefix: raw === undefined ? undefined : Buffer.concat([raw, slash]),
      names,
      next: 0,
      scope,
      included,
      nested,
    });
    if (!listed && nested.length > 0) stack.push({ kind: 'starts', roots: nested, next: 0, scope });
  };

  while (stack.length > 0) {
    const frame = stack[stack.length - 1]!;

    if (frame.kind === 'starts') {
      const root = frame.roots[frame.next++];
      if (root === undefined) {
        stack.pop();
        continue;
      }
      const stat = statRoot(root.path);
      const own = matchers.get(root.path)!;
      const scope: Scope = {
        excludes: [...frame.scope.excludes, own.exclude],
        includes: [...frame.scope.includes, own.include],
        dev: stat.dev,
      };
      const entry = entryOf(root.path, undefined, stat, report);
      if (entry === undefined) continue;
      if (entry.type === 'symlink') {
        report({
          code: 'SymlinkSource',
          path: root.path,
          message: `is a symlink to ${entry.target ?? '?'}; only the link is stored`,
        });
      }
      // A path named in the config is always taken, whatever the patterns say.
      yield* pending;
      pending.length = 0;
      yield entry;
      if (entry.type === 'dir') descend(entry, scope, false, true, root.nested);
      continue;
    }

    if (frame.next >= frame.names.length) {
      stack.pop();
      if (selective && pending[pending.length - 1] === frame.entry) pending.pop();
      continue;
    }

    const name = frame.names[frame.next++]!;
    let path: string;
    let label: string;
    let raw: Buffer | undefined;
    if (typeof name === 'string') {
      label = name;
      path = frame.prefix + name;
    } else {
      label = name.toString();
      path = frame.prefix + label;
      if (frame.rawPrefix !== undefined) raw = Buffer.concat([frame.rawPrefix, name]);
      else if (!isUtf8(name)) raw = Buffer.concat([Buffer.from(frame.prefix), name]);
    }

    let nested: readonly Root[] = [];
    if (frame.nested.length > 0 && raw === undefined) {
      const root = frame.nested.find((candidate) => candidate.path === path);
      if (root !== undefined) {
        stack.push({ kind: 'starts', roots: [root], next: 0, scope: frame.scope });
        continue;
      }
      nested = frame.nested.filter((candidate) => isBelow(candidate.path, path));
    }

    const scope = frame.scope;
    const entry = look(path, raw, label, scope, report);
    if (entry === undefined) {
      if (nested.length > 0) stack.push({ kind: 'starts', roots: nested, next: 0, scope });
      continue;
    }
    const isDirectory = entry.type === 'dir';
    const included =
      !selective ||
      frame.included ||
      (isDirectory ? anyHolds(scope.includes, path, label) : anyMatches(scope.includes, path, label, false));

    if (included) {
      if (pending.length > 0) {
        yield* pending;
        pending.length = 0;
      }
      yield entry;
    } else if (isDirectory) {
      pending.push(entry);
    }
    if (isDirectory) {
      descend(entry, scope, selective && included, !options.oneFileSystem || entry.dev === scope.dev, nested);
    } else if (nested.length > 0) {
      stack.push({ kind: 'starts', roots: nested, next: 0, scope });
    }
  }
}

/** The entry of a path, or undefined when it is excluded or can't be had. What is excluded causes no report. */
function look(
  path: string,
  raw: Buffer | undefined,
  name: string,
  scope: Scope,
  report: Report,
): WalkedEntry | undefined {
  let stat: BigIntStats | undefined;
  try {
    stat = lstatSync(raw ?? path, statOptions);
  } catch (error) {
    if (!excludedEitherWay(scope, path, name)) report(problemOf(error, path, raw));
    return undefined;
  }
  if (stat === undefined) {
    if (!excludedEitherWay(scope, path, name)) {
      report({
        code: 'Vanished',
        path,
        ...(raw === undefined ? {} : { raw }),
        message: 'went away while its directory was read',
      });
    }
    return undefined;
  }
  const type = typeOfMode(Number(stat.mode));
  if (anyMatches(scope.excludes, path, name, type === 'dir')) return undefined;
  return entryOf(path, raw, stat, report, type);
}

function entryOf(
  path: string,
  raw: Buffer | undefined,
  stat: BigIntStats,
  report: Report,
  type: EntryType | undefined = typeOfMode(Number(stat.mode)),
): WalkedEntry | undefined {
  if (type === undefined) {
    report({
      code: 'Unreadable',
      path,
      ...(raw === undefined ? {} : { raw }),
      message: 'is of a type that is not known',
    });
    return undefined;
  }
  try {
    return makeEntry(path, raw, stat, type);
  } catch (error) {
    report(problemOf(error, path, raw));
    return undefined;
  }
}

function anyMatches(matchers: readonly Matcher[], path: string, name: string, isDirectory: boolean): boolean {
  for (const matcher of matchers) if (matcher.matches(path, name, isDirectory)) return true;
  return false;
}

function anyHolds(matchers: readonly Matcher[], path: string, name: string): boolean {
  for (const matcher of matchers) if (matcher.holds(path, name)) return true;
  return false;
}

function excludedEitherWay(scope: Scope, path: string, name: string): boolean {
  return anyMatches(scope.excludes, path, name, false) || anyMatches(scope.excludes, path, name, true);
}

/** The name of the child of `directory` that leads to `path`. */
function firstName(directory: string, path: string): string {
  const start = directory.endsWith('/') ? directory.length : directory.length + 1;
  const end = path.indexOf('/', start);
  return path.slice(start, end < 0 ? undefined : end);
}

function holdsName(names: readonly (string | Buffer)[], tag: string): boolean {
  return names.some((name) => (typeof name === 'string' ? name === tag : name.equals(Buffer.from(tag))));
}
