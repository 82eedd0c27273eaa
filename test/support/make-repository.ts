import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { laneTask } from '../../src/activities/threads/lane-task.js';
import { mergeTask } from '../../src/activities/threads/merge-task.js';
import { newChannel } from '../../src/activities/threads/progress.js';
import { sealTask } from '../../src/activities/threads/seal-task.js';
import { type PlainPack, spoolFiles, spoolFolders } from '../../src/activities/threads/spool-files.js';
import { walkTask } from '../../src/activities/threads/walk-task.js';
import { LocalDestination } from '../../src/destinations/local.js';
import { Catalog } from '../../src/repository/catalog.js';
import { type Codec, compress } from '../../src/repository/codec.js';
import { indexPackLine } from '../../src/repository/index-file.js';
import { indexName, newObjectId, packName, snapshotName } from '../../src/repository/layout.js';
import { ManifestChunker } from '../../src/repository/manifest.js';
import { PackBuilder } from '../../src/repository/pack-writer.js';
import type { ManifestPart, Root } from '../../src/repository/root.js';
import { rootBytes, rootHash } from '../../src/repository/root.js';
import type { RepositoryKey } from '../../src/repository/seal.js';
import { Store, sealMeta } from '../../src/repository/store.js';

export interface RepositoryOptions {
  /** Everything is kept below it: spool, catalog, destinations. */
  folder: string;
  /** Names of the destinations; default one, `nas`. */
  destinations?: string[];
  encrypted?: boolean;
  /** Another key than a new one of `objects: aes`. */
  key?: (repository: string) => RepositoryKey;
  codec?: Codec;
  batchBytes?: number;
  laneBytes?: number;
}

/** A job's repository made by the same tasks as a backup's activities run, without Temporal. */
export class TestRepository {
  readonly catalog: Catalog;
  readonly stores: Store[];
  readonly key: RepositoryKey | undefined;
  readonly repository = randomUUID();
  private readonly generation = newObjectId();
  private readonly indexes: string[] = [];
  private seq = 0;

  private constructor(private readonly options: RepositoryOptions) {
    this.catalog = new Catalog(path.join(options.folder, 'catalog.db'));
    this.key =
      options.encrypted === false
        ? undefined
        : (options.key?.(this.repository) ?? { repository: this.repository, key: new Uint8Array(randomBytes(32)) });
    this.stores = (options.destinations ?? ['nas']).map(
      (name) =>
        new Store(new LocalDestination(name, { type: 'local', path: this.destinationPath(name) }), 'host', 'job'),
    );
  }

  static async create(options: RepositoryOptions): Promise<TestRepository> {
    const made = new TestRepository(options);
    for (const store of made.stores) await store.destination.ensureRoot();
    return made;
  }

  destinationPath(name: string): string {
    return path.join(this.options.folder, name);
  }

  /** The file that holds an object at a destination. */
  objectPath(destination: string, name: string): string {
    return path.join(this.destinationPath(destination), 'host', 'job', name);
  }

  close(): void {
    this.catalog.close();
  }

  /** Backs up `paths` as one source; deduplicates against what is there. */
  async backup(paths: string[], time = new Date()): Promise<Root> {
    const run = this.newRun();
    const index = newObjectId();
    const codec = this.options.codec ?? { type: 'zstd', level: 3 };
    const common = {
      run,
      generation: this.generation,
      codec,
      catalog: this.catalog.file,
      indexes: this.indexes,
      ownIndex: index,
    };
    const walk = walkTask({
      channel: newChannel(),
      run,
      source: 0,
      options: { paths, include: [], exclude: [], excludeIfPresent: [], oneFileSystem: false },
      detect: ['size', 'mtime', 'ctime', 'inode'],
      reread: false,
      firstBatch: 0,
      batchBytes: this.options.batchBytes ?? 256 * 1024 * 1024,
      laneBytes: this.options.laneBytes ?? 64 * 1024 * 1024,
    });
    const lanes: { batch: number; lane: number }[] = [];
    for (const [batch, plan] of walk.batches.entries()) {
      for (const [lane, { bytes }] of plan.lanes.entries()) {
        const result = await laneTask({ ...common, channel: newChannel(), batch, lane, bytes });
        for (const pack of result.packs) await this.seal(run, index, pack);
        lanes.push({ batch, lane });
      }
    }
    const merged = mergeTask({ ...common, channel: newChannel(), source: 0, lanes });
    for (const pack of merged.packs) await this.seal(run, index, pack);
    return this.commit(
      index,
      paths,
      merged.parts,
      { entries: merged.entries, files: merged.files, bytes: merged.bytes },
      time,
    );
  }

