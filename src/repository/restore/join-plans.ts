import { statfsSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, HoldfastError } from '../../errors.js';
import type { Root } from '../root.js';
import type { PlannedPack, RestorePlan } from './plan-files.js';
import { addTally } from './tally.js';

const fewest = 64;

/** Into how many parts, planned side by side, a restore of all of `root` or of some `paths` is divided. */
export function partsFor(root: Root, paths: readonly string[]): number {
  const only = root.sources.length === 1 ? root.sources[0] : undefined;
  return paths.length === 0 && only?.type === 'files' && only.manifest.length >= fewest ? 2 : 1;
}

/** One plan out of those of its parts. */
export function joinPlans(parts: readonly RestorePlan[]): RestorePlan {
  const [first, ...others] = parts;
  if (!first) throw new Error('no plan');
  const packs = new Map<string, PlannedPack>(first.packs.map((pack) => [pack.pack, pack]));
  const joined: RestorePlan = { ...first, parts: parts.length };
  for (const other of others) {
    for (const pack of other.packs) {
      const known = packs.get(pack.pack);
      if (!known) {
        packs.set(pack.pack, pack);
        continue;
      }
      known.at.push(...pack.at);
      known.files += pack.files;
      known.bytes += pack.bytes;
    }
    for (const count of ['dirs', 'late', 'links', 'large', 'files', 'bytes', 'needed'] as const)
      joined[count] += other[count];
    addTally(joined.tally, other.tally);
  }
  joined.packs = [...packs.values()];
  return joined;
}

/** @throws HoldfastError TargetFull when the content can't fit. */
export function checkSpace(target: string, bytes: number): void {
  let folder = path.resolve(target);
  for (;;) {
    try {
      const { bavail, bsize } = statfsSync(folder);
      const free = bavail * bsize;
      if (free >= bytes) return;
      const mib = (value: number): string => `${Math.ceil(value / 1048576)} MiB`;
      throw new HoldfastError('TargetFull', `${folder} has ${mib(free)} free, and the restore needs ${mib(bytes)}`, {
        hint: 'Free some space, restore elsewhere, or name the paths you need.',
        retryable: false,
      });
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || path.dirname(folder) === folder) throw error;
      folder = path.dirname(folder);
    }
  }
}
