import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { errnoOf, HoldfastError } from '../../errors.js';
import { SafeRoot } from '../../platform/restore-fs.js';
import type { RelativePath } from '../../platform/restore-path.js';
import type { Catalog } from '../catalog.js';
import type { Entry } from '../entry.js';
import type { PackReader } from '../reader.js';
import type { ManifestPart, Root } from '../root.js';
import { ChunkFinder } from './chunk-finder.js';
import { forEachEntry, type PathEntry, type Stretch } from './entries.js';
import { matchesContent, placeChunks } from './file-content.js';
import { LineBuffers } from './line-buffers.js';
import { Owners } from './owners.js';
import { PathFilter } from './path-filter.js';
import {
  type Overwrite,
  Place,
  type PlannedChunk,
  type PlannedDir,
  type PlannedFile,
  type PlannedLarge,
  type PlannedLink,
  type PlannedPack,
  type PlannedPieces,
  planFiles,
  type RestorePlan,
  type Share,
  shareOf,
  storePath,
} from './plan-files.js';
import { fail, newTally, note, warn } from './tally.js';
import { targetOf } from './target-path.js';
import { TargetTree } from './target-tree.js';

export interface PlanRequest {
  catalog: Catalog;
  reader: PackReader;
  root: Root;
  /** Absolute source paths; none means everything. */
  paths: readonly string[];
  target: string;
  overwrite: Overwrite;
  /** The part's own folder. */
  scratch: string;
  /** Which share of the manifest to plan; more than one only where `partsFor` says so. */
  share: Share;
  /** Called for every entry: counts progress, throws when it is to stop. */
  tick?: (entry: Entry) => void;
}

/** Content of one file beyond this is written piece by piece, from as many packs as it takes. */
const wholeLimit = 48 * 1024 * 1024;

/**
 * Reads the manifest and writes its part of the restore's plan to the scratch folder. Touches nothing in the target.
 * @throws HoldfastError PathUnknown, TargetUnsafe for a manifest that can't be trusted.
 */
export async function planRestore(request: PlanRequest): Promise<RestorePlan> {
  const { root, scratch } = request;
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(path.join(scratch, 'packs'), { recursive: true, mode: 0o700 });
  const filter = new PathFilter(request.paths);
  const planner = new Planner(request);
  try {
    const named = root.sources.map((source) => ({ source, manifest: source.manifest }));
    const inPlace = named.filter(({ source }) => landsInPlace(source.type));
    await planner.run(
      inPlace.map(({ manifest }) => stretchOf(manifest, request.share)),
      filter,
      undefined,
    );
    for (const { source, manifest } of named) {
      if (!landsInPlace(source.type)) await planner.run([{ parts: manifest }], filter, source.name);
    }
    filter.check(root.id);
    return planner.finish();
  } finally {
    planner.close();
  }
}

/** Files and SQLite databases go to their own paths, dumps below `.holdfast`. */
export const landsInPlace = (type: string): boolean => type === 'files' || type === 'sqlite';

function stretchOf(parts: readonly ManifestPart[], share: Share): Stretch {
  const { from, to } = shareOf(share, parts.length);
  return { parts: parts.slice(from, to), before: parts[from - 1], after: parts[to] };
}

class Planner {
  private readonly id = randomBytes(6).toString('hex');
  private readonly startedNs = (BigInt(Date.now()) * 1_000_000n).toString();
  private readonly tally = newTally();
  private readonly owners = new Owners(this.tally);
  private readonly finder: ChunkFinder;
  private readonly out = new LineBuffers();
  private readonly packs: PlannedPack[] = [];
  private readonly target: SafeRoot | undefined;
  private tree: TargetTree;
  /** First names outside the wanted paths: the wanted name that stands for them. */
  private readonly leaders = new Map<string, { rel: RelativePath; mtime: string }>();
  private dirs = 0;
  private late = 0;
  private links = 0;
  private large = 0;
  private files = 0;
  private bytes = 0;
  private needed = 0;
  private empty: number | undefined;

