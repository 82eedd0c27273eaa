import picomatch from 'picomatch';
import { HoldfastError } from '../../errors.js';
import { isBelow } from '../../platform/paths.js';

/** Which entries below one source path a list of patterns selects. */
export interface Matcher {
  /** `path`: absolute, below the source path; `name`: its last component. */
  matches(path: string, name: string, isDirectory: boolean): boolean;
  /**
   * Whether a directory is selected with all that it holds: its own path or name is spelled out, or the pattern ends
   * in '/'. Wildcards that happen to match a directory don't count.
   */
  holds(path: string, name: string): boolean;
}

interface Rule {
  negated: boolean;
  directoriesOnly: boolean;
  literal: boolean;
  /** Whether `test` takes the path relative to the source path, or just the name. */
  anchored: boolean;
  glob: string;
  test: (subject: string) => boolean;
}

const options = {
  dot: true,
  nonegate: true,
  noextglob: true,
  posix: true,
  keepQuotes: true,
  windows: false,
  // So that '**' crosses a newline in a name.
  flags: 's',
} as const;

const wildcard = /[*?[{\\]/;

/** Characters that picomatch treats as special but gitignore-like patterns don't. */
function escapeOrdinary(glob: string): string {
  return glob.replace(/\\.|\[[!^]|[()|+^$"'@!]/gs, (found) => (found.length > 1 ? found : `\\${found}`));
}

function compileGlob(glob: string, pattern: string): (subject: string) => boolean {
  if (!wildcard.test(glob)) return (subject) => subject === glob;
  const tail = glob.slice(1);
  if (glob.startsWith('*') && tail !== '' && !wildcard.test(tail) && !tail.includes('/')) {
    return (subject) => subject.endsWith(tail) && !subject.includes('/');
  }
  const head = glob.slice(0, -1);
  if (glob.endsWith('*') && head !== '' && !wildcard.test(head) && !head.includes('/')) {
    return (subject) => subject.startsWith(head) && !subject.includes('/');
  }
  // 'a/**' is what lies below a, not a itself.
  const regex = picomatch.makeRe(escapeOrdinary(glob.replace(/(^|\/)\*\*$/, '$1**/*')), options);
  // What picomatch makes of a pattern that it can't parse matches nothing, ever.
  if (regex === null || (regex instanceof RegExp && regex.source === '$^')) {
    throw new HoldfastError('ConfigInvalid', `the pattern ${JSON.stringify(pattern)} can't be understood`, {
      hint: 'close every [ and {, or put a backslash before one that is meant literally',
    });
  }
  return (subject) => regex.test(subject);
}

/** Undefined for a pattern that says nothing about what lies below `root`. */
function compileRule(pattern: string, root: string, roots: readonly string[]): Rule | undefined {
  let glob = pattern;
  const negated = glob.startsWith('!');
  if (negated) glob = glob.slice(1);
  const directoriesOnly = glob.endsWith('/');
  glob = glob.replace(/\/+$/, '');
  if (glob === '') return undefined;
  let anchored = glob.includes('/');
  if (/^(?:\/|[A-Za-z]:\/)/.test(glob)) {
    const within = roots.filter((path) => glob === path || isBelow(glob, path));
    if (within.includes(root)) glob = glob.slice(root.length);
    else if (within.length > 0) return undefined;
    glob = glob.replace(/^\/+/, '');
    if (glob === '') return undefined;
  } else if (glob.startsWith('./')) {
    glob = glob.slice(2);
  } else if (glob.startsWith('**/') && !glob.slice(3).includes('/') && glob.slice(3) !== '**') {
    // '**/name' is the same as 'name', and names are faster.
    glob = glob.slice(3);
    anchored = false;
  }
  return { negated, directoriesOnly, literal: !wildcard.test(glob), anchored, glob, test: compileGlob(glob, pattern) };
}

/**
 * Compiles gitignore-like patterns for one source path. Without a slash: a name at any depth; with a leading or inner
 * slash: from the source path; with a trailing one: directories only; `*`, `?`, `[a-z]`, `**` and `{a,b}`; an absolute
 * path that begins with one of the source paths is that path; a leading `!` takes back what earlier patterns selected.
 * Throws ConfigInvalid for a pattern that can't be understood.
 */
export function compilePatterns(patterns: readonly string[], root: string, roots: readonly string[]): Matcher {
  const rules: Rule[] = [];
  for (const pattern of patterns) {
    const rule = compileRule(pattern, root, roots);
    if (rule !== undefined) rules.push(rule);
  }
  const prefix = root.endsWith('/') ? root.length : root.length + 1;
  return rules.some((rule) => rule.negated) ? ordered(rules, prefix) : unordered(rules, prefix);
}

/** With negation the last rule that matches decides. */
function ordered(rules: readonly Rule[], prefix: number): Matcher {
  const backwards = [...rules].reverse();
  const decide = (path: string, name: string, isDirectory: boolean, holding: boolean): boolean => {
    const relative = path.slice(prefix);
    for (const rule of backwards) {
      if (rule.directoriesOnly && !isDirectory) continue;
      if (holding && !rule.negated && !rule.directoriesOnly && !rule.literal) continue;
      if (rule.test(rule.anchored ? relative : name)) return !rule.negated;
    }
    return false;
  };
  return {
    matches: (path, name, isDirectory) => decide(path, name, isDirectory, false),
    holds: (path, name) => decide(path, name, true, true),
  };
}

/** Without negation the order is irrelevant: look literals up, test the others. */
function unordered(rules: readonly Rule[], prefix: number): Matcher {
  const names = new Set<string>();
  const directoryNames = new Set<string>();
  const paths = new Set<string>();
  const directoryPaths = new Set<string>();
  const extensions = new Set<string>();
  const others: Rule[] = [];
  for (const rule of rules) {
    if (rule.literal) {
      if (rule.anchored) (rule.directoriesOnly ? directoryPaths : paths).add(rule.glob);
      else (rule.directoriesOnly ? directoryNames : names).add(rule.glob);
    } else if (!rule.anchored && !rule.directoriesOnly && /^\*\.[^*?[{\\./]+$/.test(rule.glob)) {
      extensions.add(rule.glob.slice(1));
    } else {
      others.push(rule);
    }
  }
  const anyAnchored = paths.size + directoryPaths.size > 0 || others.some((rule) => rule.anchored);

  const literally = (relative: string, name: string, isDirectory: boolean): boolean =>
    names.has(name) ||
    (anyAnchored && paths.has(relative)) ||
    (isDirectory && (directoryNames.has(name) || (anyAnchored && directoryPaths.has(relative))));
  const relativeOf = (path: string): string => (anyAnchored ? path.slice(prefix) : '');

  return {
    matches(path, name, isDirectory) {
      const relative = relativeOf(path);
      if (literally(relative, name, isDirectory)) return true;
      if (extensions.size > 0) {
        const dot = name.lastIndexOf('.');
        if (dot >= 0 && extensions.has(name.slice(dot))) return true;
      }
      for (const rule of others) {
        if (rule.directoriesOnly && !isDirectory) continue;
        if (rule.test(rule.anchored ? relative : name)) return true;
      }
      return false;
    },
    holds(path, name) {
      const relative = relativeOf(path);
      if (literally(relative, name, true)) return true;
      return others.some((rule) => rule.directoriesOnly && rule.test(rule.anchored ? relative : name));
    },
  };
}
