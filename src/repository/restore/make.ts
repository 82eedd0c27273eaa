import { closeSync, ftruncateSync } from 'node:fs';
import { errnoOf } from '../../errors.js';
import type { SafeRoot } from '../../platform/restore-fs.js';
import type { RelativePath } from '../../platform/restore-path.js';
import {
  loadPath,
  type PlannedDir,
  type PlannedLarge,
  type RestorePlan,
  type Share,
  shareOf,
  type Tally,
} from './plan-files.js';
import { planLines } from './plan-lines.js';
import { newTally, note } from './tally.js';
import { failureOf } from './write-pack.js';

/** A mode that can be given at once: what is written in the directory meanwhile is safe in it. */
export const finalAtOnce = (dir: PlannedDir): boolean =>
  dir.meta !== undefined && (dir.meta.mode & 0o700) === 0o700 && (dir.meta.mode & 0o7022) === 0;

/** Makes a share of the directories of a plan. May be repeated, and run beside the other shares. */
export function makeTree(root: SafeRoot, plan: RestorePlan, scratch: string, share: Share, tick?: () => void): Tally {
  const tally = newTally();
  const { from, to } = shareOf(share, plan.dirs);
  let number = 0;
  if (from < to) {
    for (const line of planLines(scratch, plan, 'dirs')) {
      if (number++ < from) continue;
      if (number > to) break;
      tick?.();
      const dir = JSON.parse(line) as PlannedDir;
      if (dir.there) continue;
      const rel = loadPath(dir.path);
      try {
        makeDirectory(root, rel, dir.meta === undefined ? 0o777 : finalAtOnce(dir) ? dir.meta.mode : 0o700);
      } catch (error) {
        note(tally, { path: `/${rel.toString()}`, message: failureOf(error, plan.target) });
      }
    }
  }
  return tally;
}

/** The directory above may be in another share, and not be made yet; its own mode it gets at the end. */
function makeDirectory(root: SafeRoot, rel: RelativePath, mode: number): void {
  try {
    root.mkdir(rel, mode);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    root.mkdirs(rel, 0o700);
  }
}

/** Makes the large files in their full size and without content. May be repeated. */
export function makeLarge(root: SafeRoot, plan: RestorePlan, scratch: string, tick?: () => void): void {
  if (plan.large > 0) {
    for (const line of planLines(scratch, plan, 'large')) {
      tick?.();
      const large = JSON.parse(line) as PlannedLarge;
      try {
        const file = root.createFile(loadPath(large.temp), 0o600);
        try {
          ftruncateSync(file.fd, large.size);
        } finally {
          closeSync(file.fd);
        }
      } catch (error) {
        // An earlier attempt made it. What else is wrong shows when its pieces are written.
        if (errnoOf(error) !== 'EEXIST') failureOf(error, plan.target);
      }
    }
  }
}
