import { lstatSync } from 'node:fs';
import { HoldfastError } from '../../errors.js';
import { bootId } from '../../platform/boot.js';
import { OwnChunks } from '../../repository/archive/own-chunks.js';
import type { Catalog } from '../../repository/catalog.js';
import type { Codec } from '../../repository/codec.js';
import { type Entry, entryLine, entryPath, entryPathBytes, parseEntry } from '../../repository/entry.js';
import { readLines } from '../../repository/lines.js';
import { type ManifestChunk, ManifestChunker } from '../../repository/manifest.js';
import { type ChunkPlace, type PackBuilder, packTarget } from '../../repository/pack-writer.js';
import { refsOf } from '../../repository/refs.js';
import type { ManifestPart } from '../../repository/root.js';
import { Scope } from '../../repository/scope.js';
import { threadCatalog } from './catalogs.js';
import { LineWriter, readJson } from './line-writer.js';
import { sharedPack } from './pack-memory.js';
import { writePlainPack } from './plain-pack.js';
import { Meter, type TaskChannel } from './progress.js';
import {
  type LaneResult,
  type PlainPack,
  type Problem,
  type SealedPack,
  type Segment,
  spoolFiles,
} from './spool-files.js';
import { walkedLines } from './walked-lines.js';

export interface MergeTask {
  channel: TaskChannel;
  run: string;
  source: number;
  /** The source's lanes in order. */
  lanes: { batch: number; lane: number }[];
  generation: string;
  codec: Codec;
  catalog: string;
  indexes: string[];
  ownIndex: string;
  /** What was read lies in an archive, and not in packs of this run: see `OwnChunks`. */
  archive?: boolean;
  /** Note in the catalog which chunks each manifest chunk names: nobody here can read that again. */
  noteRefs?: boolean;
}

export interface MergeResult {
  boot: string;
  packs: PlainPack[];
  parts: ManifestPart[];
  entries: number;
  files: number;
  bytes: number;
  /** Hashes of every pack this source's snapshot needs. */
  needs: string[];
  torn: string[];
  /** Entries left out, with the reason. */
  problems: Problem[];
}

/**
 * Puts a source's manifest together from the walk's lines and the lanes' results, checks that every chunk it names
 * resolves in scope, and writes new manifest chunks to packs of their own. Runs in a worker thread.
 */
export function mergeTask(task: MergeTask): MergeResult {
  return new Merge(task, threadCatalog(task.catalog)).run();
}

class Merge {
  private readonly meter: Meter;
  private readonly scope: Scope;
  private readonly pack: PackBuilder;
  private readonly written = new Set<string>();
  private readonly needs = new Set<string>();
  private readonly firsts = new Map<string, Entry>();
  private readonly own: OwnChunks | undefined;
  private readonly chunker = new ManifestChunker((chunk) => this.store(chunk));
  private readonly manifest: LineWriter;
  private readonly result: MergeResult = {
    boot: bootId(),
    packs: [],
    parts: [],
    entries: 0,
    files: 0,
    bytes: 0,
    needs: [],
    torn: [],
    problems: [],
  };
  private readonly laneLines: Iterator<string>;
  /** Chunks in the packs of the lane being merged, with their packs: nearly all it names, and cheaper than the catalog. */
  private lane = new Map<string, string>();

  constructor(
    private readonly task: MergeTask,
    private readonly catalog: Catalog,
  ) {
    this.meter = new Meter(task.channel);
    this.scope = new Scope(catalog, task.indexes, task.ownIndex, true);
    this.pack = sharedPack(task.generation);
    this.manifest = new LineWriter(spoolFiles.manifest(task.run, task.source));
    this.laneLines = this.lanes();
    this.own = task.archive ? OwnChunks.open(spoolFiles.ownChunks(task.run)) : undefined;
  }

  run(): MergeResult {
    for (const line of walkedLines(this.task.run, this.task.source)) {
      this.meter.check();
      const kind = line[0];
      if (kind === '=') this.emit(line.slice(1));
      else if (kind === '~') this.emit(line.slice(1), true);
      else if (kind === '&') this.hardlink(line.slice(1));
      else if (kind === '?') {
        const read = this.nextLaneLine();
        if (read !== '!') this.emit(read, line[1] === '!');
      } else if (kind === '*') this.stretches(Number.parseInt(line.slice(1), 10), line.endsWith('!'));
      else throw new HoldfastError('SpoolLost', 'the plan in the spool is damaged');
    }
    if (this.laneLines.next().done !== true)
      throw new HoldfastError('SpoolLost', 'the spool holds more results than planned');
    this.chunker.end();
    this.flush();
    this.manifest.finish();
    this.result.needs = [...this.needs];
    this.own?.close();
    return this.result;
  }

  /** The lanes' lines; `lane` follows with what the current one stored. */
  private *lanes(): Generator<string> {
    for (const { batch, lane } of this.task.lanes) {
      this.lane = storedBy(this.task.run, batch, lane);
      yield* readLines(spoolFiles.laneLines(this.task.run, batch, lane));
    }
  }

  private nextLaneLine(): string {
    const next = this.laneLines.next();
    if (next.done) throw new HoldfastError('SpoolLost', 'the spool holds fewer results than planned');
    return next.value;
  }

