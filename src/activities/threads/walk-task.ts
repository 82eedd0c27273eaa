import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { MessagePort } from 'node:worker_threads';
import { accounts } from '../../platform/accounts.js';
import { comparePaths } from '../../platform/paths.js';
import { listXattrs } from '../../platform/xattrs.js';
import { type Entry, entryHead, entryLine, parseEntry, xattrPairs } from '../../repository/entry.js';
import { readLines } from '../../repository/lines.js';
import { Scope } from '../../repository/scope.js';
import { type FilesOptions, type WalkedEntry, walkFiles } from '../../sources/files/walk.js';
import type { Report } from '../../sources/source.js';
import { threadCatalog } from './catalogs.js';
import { LineWriter } from './line-writer.js';
import { Meter, type TaskChannel } from './progress.js';
import { type BatchPlan, type LaneStretch, type Problem, spoolFiles } from './spool-files.js';
import { WalkedLines } from './walked-lines.js';

export type Detect = 'size' | 'mtime' | 'ctime' | 'inode';

export interface WalkTask {
  channel: TaskChannel;
  run: string;
  source: number;
  options: FilesOptions;
  /** Where the stored paths begin: a file at `base` + path is stored as path. Empty for files of this machine. */
  base?: string;
  detect: Detect[];
  /** The newest complete manifest of this source, as a local file; absent: every file is read. */
  parent?: string;
  /** When some pack of the parent's scope is gone everywhere: look every chunk up before trusting a line. */
  verify?: { catalog: string; indexes: string[] };
  /** Read every file, whatever the parent says. */
  reread: boolean;
  firstBatch: number;
  batchBytes: number;
  laneBytes: number;
  /** Told of each lane as soon as its plan is whole. */
  lanes?: MessagePort;
}

/** A lane that can be read while the walk goes on. */
export interface PlannedLane {
  batch: number;
  lane: number;
  bytes: number;
}

export interface WalkResult {
  batches: BatchPlan[];
  entries: number;
  files: number;
  bytes: number;
  toRead: number;
  newFiles: number;
  changedFiles: number;
  unreadable: number;
  vanished: number;
  /** Every line stands in the parent's manifest and the parent has no other. */
  identical: boolean;
}

/** A pack's worth. */
const firstBatchBytes = 32 * 1024 * 1024;
const smallBatches = 8;

/** Plans lanes and batches: files in directory order, large ones in stretches. */
class Planner {
  readonly batches: BatchPlan[] = [];
  private lane: LineWriter | undefined;
  private laneFiles = 0;
  private laneBytes = 0;

  constructor(private readonly task: WalkTask) {}

  /** Returns the number of stretches the file is read in. */
  add(entry: string, size: number): number {
    const { batchBytes } = this.task;
    if (size <= batchBytes) {
      this.item(entry, size);
      return 1;
    }
    let stretches = 0;
    for (let from = 0; from < size; from += batchBytes) {
      const last = from + batchBytes >= size;
      const stretch: LaneStretch = { entry, from, ...(last ? {} : { to: from + batchBytes }) };
      this.item(`+${JSON.stringify(stretch)}`, Math.min(batchBytes, size - from));
      stretches++;
    }
    return stretches;
  }

  end(): void {
    this.closeLane();
  }

  /** The first batches are small, so that their packs are on their way soon; the more there is, the larger they get. */
  private get mostBytes(): number {
    return Math.min(this.task.batchBytes, firstBatchBytes * 2 ** Math.max(0, this.batches.length - smallBatches));
  }

  private item(line: string, bytes: number): void {
    const most = Math.min(this.task.laneBytes, this.mostBytes);
    if (this.lane && this.laneBytes > 0 && this.laneBytes + bytes > most) this.closeLane();
    if (!this.lane) {
      const last = this.batches.at(-1);
      if (!last || (last.bytes > 0 && last.bytes + bytes > this.mostBytes)) this.batches.push({ lanes: [], bytes: 0 });
      const batch = this.batches.at(-1)!;
      const number = this.task.firstBatch + this.batches.length - 1;
      this.lane = new LineWriter(spoolFiles.lanePlan(this.task.run, number, batch.lanes.length));
    }
    this.lane.add(line);
    this.laneFiles++;
    // An empty file still costs an open: counted as 4 KiB, so that a batch never holds millions of them.
    this.laneBytes += Math.max(bytes, 4096);
    if (this.laneBytes >= most) this.closeLane();
  }

