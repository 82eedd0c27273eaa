import type { RunFigures } from '../../src/foresight/figures.js';
import { random } from './simulate.js';

const day = 86_400_000;

/** What one night did to a source: files are taken as they come, by number and bytes. */
interface Night {
  added?: number;
  removed?: number;
  changed?: number;
  /** To what share of its size what is new compresses. */
  compresses?: number;
}

/** A kind of source: how large, and what an ordinary night does to it. */
interface Kind {
  files(chance: () => number): number;
  fileBytes(chance: () => number): number;
  compresses: number;
  /** How much of a changed file is new. */
  rewritten: number;
  night(chance: () => number, at: number, files: number): Night;
}

/** A number around 0 with deviation 1 (Box and Muller). */
const normal = (chance: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - chance())) * Math.cos(2 * Math.PI * chance());
const factor = (chance: () => number, spread: number): number => Math.exp(normal(chance) * spread);
const weekday = (at: number): number => at % 7;

/** Sources as they are found; none of the thresholds was chosen on these. */
export const kinds: Readonly<Record<string, Kind>> = {
  'office share': {
    files: (chance) => 20_000 + chance() * 180_000,
    fileBytes: (chance) => 200_000 * factor(chance, 0.5),
    compresses: 0.75,
    rewritten: 0.6,
    night: (chance, at, files) =>
      weekday(at) > 4
        ? { changed: files * 0.0005 * chance() }
        : {
            changed: files * 0.004 * factor(chance, 0.7),
            added: files * 0.001 * factor(chance, 1),
            removed: files * 0.0005 * factor(chance, 1),
            compresses: 0.75 + normal(chance) * 0.06,
          },
  },
  photos: {
    files: (chance) => 5000 + chance() * 100_000,
    fileBytes: () => 4_000_000,
    compresses: 0.985,
    rewritten: 1,
    // Albums are retagged now and then: many files change, a little of each.
    night: (chance, _at, files) => ({
      added: chance() < 0.2 ? 20 + chance() * 800 : 0,
      changed: chance() < 0.01 ? files * (0.1 + 0.5 * chance()) : 0,
      compresses: 0.985 + normal(chance) * 0.004,
    }),
  },
  'mail store': {
    files: (chance) => 30_000 + chance() * 400_000,
    fileBytes: (chance) => 40_000 * factor(chance, 0.3),
    compresses: 0.55,
    rewritten: 1,
    // Once a year or so a mailbox is moved: files go and come.
    night: (chance, _at, files) => {
      const moved = chance() < 0.004 ? files * 0.3 * chance() : 0;
      return {
        added: files * 0.002 * factor(chance, 0.5) + moved,
        removed: files * 0.001 * factor(chance, 0.5) + moved,
        changed: files * 0.0005 * factor(chance, 0.5),
        compresses: 0.55 + normal(chance) * 0.08,
      };
    },
  },
  'source code': {
    files: (chance) => 2000 + chance() * 60_000,
    fileBytes: (chance) => 9000 * factor(chance, 0.4),
    compresses: 0.25,
    rewritten: 1,
    // A dependency upgrade, a build that was committed, a branch of long ago.
    night: (chance, _at, files) => ({
      changed: files * (chance() < 0.06 ? 0.05 + 0.6 * chance() : 0.005 * factor(chance, 1)),
      added: files * 0.002 * factor(chance, 1),
      removed: files * 0.001 * factor(chance, 1),
      compresses: chance() < 0.03 ? 0.6 + 0.35 * chance() : 0.25 + normal(chance) * 0.05,
    }),
  },
  'virtual machines': {
    files: (chance) => 12 + chance() * 60,
    fileBytes: () => 8e9,
    compresses: 0.45,
    rewritten: 0.03,
    night: (chance, _at, files) => ({ changed: files * 0.9, compresses: 0.5 + normal(chance) * 0.1 }),
  },
  'rotated logs': {
    files: (chance) => 200 + chance() * 2000,
    fileBytes: (chance) => 3_000_000 * factor(chance, 0.5),
    compresses: 0.12,
    rewritten: 1,
    // Each night a share is compressed and the oldest go; a busy week has more.
    night: (chance, at, files) => ({
      added: files * 0.07 * (weekday(at) > 4 ? 0.5 : 1) * factor(chance, 0.3),
      removed: files * 0.07 * (weekday(at) > 4 ? 0.5 : 1) * factor(chance, 0.3),
      changed: files * 0.02,
      compresses: 0.6 + normal(chance) * 0.15,
    }),
  },
  'uploads of users': {
    files: (chance) => 3000 + chance() * 50_000,
    fileBytes: (chance) => 900_000 * factor(chance, 0.5),
    compresses: 0.93,
    rewritten: 1,
    night: (chance, _at, files) => ({
      added: files * 0.003 * factor(chance, 1),
      // Thumbnails are made anew at each release.
      changed: chance() < 0.02 ? files * 0.4 : files * 0.0002,
      compresses: 0.93 + normal(chance) * 0.03,
    }),
  },
};