  constructor(private readonly request: PlanRequest) {
    this.finder = new ChunkFinder(request.catalog, request.root);
    if (request.paths.length === 0) this.finder.preload();
    this.target = isDirectory(request.target) ? SafeRoot.open(request.target) : undefined;
    this.tree = new TargetTree(this.target);
  }

  close(): void {
    this.target?.close();
  }

  async run(manifests: readonly Stretch[], filter: PathFilter, within: string | undefined): Promise<void> {
    this.tree = new TargetTree(this.target);
    await forEachEntry(
      this.request.reader,
      this.finder.scope,
      manifests,
      filter,
      (entry) => this.take(entry, filter, within),
      ({ path: source, entry }) => {
        const rel = targetOf(source, within);
        this.tree.enter(rel, () => undefined);
        if (entry.type !== 'dir') this.tree.pushOther(rel, entry.type);
        else this.tree.pushDir(rel, this.target?.lstat(rel)?.isDirectory() === true, undefined);
      },
      ({ from, to, message }) => {
        const until = to === undefined ? 'the end' : `before ${to}`;
        fail(this.tally, { path: from, message: `this and what follows up to ${until} can't be listed: ${message}` });
      },
    );
  }

  private take({ path: source, entry, leads }: PathEntry, filter: PathFilter, within: string | undefined): void {
    this.request.tick?.(entry);
    if (leads && entry.type !== 'dir') return;
    const rel = targetOf(source, within);
    const shown = source.toString();
    if (entry.type === 'file') {
      this.files++;
      if (entry.hardlink === undefined && entry.hardlink64 === undefined) this.bytes += Number(entry.size);
    }
    const parent = this.tree.enter(rel, (implied, there) => {
      this.dirs++;
      const dir: PlannedDir = { path: storePath(implied), ...(there ? { there } : {}) };
      this.out.add(planFiles.dirs(this.request.scratch), JSON.stringify(dir));
    });
    if (parent.blocked !== undefined) {
      if (entry.type !== 'dir') fail(this.tally, { path: shown, message: parent.blocked });
      else this.tree.pushDir(rel, false, parent.blocked);
      return;
    }
    if (entry.type === 'dir') this.directory(rel, entry, shown, parent.there);
    else {
      this.tree.pushOther(rel, entry.type);
      if (entry.type === 'file') this.file(rel, entry, shown, parent.there, filter, within);
      else if (entry.type === 'socket')
        warn(this.tally, 'SocketSkipped', 'sockets are made by their programs, not restored', shown);
      else this.link(rel, entry, parent.there);
    }
  }

  private directory(rel: RelativePath, entry: Entry, shown: string, parentThere: boolean): void {
    if (rel.length === 0) {
      this.tree.pushDir(rel, this.target !== undefined, undefined);
      return;
    }
    const there = parentThere ? this.target?.lstat(rel) : undefined;
    if (there && !there.isDirectory()) {
      const blocked = 'something that is no directory is in its way at the target';
      note(this.tally, { path: shown, message: blocked });
      this.tree.pushDir(rel, true, blocked);
      return;
    }
    this.tree.pushDir(rel, there !== undefined, undefined);
    this.dirs++;
    const dir: PlannedDir = { path: storePath(rel) };
    // With `never`, directories that were there stay as they are.
    if (!there || this.request.overwrite !== 'never') dir.meta = this.owners.metadata(entry);
    if (there) dir.there = true;
    if (dir.meta && (dir.meta.mode & 0o100) === 0) {
      dir.late = true;
      this.late++;
      this.out.add(planFiles.late(this.request.scratch), JSON.stringify(dir));
    }
    this.out.add(planFiles.dirs(this.request.scratch), JSON.stringify(dir));
  }

