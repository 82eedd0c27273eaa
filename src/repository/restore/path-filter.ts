import { HoldfastError } from '../../errors.js';
import { isWithin, partsAt, partsWithin } from '../reader.js';
import type { ManifestPart } from '../root.js';

/** Which source paths to restore: the named ones, what lies below them, and the directories that lead there. */
export class PathFilter {
  private readonly paths: readonly string[];
  private readonly found = new Set<string>();

  /** `paths` are absolute; none means everything. */
  constructor(paths: readonly string[]) {
    this.paths = [...new Set(paths.map(tidy))];
  }

  wants(path: string | Buffer): 'wanted' | 'leads' | undefined {
    if (this.paths.length === 0) return 'wanted';
    let leads = false;
    for (const wanted of this.paths) {
      if (isWithin(path, wanted)) {
        this.found.add(wanted);
        return 'wanted';
      }
      leads ||= isWithin(wanted, path);
    }
    return leads ? 'leads' : undefined;
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
