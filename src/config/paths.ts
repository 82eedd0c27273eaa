import { realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, isAbsolute, join, normalize, parse, relative, resolve, sep } from 'node:path';
import { HoldfastError } from '../errors.js';

const app = 'holdfast';

function home(): string {
  try {
    const folder = homedir();
    if (folder !== '') return folder;
  } catch {
    // A user id without a passwd entry and without HOME.
  }
  throw new HoldfastError('ConfigInvalid', 'this user has no home folder', {
    hint: 'Set HOME, or write absolute paths for `state` and wherever the config says `~`.',
  });
}

function fromEnv(name: string): string | undefined {
  const value = process.env[name];
  // The XDG specification: relative paths are to be ignored.
  return value !== undefined && isAbsolute(value) ? value : undefined;
}

/** `~` and `~/x` with the user's home folder in front; everything else as it is. */
export function expandHome(path: string): string {
  if (path === '~') return home();
  return path.startsWith('~/') || (sep === '\\' && path.startsWith('~\\')) ? join(home(), path.slice(2)) : path;
}

/** Where catalogs, keys and the embedded server's database are kept unless the config says otherwise. */
export function defaultStateFolder(): string {
  const xdg = fromEnv('XDG_STATE_HOME');
  if (xdg !== undefined) return join(xdg, app);
  if (process.platform === 'darwin') return join(home(), 'Library', 'Application Support', app);
  if (process.platform === 'win32') return join(fromEnv('LOCALAPPDATA') ?? join(home(), 'AppData', 'Local'), app);
  return join(home(), '.local', 'state', app);
}

/** The user's config folder for Holdfast. */
export function userConfigFolder(): string {
  const xdg = fromEnv('XDG_CONFIG_HOME');
  if (xdg !== undefined) return join(xdg, app);
  if (process.platform === 'win32') return join(fromEnv('APPDATA') ?? join(home(), 'AppData', 'Roaming'), app);
  return join(home(), '.config', app);
}

/** The machine's config folder for Holdfast. */
export function systemConfigFolder(): string {
  return process.platform === 'win32' ? join(fromEnv('PROGRAMDATA') ?? 'C:\\ProgramData', app) : `/etc/${app}`;
}

/** `path` with `~` expanded, without doubled or trailing separators. `..` is left for the caller to refuse. */
export function tidyPath(path: string): string {
  const expanded = expandHome(path);
  if (!isAbsolute(expanded) || hasParentSegment(expanded)) return expanded;
  const tidy = normalize(expanded);
  return tidy.length > parse(tidy).root.length && tidy.endsWith(sep) ? tidy.slice(0, -1) : tidy;
}

/** Whether a segment of `path` is `..`: what it means would depend on symbolic links. */
export function hasParentSegment(path: string): boolean {
  return path.split(sep === '\\' ? /[\\/]/ : '/').includes('..');
}

/** Whether `path` is `folder` or below it; both absolute. */
export function isInside(path: string, folder: string): boolean {
  const between = relative(folder, path);
  return between === '' || (between !== '..' && !between.startsWith(`..${sep}`) && !isAbsolute(between));
}

let known: Map<string, string> | undefined;

/** Looks each path up once while `work` goes on: many jobs are compared with many destinations. Synchronous. */
export function lookingUpOnce<T>(work: () => T): T {
  known = new Map();
  try {
    return work();
  } finally {
    known = undefined;
  }
}

/** The real path of as much of `path` as exists (symbolic links followed), with the rest as written. */
export function realPath(path: string): string {
  const found = known?.get(path) ?? lookUp(path);
  known?.set(path, found);
  return found;
}

function lookUp(path: string): string {
  let existing = resolve(path);
  const rest: string[] = [];
  for (;;) {
    try {
      return join(realpathSync(existing), ...rest);
    } catch {
      const parent = dirname(existing);
      if (parent === existing) return resolve(path);
      rest.unshift(basename(existing));
      existing = parent;
    }
  }
}
