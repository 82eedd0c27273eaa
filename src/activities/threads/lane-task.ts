import { type BigIntStats, closeSync, fstatSync, readSync, rmSync } from 'node:fs';
import { errnoOf } from '../../errors.js';
import { accounts } from '../../platform/accounts.js';
import { bootId } from '../../platform/boot.js';
import { dataSegments } from '../../platform/sparse.js';
import { listXattrs } from '../../platform/xattrs.js';
import type { Catalog } from '../../repository/catalog.js';
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
import type { RepositoryKey } from '../../repository/seal.js';
import { openForReading, openQuietly, ReadProblem, readProblem, sameStat } from '../../sources/files/read.js';
import { threadCatalog } from './catalogs.js';
import { LineWriter, readJson, writeJson } from './line-writer.js';
import { sharedPack } from './pack-memory.js';
import { writePlainPack, writeSealedPack } from './plain-pack.js';
import { Meter, type TaskChannel } from './progress.js';
import {
  type LaneResult,
  type LaneStretch,
  type Problem,
  type SealedPack,
  type Segment,
  spoolFiles,
} from './spool-files.js';

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
  /** Seal each pack as soon as it is filled; without it they stay compressed in `plain`. */
  seal?: { key: RepositoryKey | undefined };
}

const attempts = 3;
const racyNs = 2_000_000_000n;
const maxProblems = 1000;
const window = 2 * maxChunk;

// One buffer for a thread's lifetime: tasks of a thread follow one another.
let readBuffer: Buffer | undefined;

/** Gives it back. */
export function dropReadBuffer(): void {
  readBuffer = undefined;
}

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

/** One line of a lane's plan. */
interface Item {
  path: string | Buffer;
  entry: Entry;
  /** The entry as the plan has it. */
  draft: string;
  /** One part of a large file. */
  stretch: LaneStretch | undefined;
  /** A whole file of one chunk, unless it has grown. */
  isSmall: boolean;
}

function parseItem(text: string, base = ''): Item {
  const stretch = text.startsWith('+') ? (JSON.parse(text.slice(1)) as LaneStretch) : undefined;
  const draft = stretch?.entry ?? text;
  // The draft comes from this run's own walk: no need to check every field again.
  const entry = JSON.parse(draft) as Entry;
  const path = entry.path64 === undefined ? base + entryPath(entry) : entryPathBytes(entry);
  return { path, entry, draft, stretch, isSmall: stretch === undefined && Number(entry.size) < wholeFileLimit };
}

/** Reads one lane's files, cuts them into chunks, and writes new chunks to packs. Runs in a worker thread. */
export async function laneTask(task: LaneTask): Promise<LaneResult> {
  return new Lane(task).run();
}

