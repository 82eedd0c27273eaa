import { posix as posixPaths, relative, sep } from 'node:path';
import { compilePatterns } from '../sources/files/patterns.js';
import { isInside, realPath } from './paths.js';
import type { Config, DestinationConfig, FilesSourceConfig, JobConfig } from './schema.js';

/** Whether `folder`, which is inside the source path `root`, is left out by the source's `exclude`. Patterns must be valid. */
export function isExcluded(folder: string, root: string, source: FilesSourceConfig): boolean {
  const top = posix(root);
  const matcher = compilePatterns(source.exclude, top, source.paths.map(posix));
  const parts = posix(folder)
    .slice(top.length)
    .split('/')
    .filter((part) => part !== '');
  let path = top === '/' ? '' : top;
  for (const part of parts) {
    path += `/${part}`;
    if (matcher.matches(path, part, true)) return true;
  }
  return false;
}

/** Patterns to add to a source's `exclude`: the state and spool folders, where they lie inside one of its paths. */
export function automaticExcludes(config: Pick<Config, 'state' | 'spool'>, paths: readonly string[]): string[] {
  const patterns = new Set<string>();
  for (const path of paths) {
    for (const folder of [config.state, config.spool.path]) {
      if (relationOf(folder, path) !== 'inside') continue;
      const below = posix(relative(realPath(path), realPath(folder))).replace(/[\\*?[\]{}!]/g, '\\$&');
      const root = posix(path);
      patterns.add(`${root.endsWith('/') ? root : `${root}/`}${below}/`);
    }
  }
  return [...patterns];
}

function posix(path: string): string {
  return sep === '\\' ? path.replaceAll('\\', '/') : path;
}

/** What SQLite writes beside a database: of no use, and a danger, beside a copy taken at another moment. */
const sqliteCompanions = ['', '-wal', '-shm', '-journal'];

/** Patterns to add to a files source's `exclude`: databases that a source of the same job copies as a whole. */
export function databaseExcludes(job: Pick<JobConfig, 'sources'>): string[] {
  return job.sources.flatMap((source) =>
    source.type !== 'sqlite'
      ? []
      : source.path.flatMap((path) =>
          sqliteCompanions.map((ending) => posix(path).replace(/[\\?[\]{}!]/g, '\\$&') + ending),
        ),
  );
}

/** How two folders lie: the same, one inside the other, or apart; symbolic links followed as far as they exist. */
export function relationOf(a: string, b: string): 'same' | 'inside' | 'around' | 'apart' {
  const [first, second] = [realPath(a), realPath(b)];
  const inside = isInside(first, second);
  const around = isInside(second, first);
  if (inside) return around ? 'same' : 'inside';
  return around ? 'around' : 'apart';
}

/** How the places of two destinations lie; those of different types, or in different buckets, are apart. */
export function placesOf(a: DestinationConfig, b: DestinationConfig): 'same' | 'nested' | 'apart' {
  if (a.type === 'local' && b.type === 'local') {
    const relation = relationOf(a.path, b.path);
    return relation === 'inside' || relation === 'around' ? 'nested' : relation;
  }
  if (a.type === 's3' && b.type === 's3') {
    if (service(a.endpoint) !== service(b.endpoint) || a.bucket !== b.bucket) return 'apart';
    return prefixesOf(a.prefix, b.prefix);
  }
  if ((a.type === 'sftp' && b.type === 'sftp') || (a.type === 'ftp' && b.type === 'ftp')) {
    // A path means the same to two users of one server only where neither is locked into a folder of his own.
    const same = a.host.toLowerCase() === b.host.toLowerCase() && a.port === b.port && a.user === b.user;
    return same ? prefixesOf(tidy(a.path), tidy(b.path)) : 'apart';
  }
  if (a.type === 'gdrive' && b.type === 'gdrive') {
    const place = (one: typeof a): string => one.folderId ?? one.driveId ?? `own folder by ${one.credentials}`;
    return place(a) === place(b) && service(a.endpoint) === service(b.endpoint) ? 'same' : 'apart';
  }
  if (a.type === 'dropbox' && b.type === 'dropbox') {
    const isOne = a.appKey === b.appKey && a.namespace === b.namespace && a.refreshToken === b.refreshToken;
    if (!isOne || service(a.endpoint) !== service(b.endpoint)) return 'apart';
    const [short = '', long = ''] = [a.path, b.path].map((path) => `${path.toLowerCase()}/`).sort();
    if (short === long) return 'same';
    return long.startsWith(short === '//' ? '/' : short) ? 'nested' : 'apart';
  }
  return 'apart';
}

function prefixesOf(a: string, b: string): 'same' | 'nested' | 'apart' {
  if (a === b) return 'same';
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  return short === '' || short === '/' || long.startsWith(`${short}/`) ? 'nested' : 'apart';
}

function tidy(path: string): string {
  const normal = posixPaths.normalize(path);
  return normal === '.' ? '' : normal.replace(/(.)\/$/, '$1');
}

function service(endpoint: string | undefined): string {
  if (endpoint === undefined || !URL.canParse(endpoint)) return endpoint ?? '';
  return new URL(endpoint).href.replace(/\/+$/, '');
}