  private link(rel: RelativePath, entry: Entry, parentThere: boolean): void {
    this.addLink({
      kind: entry.type as PlannedLink['kind'],
      path: storePath(rel),
      ...(entry.type === 'symlink'
        ? { target: entry.target64 === undefined ? (entry.target ?? '') : { b: entry.target64 } }
        : {}),
      ...(entry.rdev === undefined ? {} : { rdev: entry.rdev }),
      there: parentThere && this.target?.lstat(rel) !== undefined,
      meta: this.owners.metadata(entry),
    });
  }

  private addLink(link: PlannedLink): void {
    this.links++;
    this.out.add(planFiles.links(this.request.scratch), JSON.stringify(link));
  }

  private file(
    rel: RelativePath,
    entry: Entry,
    shown: string,
    parentThere: boolean,
    filter: PathFilter,
    within: string | undefined,
  ): void {
    const first = entry.hardlink64 === undefined ? entry.hardlink : Buffer.from(entry.hardlink64, 'base64');
    if (first !== undefined) {
      const key = first.toString('latin1');
      const leader = filter.wants(first) === 'wanted' ? targetOf(first, within) : this.leaders.get(key)?.rel;
      if (leader !== undefined) {
        this.addLink({
          kind: 'hardlink',
          path: storePath(rel),
          target: storePath(leader),
          size: Number(entry.size),
          there: parentThere && this.target?.lstat(rel) !== undefined,
          meta: this.owners.metadata(entry),
        });
        return;
      }
      this.leaders.set(key, { rel, mtime: entry.mtime });
      this.bytes += Number(entry.size);
    }
    const chunks = this.chunksOf(entry, shown);
    if (!chunks) return;
    const place = this.placeOf(rel, entry, shown, parentThere, chunks);
    if (place !== undefined) this.addFile(rel, entry, place, chunks);
  }

  /** Each chunk with its pack and its place in the file; undefined, and a failure, when the file can't be put together. */
  private chunksOf(entry: Entry, shown: string): { pack: string; chunk: PlannedChunk }[] | undefined {
    const found: { pack: string; chunk: PlannedChunk }[] = [];
    let pack: string | undefined;
    for (const id of entry.chunks ?? []) {
      const location = this.finder.find(id, pack);
      if (!location) {
        fail(this.tally, { path: shown, message: `its chunk ${id} is in no pack of the snapshot's indexes` });
        return undefined;
      }
      pack = location.pack;
      found.push({ pack, chunk: [id, location.offset, location.length, 0] });
    }
    if (
      !placeChunks(
        entry,
        found.map(({ chunk }) => chunk),
      )
    ) {
      fail(this.tally, { path: shown, message: 'its chunks and holes do not make up its size' });
      return undefined;
    }
    return found;
  }

  /** How the file meets what is there; undefined when nothing is to be written. */
  private placeOf(
    rel: RelativePath,
    entry: Entry,
    shown: string,
    parentThere: boolean,
    chunks: readonly { chunk: PlannedChunk }[],
  ): Place | undefined {
    if (!parentThere) return Place.fresh;
    const there = this.target?.lstat(rel);
    if (!there) return Place.free;
    const { overwrite } = this.request;
    if (overwrite === 'always') return this.replaceable(there.isDirectory(), shown);
    const sameSize = there.isFile() && there.size === BigInt(entry.size ?? 0);
    if (sameSize && there.mtimeNs === BigInt(entry.mtime)) {
      this.tally.restored++;
      return undefined;
    }
    if (sameSize && this.target) {
      const whole = chunks.map(({ chunk }) => chunk);
      if (Number(entry.size) <= wholeLimit) return Place.compare;
      if (matchesContent(this.target, rel, whole)) {
        this.tally.restored++;
        return undefined;
      }
    }
    if (overwrite === 'changed') return this.replaceable(there.isDirectory(), shown);
    this.tally.skipped++;
    warn(this.tally, 'Kept', 'differing files at the target are kept; --overwrite changed replaces them', shown);
    return undefined;
  }

