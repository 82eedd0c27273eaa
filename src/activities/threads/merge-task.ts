import { writeFileSync } from 'node:fs';
import { bootId } from '../../platform/boot.js';
import { HoldfastError } from '../../errors.js';
import { Catalog } from '../../repository/catalog.js';
import { type Codec, compress } from '../../repository/codec.js';
import { type Entry, entryLine, parseEntry } from '../../repository/entry.js';
import { readLines } from '../../repository/lines.js';
import { type ManifestChunk, ManifestChunker } from '../../repository/manifest.js';
import { PackBuilder, packTarget } from '../../repository/pack-writer.js';
import type { ManifestPart } from '../../repository/root.js';
import { Scope } from '../../repository/scope.js';
import { LineWriter } from './line-writer.js';
import { Meter, type TaskChannel } from './progress.js';
import { type PlainPack, type Segment, spoolFiles } from './spool-files.js';

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
}

/**
 * Puts a source's manifest together from the walk's lines and the lanes' results, checks that every chunk it names
 * resolves in scope, and writes new manifest chunks to packs of their own. Runs in a worker thread.
 */
export function mergeTask(task: MergeTask): MergeResult {
  const catalog = new Catalog(task.catalog);
  try {
    return new Merge(task, catalog).run();
  } finally {
    catalog.close();
  }
}

class Merge {
  private readonly meter: Meter;
  private readonly scope: Scope;
  private readonly pack: PackBuilder;
  private readonly written = new Set<string>();
  private readonly needs = new Set<string>();
  private readonly firsts = new Map<string, { chunks: string[]; holes: [string, string][] | undefined; size: string }>();
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
  };
  private readonly laneLines: Iterator<string>;

  constructor(
    private readonly task: MergeTask,
    catalog: Catalog,
  ) {
    this.meter = new Meter(task.channel);
    this.scope = new Scope(catalog, task.indexes, task.ownIndex, true);
    this.pack = new PackBuilder(task.generation);
    this.manifest = new LineWriter(spoolFiles.manifest(task.run, task.source));
    this.laneLines = lanesOf(task);
  }

  run(): MergeResult {
    for (const line of readLines(spoolFiles.entries(this.task.run, this.task.source))) {
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
    if (this.laneLines.next().done !== true) throw new HoldfastError('SpoolLost', 'the spool holds more results than planned');
    this.chunker.end();
    this.flush();
    this.manifest.finish();
    this.result.needs = [...this.needs];
    return this.result;
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
    // The first name could not be read, and was named: this one is the same file.
    if (!first) return;
    if (first.holes) entry.holes = first.holes;
    entry.size = first.size;
    entry.chunks = first.chunks;
    this.emit(entryLine(entry));
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
      for (let from = at + 11; line.charCodeAt(from) === 0x22; from += 67) this.need(line.slice(from + 1, from + 65), line);
      if (isFirst) {
        const entry = parseEntry(line);
        this.firsts.set(entry.path64 ?? entry.path ?? '', {
          chunks: entry.chunks ?? [],
          holes: entry.holes,
          size: entry.size ?? '0',
        });
      }
    }
    this.manifest.add(line);
    this.chunker.add(line);
  }

  private need(id: string, line: string): void {
    const places = this.scope.locate(id);
    if (places.length === 0) {
      throw new HoldfastError('SpoolLost', `chunk ${id} of ${line.slice(0, 80)} is neither stored nor in the spool`);
    }
    // One pack that is already needed serves as well as another.
    if (!places.some((place) => this.needs.has(place.pack))) this.needs.add(places[0]!.pack);
  }

  private store(chunk: ManifestChunk): void {
    const entry = JSON.parse(chunk.firstLine) as Entry;
    this.result.parts.push(
      entry.path64 === undefined ? { chunk: chunk.id, path: entry.path ?? '' } : { chunk: chunk.id, path64: entry.path64 },
    );
    if (this.written.has(chunk.id)) return;
    const places = this.scope.locate(chunk.id);
    if (places.length > 0) {
      if (!places.some((place) => this.needs.has(place.pack))) this.needs.add(places[0]!.pack);
      return;
    }
    if (!this.pack.isEmpty && (this.pack.contentBytes + chunk.content.length > packTarget || !this.pack.fits(chunk.content.length))) {
      this.flush();
    }
    this.written.add(chunk.id);
    this.pack.add(chunk.id, chunk.content);
  }

  private flush(): void {
    if (this.pack.isEmpty) return;
    const tar = this.pack.finish();
    const name = `m${this.task.source}-${this.result.packs.length}`;
    const compressed = compress(tar, this.task.codec);
    writeFileSync(spoolFiles.plainPack(this.task.run, name), compressed, { mode: 0o600 });
    this.result.packs.push({
      name,
      kind: 'manifest',
      plain: tar.length,
      compressed: compressed.length,
      content: this.pack.contentBytes,
      chunks: this.pack.places,
    });
    this.pack.reset();
  }
}

function* lanesOf(task: MergeTask): Generator<string> {
  for (const { batch, lane } of task.lanes) yield* readLines(spoolFiles.laneLines(task.run, batch, lane));
}
