import { errnoOf, HoldfastError } from '../../errors.js';
import type { SafeRoot } from '../../platform/restore-fs.js';
import type { RelativePath } from '../../platform/restore-path.js';
import { toSet } from './owners.js';
import {
  loadPath,
  Place,
  type PlannedDir,
  type PlannedLarge,
  type PlannedLink,
  type RestorePlan,
  type Share,
  shareOf,
  type Tally,
} from './plan-files.js';
import { largeLines, lateLines, planLines } from './plan-lines.js';
import { fail, newTally, note, warn } from './tally.js';
import { failureOf, publishNew, removeIfThere } from './write-pack.js';

export interface FinishRequest {
  root: SafeRoot;
  plan: RestorePlan;
  scratch: string;
  /** Large files that miss pieces, by number, and why. */
  lost: ReadonlyMap<number, string>;
  tick?: () => void;
}

/** Gives large files their names, makes links and special files. May be repeated. */
export function finishRestore(request: FinishRequest): Tally {
  const { root, plan, scratch, lost, tick } = request;
  const tally = newTally();
  const attempt = (path: RelativePath, counts: boolean, work: () => void): void => {
    tick?.();
    try {
      work();
    } catch (error) {
      const failure = { path: `/${path.toString()}`, message: failureOf(error, plan.target) };
      if (counts) fail(tally, failure);
      else note(tally, failure);
    }
  };
  const warnings = (path: RelativePath, list: readonly { code: string; message: string }[]): void => {
    for (const { code, message } of list) warn(tally, code, message, `/${path.toString()}`);
  };

  for (const [line, number] of largeLines(scratch, plan)) {
    const large = JSON.parse(line) as PlannedLarge;
    const rel = loadPath(large.path);
    const why = lost.get(number);
    attempt(rel, true, () => {
      const temp = loadPath(large.temp);
      if (why !== undefined) {
        removeIfThere(root, temp);
        fail(tally, { path: `/${rel.toString()}`, message: why });
        return;
      }
      finishLarge(root, large, temp, rel, warnings);
      tally.restored++;
    });
  }
  for (const line of planLines(scratch, plan, 'links')) {
    const link = JSON.parse(line) as PlannedLink;
    const rel = loadPath(link.path);
    attempt(rel, link.kind === 'hardlink', () => {
      if (!makeLink(root, plan, link, rel)) {
        if (link.kind === 'hardlink') tally.skipped++;
        else tally.skippedOther++;
        warn(
          tally,
          'Kept',
          'differing files at the target are kept; --overwrite changed replaces them',
          `/${rel.toString()}`,
        );
        return;
      }
      if (link.kind === 'hardlink') tally.restored++;
      else warnings(rel, root.applyMetadata(rel, toSet(link.kind, link.meta)));
    });
  }
  return tally;
}

/**
 * Sets the metadata of a share of the directories, once nothing more is made in any; or, after all shares, of those that
 * lock their owner out, the deepest first. May be repeated, and run beside the other shares.
 */
export function finishDirs(
  root: SafeRoot,
  plan: RestorePlan,
  scratch: string,
  share: Share | 'late',
  tick?: () => void,
): Tally {
  const tally = newTally();
  const apply = (line: string): void => {
    tick?.();
    const dir = JSON.parse(line) as PlannedDir;
    if (!dir.meta || (dir.late && share !== 'late')) return;
    const rel = loadPath(dir.path);
    try {
      for (const { code, message } of root.applyMetadata(rel, toSet('dir', dir.meta)))
        warn(tally, code, message, `/${rel.toString()}`);
    } catch (error) {
      // One that could not be made was named then.
      if (errnoOf(error) !== 'ENOENT')
        note(tally, { path: `/${rel.toString()}`, message: failureOf(error, plan.target) });
    }
  };
  if (share === 'late') {
    for (const line of lateLines(scratch, plan)) apply(line);
    return tally;
  }
  const { from, to } = shareOf(share, plan.dirs);
  let number = 0;
  for (const line of from < to ? planLines(scratch, plan, 'dirs') : []) {
    if (number++ < from) continue;
    if (number > to) break;
    apply(line);
  }
  return tally;
}

function finishLarge(
  root: SafeRoot,
  large: PlannedLarge,
  temp: RelativePath,
  rel: RelativePath,
  warnings: (path: RelativePath, list: readonly { code: string; message: string }[]) => void,
): void {
  const whole = (): boolean => {
    const there = root.lstat(rel);
    return there?.isFile() === true && there.size === BigInt(large.size) && there.mtimeNs === BigInt(large.meta.mtime);
  };
  if (root.lstat(temp) === undefined) {
    // An earlier attempt came this far.
    if (whole()) return;
    throw new HoldfastError('TargetConflict', 'its unfinished file was removed while it was restored');
  }
  warnings(rel, root.applyMetadata(temp, toSet('file', large.meta)));
  if (large.place === Place.replace || large.place === Place.compare) {
    root.publish(temp, rel, true);
    return;
  }
  publishNew(root, temp, rel, () => {
    if (whole()) return 'whole';
    throw new HoldfastError('TargetConflict', 'another file has its name at the target');
  });
}

/** False when what is there is kept. */
function makeLink(root: SafeRoot, plan: RestorePlan, link: PlannedLink, rel: RelativePath): boolean {
  const make = (): void => {
    if (link.kind === 'hardlink') hardlink(root, link, rel);
    else if (link.kind === 'symlink') root.symlink(loadPath(link.target ?? ''), rel);
    else root.makeNode(rel, link.kind, link.meta.mode, BigInt(link.rdev ?? 0));
  };
  try {
    make();
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
  if (isSame(root, link, rel)) return true;
  if (link.there && plan.overwrite === 'never') return false;
  if (!link.there) throw new HoldfastError('TargetConflict', 'another file has its name at the target');
  if (root.lstat(rel)?.isDirectory())
    throw new HoldfastError('TargetConflict', 'a directory is in its place at the target');
  root.unlink(rel);
  make();
  return true;
}

/** A second name for a file, once that is proven to be the restored one. */
function hardlink(root: SafeRoot, link: PlannedLink, rel: RelativePath): void {
  const first = loadPath(link.target ?? '');
  const there = root.lstat(first);
  if (!there?.isFile() || there.size !== BigInt(link.size ?? 0) || there.mtimeNs !== BigInt(link.meta.mtime)) {
    throw new HoldfastError('TargetConflict', `its first name /${first.toString()} was not restored`);
  }
  root.link(first, rel);
}

function isSame(root: SafeRoot, link: PlannedLink, rel: RelativePath): boolean {
  const there = root.lstat(rel);
  if (!there) return false;
  switch (link.kind) {
    case 'hardlink': {
      const first = root.lstat(loadPath(link.target ?? ''));
      return first !== undefined && first.ino === there.ino && first.dev === there.dev;
    }
    case 'symlink':
      return there.isSymbolicLink() && root.readlink(rel).equals(Buffer.from(loadPath(link.target ?? '')));
    case 'fifo':
      return there.isFIFO();
    case 'char':
      return there.isCharacterDevice() && there.rdev === BigInt(link.rdev ?? 0);
    case 'block':
      return there.isBlockDevice() && there.rdev === BigInt(link.rdev ?? 0);
  }
}