  private replaceable(isDirectory: boolean, shown: string): Place | undefined {
    if (!isDirectory) return Place.replace;
    fail(this.tally, { path: shown, message: 'a directory is in its place at the target' });
    return undefined;
  }

  private addFile(
    rel: RelativePath,
    entry: Entry,
    place: Place,
    chunks: readonly { pack: string; chunk: PlannedChunk }[],
  ): void {
    const { scratch } = this.request;
    const size = Number(entry.size);
    const meta = this.owners.metadata(entry);
    const first = chunks[0]?.pack;
    const content = chunks.reduce((sum, { chunk }) => sum + chunk[2], 0);
    this.needed += content;
    if (first === undefined || (content <= wholeLimit && chunks.every(({ pack }) => pack === first))) {
      const number = first === undefined ? this.emptyPack() : this.packNumber(first);
      const file: PlannedFile = { path: storePath(rel), size, chunks: chunks.map(({ chunk }) => chunk), place, meta };
      this.addToPack(number, JSON.stringify(file), content);
      return;
    }
    const number = this.large++ * this.request.share.of + this.request.share.number;
    const temp = storePath(besides(rel, `.holdfast-${this.id}-${number}`));
    const pieces = new Map<number, PlannedChunk[]>();
    for (const { pack, chunk } of chunks) {
      const of = this.packNumber(pack);
      const list = pieces.get(of);
      if (list) list.push(chunk);
      else pieces.set(of, [chunk]);
    }
    for (const [of, list] of pieces) {
      const planned: PlannedPieces = { large: number, temp, chunks: list };
      this.addToPack(
        of,
        JSON.stringify(planned),
        list.reduce((sum, chunk) => sum + chunk[2], 0),
      );
    }
    const large: PlannedLarge = { path: storePath(rel), temp, size, place, meta, packs: [...pieces.keys()] };
    this.out.add(planFiles.large(scratch), JSON.stringify(large));
  }

  private packNumber(pack: string): number {
    const number = this.finder.use(pack);
    while (this.packs.length <= number)
      this.packs.push({
        pack: this.finder.packs[this.packs.length] ?? '',
        at: [[this.request.share.number, this.packs.length]],
        files: 0,
        bytes: 0,
      });
    return number;
  }

  /** Empty files make a pack of their own that needs no fetching. */
  private emptyPack(): number {
    this.empty ??= this.packNumber('');
    return this.empty;
  }

  private addToPack(number: number, line: string, bytes: number): void {
    const pack = this.packs[number]!;
    pack.files++;
    pack.bytes += bytes;
    this.out.add(planFiles.pack(this.request.scratch, number), line);
  }

  finish(): RestorePlan {
    this.out.flush();
    return {
      id: this.id,
      snapshot: this.request.root.id,
      target: this.request.target,
      overwrite: this.request.overwrite,
      indexes: this.request.root.indexes,
      startedNs: this.startedNs,
      packs: this.packs,
      dirs: this.dirs,
      late: this.late,
      links: this.links,
      large: this.large,
      files: this.files,
      bytes: this.bytes,
      needed: this.needed,
      parts: this.request.share.of,
      tally: this.tally,
    };
  }
}

/** A name in the same directory as `rel`. */
export function besides(rel: RelativePath, name: string): RelativePath {
  if (typeof rel === 'string') return rel.slice(0, rel.lastIndexOf('/') + 1) + name;
  return Buffer.concat([rel.subarray(0, rel.lastIndexOf(0x2f) + 1), Buffer.from(name)]);
}

function isDirectory(target: string): boolean {
  try {
    if (statSync(target).isDirectory()) return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw new HoldfastError('TargetUnsafe', `the target ${target} can't be used: ${errnoOf(error) ?? String(error)}`, {
      cause: error,
    });
  }
  throw new HoldfastError('TargetUnsafe', `the target ${target} is not a directory`, {
    hint: 'Name a directory, or one that does not exist yet.',
  });
}