  /** A snapshot with exactly these manifest lines, whatever they say, and these chunks. */
  async forge(lines: string[], contents: Buffer[] = []): Promise<Root> {
    const run = this.newRun();
    const index = newObjectId();
    const parts: ManifestPart[] = [];
    const builder = new PackBuilder(this.generation);
    const chunker = new ManifestChunker((chunk) => {
      const first = JSON.parse(chunk.firstLine) as { path?: string; path64?: string };
      parts.push(
        first.path64 === undefined
          ? { chunk: chunk.id, path: first.path ?? '' }
          : { chunk: chunk.id, path64: first.path64 },
      );
      builder.add(chunk.id, chunk.content);
    });
    for (const content of contents) builder.add(createHash('sha256').update(content).digest('hex'), content);
    for (const line of lines) chunker.add(line);
    chunker.end();
    const tar = builder.finish();
    const compressed = compress(tar, { type: 'zstd', level: 3 });
    writeFileSync(spoolFiles.plainPack(run, 'forged'), compressed);
    writeFileSync(spoolFiles.packChunks(run, 'forged'), JSON.stringify(builder.places));
    const pack: PlainPack = {
      name: 'forged',
      kind: 'manifest',
      plain: tar.length,
      compressed: compressed.length,
      content: builder.contentBytes,
    };
    await this.seal(run, index, pack);
    return this.commit(index, ['/'], parts, { entries: lines.length, files: lines.length, bytes: 0 }, new Date());
  }

  private newRun(): string {
    const run = path.join(this.options.folder, `spool-${this.seq + 1}`);
    for (const folder of spoolFolders) mkdirSync(path.join(run, folder), { recursive: true });
    return run;
  }

  private async seal(run: string, index: string, pack: PlainPack): Promise<void> {
    const sealed = await sealTask({
      channel: newChannel(),
      run,
      pack,
      generation: this.generation,
      index,
      catalog: this.catalog.file,
      key: this.key,
    });
    const file = spoolFiles.pack(run, sealed.pack);
    for (const store of this.stores) {
      await store.putPack(sealed.pack, file, {});
      this.catalog.addPresence(store.name, packName(sealed.pack), sealed.size);
    }
  }

  private async commit(
    index: string,
    paths: string[],
    manifest: ManifestPart[],
    counts: { entries: number; files: number; bytes: number },
    time: Date,
  ): Promise<Root> {
    const packs = this.catalog.packsOf(index).flatMap((row) => this.catalog.indexPack(row.hash) ?? []);
    if (packs.length > 0) {
      const plain = Buffer.from(packs.map((pack) => `${indexPackLine(pack)}\n`).join(''));
      await this.putObject('index', indexName(index), plain);
      this.indexes.push(index);
    }
    const id = newObjectId();
    const root: Root = {
      format: 1,
      id,
      repository: this.repository,
      host: 'host',
      job: 'job',
      seq: ++this.seq,
      run: `backup/host/job/${this.seq}`,
      time: time.toISOString(),
      endedAt: time.toISOString(),
      mode: this.seq === 1 ? 'full' : 'incremental',
      generation: this.generation,
      indexes: [...this.indexes],
      complete: true,
      files: counts.files,
      bytes: counts.bytes,
      sources: [{ name: 'files', type: 'files', paths, complete: true, ...counts, unreadable: 0, manifest }],
      config: {},
      version: 'test',
    };
    const name = snapshotName(time, id);
    const json = rootBytes(root);
    await this.putObject('snapshot', name, json);
    this.catalog.putSnapshot({ id, seq: root.seq, name, sha256: rootHash(json), root });
    return root;
  }

  private async putObject(kind: 'index' | 'snapshot', name: string, plain: Buffer): Promise<void> {
    const bytes = await sealMeta(this.key, kind, name, plain);
    for (const store of this.stores) {
      await store.destination.put(store.key(name), { bytes });
      this.catalog.addPresence(store.name, name, bytes.length);
    }
  }

  /** Data packs of a snapshot's indexes, by hash. */
  packs(kind: 'data' | 'manifest'): string[] {
    return this.indexes
      .flatMap((index) => this.catalog.packsOf(index))
      .filter((row) => row.kind === kind)
      .map((row) => row.hash);
  }

  has(destination: string, pack: string): boolean {
    return existsSync(this.objectPath(destination, packName(pack)));
  }
}
