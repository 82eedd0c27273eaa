import { type BigIntStats, closeSync, fstatSync, readSync } from 'node:fs';
import { errnoOf } from '../../errors.js';
import { accounts } from '../../platform/accounts.js';
import { bootId } from '../../platform/boot.js';
import { dataSegments } from '../../platform/sparse.js';
import { listXattrs } from '../../platform/xattrs.js';
import { type CutSizes, cutPoint, dumpCuts, fileCuts, maxChunk, wholeFileLimit } from '../../repository/chunker.js';
import type { Codec } from '../../repository/codec.js';
import {
  type Entry,
  entryLine,
  entryPath,
  entryPathBytes,
  type XattrPair,
  xattrPairs,
} from '../../repository/entry.js';
import { readLines } from '../../repository/lines.js';
import { chunkId, type PackBuilder, packTarget } from '../../repository/pack-writer.js';
import { Scope } from '../../repository/scope.js';
import { openForReading, openQuietly, ReadProblem, readProblem, sameStat } from '../../sources/files/read.js';
import { threadCatalog } from './catalogs.js';
import { LineWriter, writeJson } from './line-writer.js';
import { writePlainPack } from './plain-pack.js';
import { Meter, type TaskChannel } from './progress.js';
import { sharedPack } from './shared-pack.js';
import { type LaneResult, type LaneStretch, type Problem, type Segment, spoolFiles } from './spool-files.js';

export interface LaneTask {
  channel: TaskChannel;
  run: string;
  batch: number;
  lane: number;
  /** Where the stored paths begin, as in the walk. */
  base?: string;
  /** Upper bound of the content in this lane, bytes. */
  bytes: number;
  generation: string;
  codec: Codec;
  catalog: string;
  filter?: SharedArrayBuffer;
  /** Indexes whose chunks may be referred to; none for a self-contained snapshot. */
  indexes: string[];
  ownIndex: string;
}

const attempts = 3;
const racyNs = 2_000_000_000n;
const maxProblems = 1000;
const window = 2 * maxChunk;

// One buffer each for a thread's lifetime: tasks of a thread follow one another.
let readBuffer: Buffer | undefined;

/** What reading one stretch of a file gave. */
interface Content {
  /** When reading began, ms. */
  at: number;
  stat: BigIntStats;
  chunks: string[];
  holes: [string, string][];
  size: bigint;
  changed: boolean;
  xattrs: XattrPair[];
}

/** Reads one lane's files, cuts them into chunks, and writes new chunks to compressed packs. Runs in a worker thread. */
export function laneTask(task: LaneTask): LaneResult {
  return new Lane(task).run();
}

class Lane {
  private readonly meter: Meter;
  private readonly scope: Scope;
  private readonly pack: PackBuilder;
  private readonly buffer: Buffer;
  private readonly target: number;
  private readonly cuts: CutSizes;
  private readonly seen = new Set<string>();
  private readonly result: LaneResult = {
    boot: bootId(),
    packs: [],
    problems: [],
    problemsLeftOut: 0,
    unreadable: 0,
    files: 0,
    read: 0,
    fresh: 0,
  };

  constructor(private readonly task: LaneTask) {
    this.meter = new Meter(task.channel);
    this.scope = new Scope(threadCatalog(task.catalog, task.filter), task.indexes, task.ownIndex, true);
    readBuffer ??= Buffer.allocUnsafeSlow(window);
    this.buffer = readBuffer;
    this.pack = sharedPack(task.generation);
    this.cuts = task.base ? dumpCuts : fileCuts;
    // Even packs: 70 MiB become two of 35, not two of 32 and a crumb.
    this.target = task.bytes / Math.max(1, Math.round(task.bytes / packTarget));
  }

  run(): LaneResult {
    const { task, result } = this;
    const lines = new LineWriter(spoolFiles.laneLines(task.run, task.batch, task.lane));
    try {
      for (const text of readLines(spoolFiles.lanePlan(task.run, task.batch, task.lane))) {
        this.meter.check();
        lines.add(this.item(text));
        result.files++;
        this.meter.add('files', 1);
      }
      this.flush();
      lines.finish();
    } catch (error) {
      lines.abandon();
      throw error;
    }
    writeJson(spoolFiles.laneResult(task.run, task.batch, task.lane), result);
    return result;
  }

