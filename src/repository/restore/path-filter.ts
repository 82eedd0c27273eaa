import { HoldfastError } from '../../errors.js';
import { partsAt, partsWithin } from '../reader.js';
import type { ManifestPart } from '../root.js';

/** Which source paths to restore: the named ones, what lies below them, and the directories that lead there. */
export class PathFilter {
  private readonly paths: readonly string[];
  /** By the bytes of a wanted path. */
  private readonly wanted = new Map<string, string>();
  private readonly leading = new Set<string>();
  private readonly found = new Set<string>();

  /** `paths` are absolute; none means everything. Many are as quick as few. */
  constructor(paths: readonly string[]) {
    this.paths = [...new Set(paths.map(tidy))];
    for (const path of this.paths) {
      const key = bytesOf(path);
      this.wanted.set(key, path);
      for (const above of aboveOf(key)) this.leading.add(above);
    }
  }

  wants(path: string | Buffer): 'wanted' | 'leads' | undefined {
    if (this.paths.length === 0) return 'wanted';
    const key = bytesOf(path);
    let isWanted = this.note(key);
    for (const above of aboveOf(key)) isWanted = this.note(above) || isWanted;
    if (isWanted) return 'wanted';
    return this.leading.has(key) ? 'leads' : undefined;
  }

  private note(key: string): boolean {
    const path = this.wanted.get(key);
    if (path !== undefined) this.found.add(path);
    return path !== undefined;
  }

  /** The parts of a manifest that have to be read. */
  select(parts: readonly ManifestPart[]): ManifestPart[] {
    if (this.paths.length === 0) return [...parts];
    const chosen = new Set<ManifestPart>();
    for (const wanted of this.paths) {
      for (const part of partsWithin(parts, wanted)) chosen.add(part);
      for (let at = wanted.lastIndexOf('/'); at >= 0; at = at === 0 ? -1 : wanted.lastIndexOf('/', at - 1)) {
        for (const part of partsAt(parts, at === 0 ? '/' : wanted.slice(0, at))) chosen.add(part);
      }
    }
    return parts.filter((part) => chosen.has(part));
  }

  /** @throws HoldfastError PathUnknown naming the paths that nothing was found for. */
  check(snapshot: string): void {
    const missing = this.paths.filter((path) => !this.found.has(path));
    if (missing.length === 0) return;
    throw new HoldfastError('PathUnknown', `snapshot ${snapshot} has no ${missing.slice(0, 5).join(', ')}`, {
      hint: "Paths are absolute source paths; 'holdfast ls JOB' shows what there is.",
    });
  }
}

/** One char per byte, so that names in any encoding compare. */
const bytesOf = (path: string | Buffer): string =>
  (typeof path === 'string' ? Buffer.from(path, 'utf8') : path).toString('latin1');

/** The directories above a path, nearest first. */
function aboveOf(path: string): string[] {
  const above: string[] = [];
  for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) above.push(path.slice(0, at));
  if (path.startsWith('/') && path !== '/') above.push('/');
  return above;
}

function tidy(path: string): string {
  const slashed = process.platform === 'win32' ? path.replaceAll('\\', '/') : path;
  if (!slashed.startsWith('/') && !/^[A-Za-z]:\//.test(slashed)) {
    throw new HoldfastError('UsageInvalid', `expected an absolute source path, found ${JSON.stringify(path)}`);
  }
  const short = slashed.replace(/\/+/g, '/').replace(/(.)\/+$/, '$1');
  if (/(^|\/)\.\.?(\/|$)/.test(short)) {
    throw new HoldfastError('UsageInvalid', `expected a source path without . and .., found ${JSON.stringify(path)}`);
  }
  return short;
}