class Lane {
  private readonly meter: Meter;
  private readonly catalog: Catalog;
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
    this.catalog = threadCatalog(task.catalog, task.filter);
    this.scope = new Scope(this.catalog, task.indexes, task.ownIndex, true);
    readBuffer ??= Buffer.allocUnsafeSlow(window);
    this.buffer = readBuffer;
    this.pack = sharedPack(task.generation);
    this.cuts = task.base ? dumpCuts : fileCuts;
    // Even packs: 70 MiB become two of 35, not two of 32 and a crumb.
    this.target = task.bytes / Math.max(1, Math.round(task.bytes / packTarget));
  }

  async run(): Promise<LaneResult> {
    const { task, result } = this;
    this.dropEarlier();
    const lines = new LineWriter(spoolFiles.laneLines(task.run, task.batch, task.lane));
    try {
      for (const text of readLines(spoolFiles.lanePlan(task.run, task.batch, task.lane))) {
        this.meter.check();
        const item = parseItem(text, task.base);
        if (item.isSmall && this.needsFlush(Number(item.entry.size))) await this.flush();
        lines.add(this.quickly(item) ?? (await this.thoroughly(item)));
        result.files++;
        this.meter.add('files', 1);
      }
      await this.flush();
      lines.finish();
    } catch (error) {
      lines.abandon();
      throw error;
    }
    writeJson(spoolFiles.laneResult(task.run, task.batch, task.lane), result);
    return result;
  }

  /** What an attempt that was cut short has sealed: it is known to nobody, and would be stored twice. */
  private dropEarlier(): void {
    const { run } = this.task;
    for (let number = 0; ; number++) {
      const mark = spoolFiles.sealedMark(run, this.packName(number));
      const sealed = readJson<SealedPack>(mark);
      if (!sealed) return;
      if (this.catalog.packNumber(sealed.pack) === undefined)
        rmSync(spoolFiles.pack(run, sealed.pack), { force: true });
      rmSync(mark);
    }
  }

  /**
   * The line that stands for a small file that is still as the walk saw it once it has been read, so that the walk's line holds: the
   * common case. Undefined for every other case, errors included. The pack has room for it.
   */
  private quickly({ path, entry, draft, isSmall }: Item): string | undefined {
    if (!isSmall) return undefined;
    const size = Number(entry.size);
    let fd: number;
    try {
      fd = openQuietly(path);
    } catch {
      return undefined;
    }
    try {
      // Straight to where it goes.
      const content = this.pack.space(size);
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
      const id = chunkId(content);
      if (this.isNew(id, size)) this.pack.addSpace(id, size);
      const rest = xattrs.length > 0 ? `,"xattrs":${JSON.stringify(xattrPairs(xattrs))}` : '';
      return `${draft.slice(0, -1)}${rest},"chunks":["${id}"]}`;
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return undefined;
    } finally {
      closeSync(fd);
    }
  }

  /** The line that stands for any other item: a manifest line, a segment (`+`), or `!` for a file that could not be read. */
  private async thoroughly({ path, entry, stretch }: Item): Promise<string> {
    try {
      let content: Content | undefined;
      for (let attempt = 0; attempt < attempts; attempt++) {
        content = await this.read(path, stretch);
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

  private async read(path: string | Buffer, stretch: LaneStretch | undefined): Promise<Content> {
    const at = Date.now();
    const { fd, stat } = openForReading(path);
    try {
      const from = BigInt(stretch?.from ?? 0);
      const to = stretch?.to === undefined || BigInt(stretch.to) > stat.size ? stat.size : BigInt(stretch.to);
      const content: Content = { at, stat, chunks: [], holes: [], size: 0n, changed: false, xattrs: [] };
      if (to > from) await this.content(fd, Number(from), Number(to), content);
      if (!sameStat(stat, fstatSync(fd, { bigint: true }))) content.changed = true;
      content.xattrs = xattrPairs(listXattrs(fd));
      return content;
    } finally {
      closeSync(fd);
    }
  }

  private async content(fd: number, from: number, to: number, content: Content): Promise<void> {
    const length = to - from;
    if (length < wholeFileLimit && from === 0) {
      const got = this.fill(fd, 0, length, from);
      if (got < length) content.changed = true;
      content.size = BigInt(got);
      if (got > 0) content.chunks.push(await this.chunk(this.buffer.subarray(0, got)));
      return;
    }
    const segments = extents(fd, from, to, content.stat);
    let at = from;
    for (const [start, end] of segments) {
      if (start > at) content.holes.push([String(at), String(start - at)]);
      const got = await this.range(fd, start, end, content.chunks);
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
  private async range(fd: number, start: number, end: number, chunks: string[]): Promise<number> {
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
      chunks.push(await this.chunk(this.buffer.subarray(at, at + length)));
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

  private async chunk(content: Buffer): Promise<string> {
    const id = chunkId(content);
    if (this.isNew(id, content.length)) {
      if (this.needsFlush(content.length)) await this.flush();
      this.pack.add(id, content);
    }
    return id;
  }

  /** Whether a chunk of this length is to be stored; from then on it is not new any more. */
  private isNew(id: string, length: number): boolean {
    if (this.seen.has(id) || this.scope.has(id)) return false;
    this.seen.add(id);
    this.result.fresh += length;
    this.meter.add('new', length);
    return true;
  }

  /** Whether a new chunk of this length goes into the next pack. */
  private needsFlush(length: number): boolean {
    if (this.pack.isEmpty) return false;
    return this.pack.contentBytes + length / 2 > this.target || !this.pack.fits(length);
  }

  private async flush(): Promise<void> {
    if (this.pack.isEmpty) return;
    const { pack, result } = this;
    const { run, codec, seal } = this.task;
    const name = this.packName(result.packs.length);
    result.packs.push(
      seal
        ? await writeSealedPack(run, name, 'data', pack, codec, seal.key)
        : writePlainPack(run, name, 'data', pack, codec),
    );
  }

  private packName(number: number): string {
    return `${this.task.batch}-${this.task.lane}-${number}`;
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