/** What somebody or something does to a source for good, from one night on. */
export interface Attack {
  name: string;
  /** Whether it lasts several nights; at least one of them has to be told. */
  nights: number;
  /** What of the files a night encrypts, in place or under another name; or removes. */
  encrypts?: number;
  renames?: boolean;
  removes?: number;
  /** How much longer the run takes. */
  slows?: number;
}

export const attacks: readonly Attack[] = [
  { name: 'all files encrypted at once', nights: 1, encrypts: 0.95 },
  { name: 'all encrypted under other names', nights: 1, encrypts: 0.95, renames: true },
  { name: 'a third encrypted at once', nights: 1, encrypts: 0.33 },
  { name: '10 % a night, for 6 nights', nights: 6, encrypts: 0.1 },
  { name: '4 % a night, for 10 nights', nights: 10, encrypts: 0.04 },
  { name: '2.5 % a night, for 14 nights', nights: 14, encrypts: 0.025, renames: true },
  { name: '60 % of the files removed', nights: 1, removes: 0.6 },
  { name: 'everything removed', nights: 1, removes: 1 },
  { name: 'a run 6 times as slow', nights: 1, slows: 6 },
];

/** The runs of one source, oldest first; with an attack that begins at night `from`. */
export function simulateNights(kind: Kind, seed: number, nights: number, attack?: Attack, from = 0): RunFigures[] {
  const chance = random(seed);
  const fileBytes = kind.fileBytes(chance);
  let files = Math.round(kind.files(chance));
  let first = files;
  return Array.from({ length: nights }, (_, at): RunFigures => {
    const usual = kind.night(chance, at, files);
    const whole = (value = 0): number => Math.max(0, Math.round(value));
    const removed = Math.min(files, whole(usual.removed));
    const added = at === 0 ? files : whole(usual.added);
    const changed = at === 0 ? 0 : Math.min(files, whole(usual.changed));
    let newFiles = added;
    let changedFiles = changed;
    if (at > 0) files += added - removed;
    let newBytes = (added + changed * kind.rewritten) * fileBytes * factor(chance, 0.1);
    let storedBytes = newBytes * Math.min(1, Math.max(0.02, usual.compresses ?? kind.compresses));
    if (at === from) first = files;
    const attacked = attack !== undefined && at >= from && at < from + attack.nights;
    if (attacked) {
      const hit = Math.min(files, Math.round((attack.encrypts ?? 0) * first));
      if (attack.renames) newFiles += hit;
      else changedFiles = Math.min(files, changedFiles + hit);
      newBytes += hit * fileBytes;
      storedBytes += hit * fileBytes * 0.999;
      files -= Math.round((attack.removes ?? 0) * files);
      if (files === 0) [newFiles, changedFiles, newBytes, storedBytes] = [0, 0, 0, 0];
    }
    const bytes = files * fileBytes;
    return {
      run: `simulated/${seed}/${at}`,
      job: 'site',
      at: new Date(Date.UTC(2026, 0, 1) + at * day).toISOString(),
      status: 'succeeded',
      durationMs: (30_000 + newBytes / 50_000) * factor(chance, 0.25) * ((attacked ? attack.slows : undefined) ?? 1),
      mode: at === 0 ? 'full' : 'incremental',
      files,
      newFiles,
      changedFiles,
      unreadable: 0,
      sourceBytes: bytes,
      readBytes: newBytes,
      newBytes,
      storedBytes,
      sources: [{ name: 'www', type: 'files', files, bytes }],
      destinations: [{ name: 'nas', state: 'stored', misses: 0 }],
      config: 'same',
    };
  });
}
