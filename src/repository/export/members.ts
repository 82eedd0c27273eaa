import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../errors.js';
import { comparePaths } from '../../platform/paths.js';
import type { RelativePath } from '../../platform/restore-path.js';
import type { Catalog, ChunkLocation } from '../catalog.js';
import type { Entry } from '../entry.js';
import { isWithin, type PackReader, scopeOf } from '../reader.js';
import { entriesOf, type PathEntry } from '../restore/entries.js';
import { placeChunks } from '../restore/file-content.js';
import { PathFilter } from '../restore/path-filter.js';
import { landsInPlace } from '../restore/plan.js';
import type { PlannedChunk, Tally } from '../restore/plan-files.js';
import { fail, note, warn } from '../restore/tally.js';
import { targetOf } from '../restore/target-path.js';
import type { Root } from '../root.js';
import type { Scope } from '../scope.js';
import type { FormatAbilities, Member } from './member.js';

export interface MembersRequest {
  catalog: Catalog;
  root: Root;
  /** For manifests, and for content: neither drives the other's packs out of memory. */
  manifests: PackReader;
  content: PackReader;
  /** Absolute source paths; none means everything. */
  paths: readonly string[];
  abilities: FormatAbilities;
  /** Counts as it goes. */
  tally: Tally;
  signal: AbortSignal;
  /** Milliseconds to wait before each new attempt to read a pack that no destination could give now. */
  waits?: readonly number[];
}

/** Up to here a file's content is held in memory between its check and its writing. */
const heldLimit = 32 * 1024 * 1024;
const defaultWaits: readonly number[] = [1000, 2000, 4000, 8000, 16_000, 30_000];
const zeros = Buffer.alloc(1 << 20);

/**
 * A snapshot's entries as members of an archive, in path order, dumps last. A file is handed out only after all of its
 * chunks were read and found right, since an archive can't take back a member it has begun; larger files are read again
 * for it. What can't be had whole is named in the tally and left out.
 *
 * @throws HoldfastError PathUnknown; TargetUnsafe for a manifest that can't be trusted; IntegrityMismatch when a chunk goes
 * bad between its check and its writing; a retryable error when no destination can be reached for long.
 */
export async function* membersOf(request: MembersRequest): AsyncGenerator<Member> {
  const { catalog, root, manifests, paths, tally } = request;
  const scope = scopeOf(catalog, root);
  const filter = new PathFilter(paths);
  const groups: { within: string | undefined; parts: Root['sources'][number]['manifest'][] }[] = [
    { within: undefined, parts: root.sources.filter(({ type }) => landsInPlace(type)).map(({ manifest }) => manifest) },
    ...root.sources
      .filter(({ type }) => !landsInPlace(type))
      .map(({ name, manifest }) => ({ within: name, parts: [manifest] })),
  ];
  for (const { within, parts } of groups) {
    const builder = new MemberBuilder(request, scope, filter, within);
    const entries = entriesOf(manifests, scope, parts, filter, ({ from, to, message }) => {
      const until = to === undefined ? 'the end' : `before ${to}`;
      fail(tally, { path: from, message: `this and what follows up to ${until} can't be listed: ${message}` });
    });
    for await (const entry of entries) {
      request.signal.throwIfAborted();
      const member = await builder.member(entry);
      if (member) yield member;
    }
  }
  filter.check(root.id);
}

class MemberBuilder {
  /** First names that are not in the archive: the name that stands for them. */
  private readonly leaders = new Map<string, RelativePath>();
  private readonly failed = new Set<string>();
  private other: string | Buffer | undefined;

  constructor(
    private readonly request: MembersRequest,
    private readonly scope: Scope,
    private readonly filter: PathFilter,
    private readonly within: string | undefined,
  ) {}

  /** Undefined for what is left out. */
  async member({ path, entry, leads }: PathEntry): Promise<Member | undefined> {
    const { tally, abilities } = this.request;
    if (leads && entry.type !== 'dir') return undefined;
    const name = targetOf(path, this.within);
    const shown = path.toString();
    if (this.other !== undefined && isWithin(path, this.other)) {
      fail(tally, { path: shown, message: 'the snapshot has something that is no directory above it' });
      return undefined;
    }
    this.other = entry.type === 'dir' ? undefined : path;
    if (name.length === 0) return undefined;
    if (!abilities.rawNames && typeof name !== 'string') {
      const lost = { path: shown, message: 'its name is not UTF-8, which a zip file cannot hold; a tar file can' };
      if (entry.type === 'file') fail(tally, lost);
      else note(tally, lost);
      return undefined;
    }
    if (!abilities.types.has(entry.type)) {
      if (entry.type === 'socket')
        warn(tally, 'SocketSkipped', 'sockets are made by their programs, not restored', shown);
      else warn(tally, 'NotExported', 'a zip file cannot hold devices and named pipes; a tar file can', shown);
      return undefined;
    }
    if (entry.xattrs && (!abilities.xattrs || entry.xattrs.some(([key, , as]) => as === 'base64' || key.includes('='))))
      warn(tally, 'XattrNotExported', 'this format cannot hold some extended attributes', shown);
    if (entry.type !== 'file') return { name, entry, size: 0, content: nothing };
    return this.file(name, path, entry);
  }

