import path from 'node:path';

/** Names inside a run's spool folder. */
export const spoolFiles = {
  config: (run: string) => path.join(run, 'config.json'),
  begun: (run: string) => path.join(run, 'begun.json'),
  plan: (run: string) => path.join(run, 'plan.json'),
  entries: (run: string, source: number) => path.join(run, `source-${source}`, 'entries'),
  /** The manifest that the walk compared with. */
  parent: (run: string, source: number) => path.join(run, `source-${source}`, 'parent.ndjson'),
  problems: (run: string, source: number) => path.join(run, `source-${source}`, 'problems.ndjson'),
  manifest: (run: string, source: number) => path.join(run, `source-${source}`, 'manifest.ndjson'),
  lanePlan: (run: string, batch: number, lane: number) => path.join(run, 'plan', `${batch}-${lane}.ndjson`),
  laneLines: (run: string, batch: number, lane: number) => path.join(run, 'lanes', `${batch}-${lane}.lines`),
  laneResult: (run: string, batch: number, lane: number) => path.join(run, 'lanes', `${batch}-${lane}.json`),
  manifestResult: (run: string) => path.join(run, 'manifest.json'),
  sealed: (run: string, group: string) => path.join(run, 'sealed', `${group}.json`),
  plainPack: (run: string, name: string) => path.join(run, 'plain', name),
  /** Written once the pack is sealed: `SealedPack`. */
  sealedMark: (run: string, name: string) => path.join(run, 'plain', `${name}.sealed`),
  /** JSON of the plain pack's chunks, `ChunkPlace[]`: kept apart, since only threads need them. */
  packChunks: (run: string, name: string) => path.join(run, 'plain', `${name}.chunks`),
  pack: (run: string, sha256: string) => path.join(run, 'packs', sha256),
  /** Where each chunk lies that was read for an archive: see `OwnChunks`. */
  ownChunks: (run: string) => path.join(run, 'own.sqlite'),
  /** The finished archive's name and sizes. */
  archive: (run: string) => path.join(run, 'objects', 'archive.json'),
  indexLine: (run: string, sha256: string) => path.join(run, 'sealed', `${sha256}.line`),
  /** Dumps of one source lie here under the paths they are stored as. */
  dumps: (run: string, source: number) => path.join(run, 'dumps', String(source)),
  /** What is known of them, and what a dump needs while it runs. */
  dumpState: (run: string, source: number) => path.join(run, 'dumps', `${source}.state`),
  object: (run: string, name: string) => path.join(run, 'objects', name),
} as const;

export const spoolFolders = ['plan', 'lanes', 'sealed', 'plain', 'packs', 'objects'] as const;

/** A lane: one stretch of files in directory order, read by one thread. */
export interface LanePlan {
  source: number;
  files: number;
  bytes: number;
}

export interface BatchPlan {
  lanes: LanePlan[];
  bytes: number;
}

/**
 * A lane's plan has a line a file: the entry as the walk saw it, without chunks; or `+` and one stretch of a large file.
 */
export interface LaneStretch {
  entry: string;
  /** Byte range [from, to); `to` is absent in the last stretch. */
  from: number;
  to?: number;
}

/** What a lane reports for a stretch of a large file; whole files report their manifest line itself. */
export interface Segment {
  head: string;
  stat: string;
  size: number;
  chunks: string[];
  holes: [string, string][];
  changed: boolean;
  xattrs?: [string, string][];
}

export interface Problem {
  code: 'Unreadable' | 'Vanished' | 'Changed' | 'SymlinkSource';
  path: string;
  message: string;
}

/** A filled pack, and its compressed, not yet encrypted form. */
export interface PlainPack {
  /** File name in `plain`. */
  name: string;
  kind: 'data' | 'manifest';
  plain: number;
  /** Bytes of that form. */
  compressed: number;
  content: number;
}

export interface LaneResult {
  /** The system's boot id: what was not fsynced counts only until the next boot. */
  boot: string;
  packs: PlainPack[];
  problems: Problem[];
  problemsLeftOut: number;
  /** How many of the problems, those left out included, are unreadable files. */
  unreadable: number;
  files: number;
  read: number;
  fresh: number;
}

export interface SealedPack {
  pack: string;
  size: number;
  kind: 'data' | 'manifest' | 'archive';
}