  /** The line that stands for one plan item: a manifest line, a segment (`+`), or `!` for a file that could not be read. */
  private item(text: string): string {
    const stretch = text.startsWith('+') ? (JSON.parse(text.slice(1)) as LaneStretch) : undefined;
    const draft = stretch?.entry ?? text;
    // The draft comes from this run's own walk: no need to check every field again.
    const entry = JSON.parse(draft) as Entry;
    const path = entry.path64 === undefined ? (this.task.base ?? '') + entryPath(entry) : entryPathBytes(entry);
    const quick = stretch ? undefined : this.quickly(path, entry, draft);
    return quick ?? this.thoroughly(path, entry, stretch);
  }

  /**
   * The common case: a small file that is still as the walk saw it once it has been read, so that the walk's line holds.
   * Undefined for every other case, errors included.
   */
  private quickly(path: string | Buffer, entry: Entry, draft: string): string | undefined {
    const size = Number(entry.size);
    if (!(size < wholeFileLimit)) return undefined;
    let fd: number;
    try {
      fd = openQuietly(path);
    } catch {
      return undefined;
    }
    try {
      // Straight to where it goes, unless the pack may be full.
      const direct = !this.needsFlush(size);
      const content = direct ? this.pack.space(size) : this.buffer.subarray(0, size);
      const got = readSync(fd, content, 0, size, 0);
      const stat = fstatSync(fd, { bigint: true });
      const same =
        got === size &&
        stat.isFile() &&
        stat.size.toString() === entry.size &&
        stat.ctimeNs.toString() === entry.ctime &&
        stat.mtimeNs.toString() === entry.mtime &&
        stat.ino.toString() === entry.inode;
      if (!same || isRacy(stat)) return undefined;
      this.result.read += got;
      this.meter.add('read', got);
      const xattrs = listXattrs(fd);
      const id = this.chunk(content, direct);
      const rest = xattrs.length > 0 ? `,"xattrs":${JSON.stringify(xattrPairs(xattrs))}` : '';
      return `${draft.slice(0, -1)}${rest},"chunks":["${id}"]}`;
    } catch (error) {
      if (errnoOf(error) === undefined || errnoOf(error) === 'ENOSPC') throw error;
      return undefined;
    } finally {
      closeSync(fd);
    }
  }

  private thoroughly(path: string | Buffer, entry: Entry, stretch: LaneStretch | undefined): string {
    try {
      let content: Content | undefined;
      for (let attempt = 0; attempt < attempts; attempt++) {
        content = this.read(path, stretch);
        if (!content.changed) break;
      }
      if (!content) throw new Error('not read');
      if (content.changed) {
        this.problem({
          code: 'Changed',
          path: entryPath(entry),
          message: `changed each of ${attempts} times it was read`,
        });
      }
      const fresh = refreshed(entry, content);
      if (!stretch) {
        fresh.size = content.size.toString();
        if (content.holes.length > 0) fresh.holes = content.holes;
        fresh.chunks = content.chunks;
        return entryLine(fresh);
      }
      const { stat } = content;
      const segment: Segment = {
        head: entryLine(fresh),
        stat: `${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`,
        size: Number(content.size),
        chunks: content.chunks,
        holes: content.holes,
        changed: content.changed,
      };
      return `+${JSON.stringify(segment)}`;
    } catch (error) {
      if (!(error instanceof ReadProblem)) throw error;
      this.problem({
        // Nothing but a mishap can take away a dump's file.
        code: error.code === 'Vanished' && !this.task.base ? 'Vanished' : 'Unreadable',
        path: entryPath(entry),
        message: error.message,
      });
      this.meter.add('failed', 1);
      return '!';
    }
  }

  private read(path: string | Buffer, stretch: LaneStretch | undefined): Content {
    const at = Date.now();
    const { fd, stat } = openForReading(path);
    try {
      const from = BigInt(stretch?.from ?? 0);
      const to = stretch?.to === undefined || BigInt(stretch.to) > stat.size ? stat.size : BigInt(stretch.to);
      const content: Content = { at, stat, chunks: [], holes: [], size: 0n, changed: false, xattrs: [] };
      if (to > from) this.content(fd, Number(from), Number(to), content);
      if (!sameStat(stat, fstatSync(fd, { bigint: true }))) content.changed = true;
      content.xattrs = xattrPairs(listXattrs(fd));
      return content;
    } finally {
      closeSync(fd);
    }
  }

  private content(fd: number, from: number, to: number, content: Content): void {
    const length = to - from;
    if (length < wholeFileLimit && from === 0) {
      const got = this.fill(fd, 0, length, from);
      if (got < length) content.changed = true;
      content.size = BigInt(got);
      if (got > 0) content.chunks.push(this.chunk(this.buffer.subarray(0, got)));
      return;
    }
    const segments = extents(fd, from, to, content.stat);
    let at = from;
    for (const [start, end] of segments) {
      if (start > at) content.holes.push([String(at), String(start - at)]);
      const got = this.range(fd, start, end, content.chunks);
      content.size += BigInt(start - at + got);
      at = start + got;
      if (got < end - start) {
        content.changed = true;
        return;
      }
    }
    if (to > at) {
      content.holes.push([String(at), String(to - at)]);
      content.size += BigInt(to - at);
    }
  }