  private async file(name: RelativePath, path: string | Buffer, entry: Entry): Promise<Member | undefined> {
    const { tally, abilities } = this.request;
    const shown = path.toString();
    const first = entry.hardlink64 === undefined ? entry.hardlink : Buffer.from(entry.hardlink64, 'base64');
    const key = (first ?? path).toString('latin1');
    if (first !== undefined && abilities.hardLinks) {
      const isThere = this.filter.wants(first) === 'wanted' && comparePaths(first, path) < 0 && !this.failed.has(key);
      const linkTo = this.leaders.get(key) ?? (isThere ? targetOf(first, this.within) : undefined);
      if (linkTo !== undefined) {
        tally.restored++;
        return { name, entry, size: 0, linkTo, content: nothing };
      }
    }
    try {
      const chunks = this.chunksOf(entry);
      const bytes = chunks.reduce((sum, { chunk }) => sum + chunk[2], 0);
      const held: Buffer[] = [];
      for (const { chunk, places } of chunks) {
        const content = await this.read(chunk[0], places);
        // A copy: a piece of a pack would keep the whole of it in memory.
        if (bytes <= heldLimit) held.push(Buffer.from(content));
      }
      if (first !== undefined) this.leaders.set(key, name);
      const size = Number(entry.size);
      tally.restored++;
      tally.bytes += size;
      return { name, entry, size, content: () => this.content(chunks, held, size) };
    } catch (error) {
      if (!isLost(error)) throw error;
      this.failed.add(key);
      fail(tally, { path: shown, message: error.message });
      return undefined;
    }
  }

  private chunksOf(entry: Entry): { chunk: PlannedChunk; places: ChunkLocation[] }[] {
    const chunks = (entry.chunks ?? []).map((id) => {
      const places = this.scope.locate(id);
      const [place] = places;
      if (place === undefined)
        throw new HoldfastError('IntegrityMismatch', `its chunk ${id} is in no pack of the snapshot's indexes`);
      return { chunk: [id, place.offset, place.length, 0] satisfies PlannedChunk as PlannedChunk, places };
    });
    const whole = placeChunks(
      entry,
      chunks.map(({ chunk }) => chunk),
    );
    if (!whole) throw new HoldfastError('IntegrityMismatch', 'its chunks and holes do not make up its size');
    return chunks;
  }

  private async *content(
    chunks: readonly { chunk: PlannedChunk; places: ChunkLocation[] }[],
    held: readonly Buffer[],
    size: number,
  ): AsyncGenerator<Buffer> {
    let at = 0;
    for (const [number, { chunk, places }] of chunks.entries()) {
      yield* zerosOf(chunk[3] - at);
      yield held[number] ?? (await this.read(chunk[0], places));
      at = chunk[3] + chunk[2];
    }
    yield* zerosOf(size - at);
  }

  /** A chunk; a destination that does not answer is waited for. */
  private async read(id: string, places: readonly ChunkLocation[]): Promise<Buffer> {
    const { content, signal, waits = defaultWaits } = this.request;
    for (let attempt = 0; ; attempt++) {
      signal.throwIfAborted();
      try {
        const bytes = await content.chunk(id, places);
        if (bytes.length === places[0]?.length) return bytes;
        throw new HoldfastError('IntegrityMismatch', `chunk ${id} has different lengths in the indexes`);
      } catch (error) {
        const wait = waits[attempt];
        if (!(error instanceof HoldfastError) || !error.retryable || wait === undefined) throw error;
        await sleep(wait, undefined, { signal });
      }
    }
  }
}

async function* nothing(): AsyncGenerator<Buffer> {}

function* zerosOf(count: number): Generator<Buffer> {
  for (let left = count; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length));
}

const isLost = (error: unknown): error is HoldfastError =>
  error instanceof HoldfastError && (error.code === 'IntegrityMismatch' || error.code === 'ObjectMissing');