  /** A later name of a file: it repeats the first one's chunks. */
  private hardlink(text: string): void {
    const entry = JSON.parse(text) as Entry;
    const first = this.firsts.get(entry.hardlink64 ?? entry.hardlink ?? '');
    if (!first || first.inode !== entry.inode) {
      this.leaveOut(
        entry,
        first ? 'another file took the place of its first name' : 'its first name could not be read',
      );
      return;
    }
    // The same file, as it was when it was read under its first name.
    const { path: _, path64: __, ...same } = first;
    const { path, path64, hardlink, hardlink64 } = entry;
    this.emit(entryLine({ path, path64, hardlink, hardlink64, ...same }));
  }

  private leaveOut(entry: Entry, message: string): void {
    this.result.problems.push({ code: isGone(entry) ? 'Vanished' : 'Unreadable', path: entryPath(entry), message });
  }

  private stretches(count: number, isFirst: boolean): void {
    const segments: Segment[] = [];
    let failed = false;
    for (let i = 0; i < count; i++) {
      const line = this.nextLaneLine();
      if (line === '!') failed = true;
      else segments.push(JSON.parse(line.slice(1)) as Segment);
    }
    const last = segments.at(-1);
    if (failed || !last) return;
    const entry = JSON.parse(last.head) as Entry;
    const torn = segments.some((segment) => segment.changed || segment.stat !== last.stat);
    if (torn) {
      entry.changed = true;
      entry.recheck = true;
      this.result.torn.push(entry.path ?? entry.path64 ?? '');
    }
    entry.size = segments.reduce((sum, segment) => sum + segment.size, 0).toString();
    entry.chunks = segments.flatMap((segment) => segment.chunks);
    const holes = segments.flatMap((segment) => segment.holes);
    if (holes.length > 0) entry.holes = holes;
    this.emit(entryLine(entry), isFirst);
  }

  private emit(line: string, isFirst = false): void {
    this.result.entries++;
    const at = line.lastIndexOf(',"chunks":[');
    if (at >= 0) {
      this.result.files++;
      const size = /,"size":"(\d+)"/.exec(line);
      this.result.bytes += Number(size?.[1] ?? 0);
      for (let from = at + 11; line.charCodeAt(from) === 0x22; from += 67)
        this.need(line.slice(from + 1, from + 65), line);
      if (isFirst) {
        const entry = parseEntry(line);
        this.firsts.set(entry.path64 ?? entry.path ?? '', entry);
      }
    }
    this.manifest.add(line);
    this.chunker.add(line);
  }

  private need(id: string, line: string): void {
    if (this.own?.has(id)) return;
    const own = this.lane.get(id);
    if (own !== undefined) {
      this.needs.add(own);
      return;
    }
    const packs = this.scope.packs(id);
    if (packs.length === 0) {
      throw new HoldfastError('SpoolLost', `chunk ${id} of ${line.slice(0, 80)} is neither stored nor in the spool`);
    }
    // One pack that is already needed serves as well as another.
    if (!packs.some((pack) => this.needs.has(pack))) this.needs.add(packs[0]!);
  }

  private store(chunk: ManifestChunk): void {
    const entry = JSON.parse(chunk.firstLine) as Entry;
    this.result.parts.push(
      entry.path64 === undefined
        ? { chunk: chunk.id, path: entry.path ?? '' }
        : { chunk: chunk.id, path64: entry.path64 },
    );
    if (this.task.noteRefs && this.catalog.refs(chunk.id) === undefined)
      this.catalog.putRefs(chunk.id, refsOf(chunk.content));
    if (this.written.has(chunk.id)) return;
    const packs = this.scope.packs(chunk.id);
    if (packs.length > 0) {
      if (!packs.some((pack) => this.needs.has(pack))) this.needs.add(packs[0]!);
      return;
    }
    if (
      !this.pack.isEmpty &&
      (this.pack.contentBytes + chunk.content.length > packTarget || !this.pack.fits(chunk.content.length))
    ) {
      this.flush();
    }
    this.written.add(chunk.id);
    this.pack.add(chunk.id, chunk.content);
  }

  private flush(): void {
    if (this.pack.isEmpty) return;
    const name = `m${this.task.source}-${this.result.packs.length}`;
    this.result.packs.push(writePlainPack(this.task.run, name, 'manifest', this.pack, this.task.codec));
  }
}

/** The chunks that a lane's sealed packs hold. */
function storedBy(run: string, batch: number, lane: number): Map<string, string> {
  const chunks = new Map<string, string>();
  for (const pack of readJson<LaneResult>(spoolFiles.laneResult(run, batch, lane))?.packs ?? []) {
    const sealed = readJson<SealedPack>(spoolFiles.sealedMark(run, pack.name));
    if (!sealed) continue;
    for (const [id] of readJson<ChunkPlace[]>(spoolFiles.packChunks(run, pack.name)) ?? []) chunks.set(id, sealed.pack);
  }
  return chunks;
}

function isGone(entry: Entry): boolean {
  try {
    return lstatSync(entryPathBytes(entry), { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}