  private closeLane(): void {
    if (!this.lane) return;
    this.lane.finish();
    const batch = this.batches.at(-1)!;
    const planned: PlannedLane = {
      batch: this.task.firstBatch + this.batches.length - 1,
      lane: batch.lanes.length,
      bytes: this.laneBytes,
    };
    this.task.lanes?.postMessage(planned);
    batch.lanes.push({ source: this.task.source, files: this.laneFiles, bytes: this.laneBytes });
    batch.bytes += this.laneBytes;
    this.lane = undefined;
    this.laneFiles = 0;
    this.laneBytes = 0;
  }
}

/** Reads the parent's manifest side by side with the walk. */
class Parent {
  private readonly lines: Iterator<string>;
  current: string | undefined;
  /** Lines the walk never asked for: entries that are gone. */
  passed = 0;

  constructor(file: string) {
    this.lines = readLines(file);
    this.advance();
  }

  advance(): void {
    const next = this.lines.next();
    this.current = next.done ? undefined : next.value;
  }

  /** The parent's entry at `walked`'s path. */
  at(walked: WalkedEntry): Entry | undefined {
    while (this.current !== undefined) {
      const entry = parseEntry(this.current);
      const own = entry.path64 === undefined ? (entry.path ?? '') : Buffer.from(entry.path64, 'base64');
      const order = comparePaths(own, walked.raw ?? walked.path);
      if (order === 0) return entry;
      if (order > 0) return undefined;
      this.passed++;
      this.advance();
    }
    return undefined;
  }

  close(): void {
    this.lines.return?.();
  }
}

/** Walks one source against its parent and writes the plan of what is to be read. Runs in a worker thread. */
export function walkTask(task: WalkTask): WalkResult {
  const meter = new Meter(task.channel);
  mkdirSync(path.dirname(spoolFiles.entries(task.run, task.source)), { recursive: true, mode: 0o700 });
  const entries = new WalkedLines(task.run, task.source, task.parent);
  const problems = new LineWriter(spoolFiles.problems(task.run, task.source));
  const planner = new Planner(task);
  const parent = task.parent === undefined ? undefined : new Parent(task.parent);
  const catalog = task.verify ? threadCatalog(task.verify.catalog) : undefined;
  const scope = catalog && task.verify ? new Scope(catalog, task.verify.indexes, undefined, true) : undefined;
  const groups = new Map<string, WalkedEntry>();
  const result: WalkResult = {
    batches: planner.batches,
    entries: 0,
    files: 0,
    bytes: 0,
    toRead: 0,
    newFiles: 0,
    changedFiles: 0,
    unreadable: 0,
    vanished: 0,
    identical: false,
  };
  let copied = 0;
  const base = task.base ?? '';
  const report: Report = (problem) => {
    const { message } = problem;
    const path = problem.path.slice(base.length);
    // What became something else while it was looked at is left out like what can't be read.
    // Nothing but a mishap can take away a dump's file.
    const lost = problem.code === 'Changed' || (problem.code === 'Vanished' && base !== '');
    const code = lost ? 'Unreadable' : problem.code;
    if (code === 'Vanished') result.vanished++;
    else result.unreadable++;
    problems.add(JSON.stringify({ code, path, message } satisfies Problem));
  };

  try {
    for (const seen of walkFiles(task.options, report)) {
      meter.check();
      // A copy: the walk goes on from its own.
      const walked = base === '' ? seen : { ...seen, path: seen.path.slice(base.length) };
      const isFile = walked.type === 'file';
      result.entries++;
      if (isFile) {
        result.files++;
        result.bytes += Number(walked.size);
        meter.add('files', 1);
      }
      const draft = draftOf(walked);
      let first: WalkedEntry | undefined;
      let isFirst = false;
      if (isFile && walked.nlink > 1) {
        const key = `${walked.dev}:${walked.ino}`;
        first = groups.get(key);
        if (!first) {
          groups.set(key, walked);
          isFirst = true;
        }
      }
      if (first) {
        if (first.raw) draft.hardlink64 = first.raw.toString('base64');
        else draft.hardlink = first.path;
      }

      const head = entryHead(draft);
      const line = parent?.current;
      // The rest of an unchanged line may still name another first link: then the slow way decides.
      const plain = !first || line?.includes(hardlinkMember(draft)) === true;
      if (
        line !== undefined &&
        !task.reread &&
        plain &&
        sameHead(line, head, draft, task.detect) &&
        usable(line, scope)
      ) {
        if (first || !line.includes(',"hardlink')) {
          if (isFirst) {
            entries.pass();
            entries.add(`~${line}`);
          } else {
            entries.copy();
          }
          copied++;
          parent?.advance();
          continue;
        }
      }

      const passed = parent?.passed ?? 0;
      const old = parent?.at(walked);
      if (old) parent?.advance();
      const more = (parent?.passed ?? 0) - passed + (old ? 1 : 0);
      if (more > 0) entries.pass(more);
      if (isFile && !old) result.newFiles++;
      if (first) {
        entries.add(`&${entryLine(withXattrs(draft, walked, base))}`);
        continue;
      }
      if (!isFile) {
        entries.add(`=${entryLine(withXattrs(draft, walked, base))}`);
        continue;
      }
      if (old && !task.reread && unchanged(draft, old, task.detect) && chunksUsable(old.chunks, scope)) {
        draft.holes = old.holes;
        draft.chunks = old.chunks;
        entries.add(`${isFirst ? '~' : '='}${entryLine(withXattrs(draft, walked, base))}`);
        continue;
      }
      if (old) result.changedFiles++;
      if (walked.size === 0n) {
        draft.chunks = [];
        entries.add(`${isFirst ? '~' : '='}${entryLine(withXattrs(draft, walked, base))}`);
        continue;
      }
      result.toRead++;
      const stretches = planner.add(entryLine(draft), Number(walked.size));
      entries.add(`${stretches === 1 ? '?' : `*${stretches}`}${isFirst ? '!' : ''}`);
    }
    planner.end();
    entries.finish();
    problems.finish();
    result.identical =
      parent !== undefined && parent.passed === 0 && parent.current === undefined && copied === result.entries;
    return result;
  } finally {
    parent?.close();
  }
}