  /** Cuts [start, end) into chunks; returns the bytes there really were. */
  private range(fd: number, start: number, end: number, chunks: string[]): number {
    let filled = 0;
    let at = 0;
    let next = start;
    for (;;) {
      if (next < end && filled - at < maxChunk) {
        this.meter.check();
        this.buffer.copyWithin(0, at, filled);
        filled -= at;
        at = 0;
        const want = Math.min(window - filled, end - next);
        const got = this.fill(fd, filled, want, next);
        filled += got;
        next += got;
        if (got < want) end = next;
      }
      if (at === filled) return next - start;
      const length = cutPoint(this.buffer, at, filled, next >= end, this.cuts);
      chunks.push(this.chunk(this.buffer.subarray(at, at + length)));
      at += length;
    }
  }

  private fill(fd: number, offset: number, length: number, position: number): number {
    let got = 0;
    while (got < length) {
      let count: number;
      try {
        count = readSync(fd, this.buffer, offset + got, length - got, position + got);
      } catch (error) {
        throw readProblem(error);
      }
      if (count === 0) break;
      got += count;
    }
    this.result.read += got;
    this.meter.add('read', got);
    return got;
  }

  /** @param inPlace it lies in the pack's `space` already. */
  private chunk(content: Buffer, inPlace = false): string {
    const id = chunkId(content);
    if (this.seen.has(id) || this.scope.has(id)) return id;
    if (inPlace) {
      this.pack.addSpace(id, content.length);
    } else {
      if (this.needsFlush(content.length)) this.flush();
      this.pack.add(id, content);
    }
    this.seen.add(id);
    this.result.fresh += content.length;
    this.meter.add('new', content.length);
    return id;
  }

  /** Whether a new chunk of this length goes into the next pack. */
  private needsFlush(length: number): boolean {
    if (this.pack.isEmpty) return false;
    return this.pack.contentBytes + length / 2 > this.target || !this.pack.fits(length);
  }

  private flush(): void {
    if (this.pack.isEmpty) return;
    const { task } = this;
    const name = `${task.batch}-${task.lane}-${this.result.packs.length}`;
    this.result.packs.push(writePlainPack(task.run, name, 'data', this.pack, task.codec));
  }

  private problem(problem: Problem): void {
    if (problem.code === 'Unreadable') this.result.unreadable++;
    if (this.result.problems.length < maxProblems) this.result.problems.push(problem);
    else this.result.problemsLeftOut++;
  }
}

/** Where [from, to) of the file has data. */
function extents(fd: number, from: number, to: number, stat: BigIntStats): [number, number][] {
  const whole: [number, number][] = [[from, to]];
  // Fully allocated files, nearly all, need no search for holes.
  if (stat.blocks * 512n >= stat.size) return whole;
  const found = dataSegments(fd, Number(stat.size));
  if (!found) return whole;
  return found.flatMap(([start, end]): [number, number][] =>
    end <= from || start >= to ? [] : [[Math.max(start, from), Math.min(end, to)]],
  );
}

/** The entry as it was when its content was read. */
function refreshed(draft: Entry, content: Content): Entry {
  const { stat } = content;
  const entry: Entry = { ...draft, mode: Number(stat.mode & 0o7777n), uid: Number(stat.uid), gid: Number(stat.gid) };
  delete entry.user;
  delete entry.group;
  const user = accounts().userName(entry.uid);
  const group = accounts().groupName(entry.gid);
  if (user !== undefined) entry.user = user;
  if (group !== undefined) entry.group = group;
  entry.mtime = stat.mtimeNs.toString();
  entry.ctime = stat.ctimeNs.toString();
  entry.inode = stat.ino.toString();
  if (isRacy(stat, content.at)) entry.recheck = true;
  if (content.changed) entry.changed = true;
  if (content.xattrs.length > 0) entry.xattrs = content.xattrs;
  return entry;
}

/** Whether a further change could leave no trace in the times: it was modified within 2 s of `at`, when reading began. */
function isRacy(stat: BigIntStats, at = Date.now()): boolean {
  const now = BigInt(at) * 1_000_000n;
  return (now - stat.mtimeNs < racyNs && stat.mtimeNs - now < racyNs) || now - stat.ctimeNs < racyNs;
}
