import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { laneTask } from '../../src/activities/threads/lane-task.js';
import { type MergeResult, mergeTask } from '../../src/activities/threads/merge-task.js';
import { newChannel } from '../../src/activities/threads/progress.js';
import { sealTask } from '../../src/activities/threads/seal-task.js';
import { type LaneResult, type Problem, spoolFiles, spoolFolders } from '../../src/activities/threads/spool-files.js';
import { type Detect, type WalkResult, walkTask } from '../../src/activities/threads/walk-task.js';
import { Catalog } from '../../src/repository/catalog.js';
import { type Entry, entryPath, parseEntry } from '../../src/repository/entry.js';
import { newObjectId, packName } from '../../src/repository/layout.js';
import { readLines } from '../../src/repository/lines.js';
import { chunkAt, openPack } from '../../src/repository/reader.js';
import { Scope } from '../../src/repository/scope.js';
import type { FilesOptions } from '../../src/sources/files/walk.js';

export interface BackupOptions extends Partial<Omit<FilesOptions, 'paths'>> {
  detect?: Detect[];
  reread?: boolean;
  batchBytes?: number;
  laneBytes?: number;
  /** Compare with nothing, though there was a snapshot. */
  noParent?: boolean;
  /** Look every chunk of the parent up. */
  verify?: boolean;
  /** Called between walk and reading. */
  afterWalk?: () => void;
}

export interface Snapshot {
  walk: WalkResult;
  lanes: LaneResult[];
  merged: MergeResult;
  entries: Map<string, Entry>;
  problems: Problem[];
  /** Bytes of new content and of new manifest. */
  fresh: number;
  freshManifest: number;
  /** Bytes of source read. */
  read: number;
}

/** The tasks of a backup's threads, run here one after the other on a spool and a catalog of their own. */
export class Rig {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'holdfast-rig-'));
  readonly catalog = new Catalog(path.join(this.folder, 'catalog', 'site.db'));
  private readonly indexes: string[] = [];
  private parent: string | undefined;
  private runs = 0;

  close(): void {
    this.catalog.close();
  }

  async backup(paths: string[], options: BackupOptions = {}): Promise<Snapshot> {
    const run = path.join(this.folder, `run-${this.runs++}`);
    for (const name of spoolFolders) mkdirSync(path.join(run, name), { recursive: true });
    const ownIndex = newObjectId();
    const common = {
      run,
      generation: 'generation-1',
      codec: { type: 'zstd', level: 1 } as const,
      catalog: this.catalog.file,
      indexes: [...this.indexes],
      ownIndex,
    };
    const walk = walkTask({
      channel: newChannel(),
      run,
      source: 0,
      options: {
        paths,
        include: options.include ?? [],
        exclude: options.exclude ?? [],
        excludeIfPresent: options.excludeIfPresent ?? [],
        oneFileSystem: options.oneFileSystem ?? false,
      },
      detect: options.detect ?? ['size', 'mtime', 'ctime', 'inode'],
      ...(this.parent === undefined || options.noParent ? {} : { parent: this.parent }),
      ...(options.verify ? { verify: { catalog: this.catalog.file, indexes: [...this.indexes] } } : {}),
      reread: options.reread ?? false,
      firstBatch: 0,
      batchBytes: options.batchBytes ?? 256 << 20,
      laneBytes: options.laneBytes ?? 64 << 20,
    });
    options.afterWalk?.();
    const lanes: LaneResult[] = [];
    const places: { batch: number; lane: number }[] = [];
    const seal = async (result: { packs: LaneResult['packs'] }): Promise<void> => {
      for (const pack of result.packs) {
        const sealed = await sealTask({ ...common, channel: newChannel(), pack, index: ownIndex, key: undefined });
        this.catalog.addPresence('nas', packName(sealed.pack), sealed.size);
      }
    };
    for (const [batch, plan] of walk.batches.entries()) {
      for (const [lane, { bytes }] of plan.lanes.entries()) {
        const result = await laneTask({ ...common, channel: newChannel(), batch, lane, bytes });
        lanes.push(result);
        places.push({ batch, lane });
        await seal(result);
      }
    }
    const merged = mergeTask({ ...common, channel: newChannel(), source: 0, lanes: places });
    await seal(merged);
    if (this.catalog.packsOf(ownIndex).length > 0) this.indexes.push(ownIndex);
    this.parent = spoolFiles.manifest(run, 0);
    const problems = [...readLines(spoolFiles.problems(run, 0))].map((line) => JSON.parse(line) as Problem);
    const content = (packs: LaneResult['packs']): number => packs.reduce((sum, pack) => sum + pack.content, 0);
    return {
      walk,
      lanes,
      merged,
      entries: new Map([...readLines(this.parent)].map((line) => [entryPath(parseEntry(line)), parseEntry(line)])),
      problems: [...problems, ...lanes.flatMap((lane) => lane.problems), ...merged.problems],
      fresh: content(lanes.flatMap((lane) => lane.packs)),
      freshManifest: content(merged.packs),
      read: lanes.reduce((sum, lane) => sum + lane.read, 0),
    };
  }

  /** A file's content, put together from its chunks and holes, each chunk checked. */
  async content(entry: Entry | undefined): Promise<Buffer> {
    if (!entry?.chunks) throw new Error('no such file in the snapshot');
    const scope = new Scope(this.catalog, this.indexes, undefined, false);
    const data: Buffer[] = [];
    for (const id of entry.chunks) {
      const [place] = scope.locate(id);
      if (!place) throw new Error(`chunk ${id} is nowhere`);
      data.push(chunkAt(await this.tar(place.pack), place.pack, id, place.offset, place.length));
    }
    const all = Buffer.concat(data);
    if (!entry.holes) return all;
    const whole = Buffer.alloc(Number(entry.size));
    let from = 0;
    let at = 0;
    for (const [start, length] of [
      ...entry.holes.map(([a, b]) => [Number(a), Number(b)] as const),
      [whole.length, 0] as const,
    ]) {
      all.copy(whole, at, from, from + start - at);
      from += start - at;
      at = start + length;
    }
    return whole;
  }

  private async tar(pack: string): Promise<Buffer> {
    for (let run = this.runs - 1; run >= 0; run--) {
      try {
        return await openPack(
          undefined,
          pack,
          readFileSync(spoolFiles.pack(path.join(this.folder, `run-${run}`), pack)),
        );
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
      }
    }
    throw new Error(`pack ${pack} is in no spool`);
  }
}