const hardlinkMember = (draft: Entry): string =>
  draft.hardlink64 === undefined
    ? `,"hardlink":${JSON.stringify(draft.hardlink)}`
    : `,"hardlink64":"${draft.hardlink64}"`;

function draftOf(walked: WalkedEntry): Entry {
  const draft: Entry = {
    type: walked.type,
    mode: walked.mode,
    uid: walked.uid,
    gid: walked.gid,
    mtime: walked.mtimeNs.toString(),
    ctime: walked.ctimeNs.toString(),
    inode: walked.ino.toString(),
  };
  if (walked.raw) draft.path64 = walked.raw.toString('base64');
  else draft.path = walked.path;
  const user = accounts().userName(walked.uid);
  const group = accounts().groupName(walked.gid);
  if (user !== undefined) draft.user = user;
  if (group !== undefined) draft.group = group;
  if (walked.type === 'file') draft.size = walked.size.toString();
  if (walked.rdev !== undefined && (walked.type === 'char' || walked.type === 'block'))
    draft.rdev = walked.rdev.toString();
  if (walked.rawTarget) draft.target64 = walked.rawTarget.toString('base64');
  else if (walked.target !== undefined) draft.target = walked.target;
  return draft;
}

function withXattrs(draft: Entry, walked: WalkedEntry, base: string): Entry {
  if (walked.type === 'symlink') return draft;
  const xattrs = listXattrs(walked.raw ?? base + walked.path);
  if (xattrs.length > 0) draft.xattrs = xattrPairs(xattrs);
  return draft;
}

/** Whether the parent's line describes the same, unchanged file by its whole head: the cheap, common case. */
function sameHead(line: string, head: string, draft: Entry, detect: readonly Detect[]): boolean {
  if (!line.startsWith(head)) return false;
  if (draft.type === 'symlink') return line === entryLine(draft);
  const next = line.charCodeAt(head.length);
  return (next === 0x2c || next === 0x7d) && detect.length > 0;
}

/** Whether the content need not be read again, by what `detect` compares. */
function unchanged(now: Entry, old: Entry, detect: readonly Detect[]): boolean {
  if (old.type !== 'file' || old.recheck || old.changed || old.chunks === undefined || detect.length === 0)
    return false;
  return (
    now.size === old.size &&
    (!detect.includes('mtime') || now.mtime === old.mtime) &&
    (!detect.includes('ctime') || now.ctime === old.ctime) &&
    (!detect.includes('inode') || now.inode === old.inode)
  );
}

function usable(line: string, scope: Scope | undefined): boolean {
  return scope === undefined || chunksUsable(parseEntry(line).chunks, scope);
}

function chunksUsable(chunks: string[] | undefined, scope: Scope | undefined): boolean {
  return scope === undefined || chunks === undefined || chunks.every((id) => scope.has(id));
}
