import { HoldfastError } from '../../errors.js';
import { comparePaths } from '../../platform/paths.js';
import { type Entry, parseEntry } from '../entry.js';
import { type PackReader, partPath, readPart } from '../reader.js';
import type { ManifestPart } from '../root.js';
import type { Scope } from '../scope.js';
import type { PathFilter } from './path-filter.js';
import { unsafeEntry } from './target-path.js';

/** An entry with its path as string or, where that isn't UTF-8, bytes. */
export interface PathEntry {
  path: string | Buffer;
  entry: Entry;
  /** Only leads to what is wanted. */
  leads: boolean;
}

/** A stretch of a manifest that can't be had. */
export interface LostPart {
  from: string;
  to: string | undefined;
  message: string;
}

/** Consecutive parts of one source's manifest, with their neighbours where they are not all of it. */
export interface Stretch {
  parts: readonly ManifestPart[];
  before?: ManifestPart | undefined;
  after?: ManifestPart | undefined;
}

/** The wanted entries of one source's manifest, in order. */
class Cursor {
  current: PathEntry | undefined;
  private lines: string[] = [];
  private at = 0;
  private part = 0;

  /** `last`: what comes right before. */
  constructor(
    private readonly parts: readonly ManifestPart[],
    private readonly after: ManifestPart | undefined,
    private readonly read: (part: ManifestPart, next: ManifestPart | undefined) => Promise<string[]>,
    private readonly filter: PathFilter,
    private last: string | Buffer | undefined,
  ) {}

  /** Moves on within what is in memory; false when more has to be read first. */
  step(): boolean {
    while (this.at < this.lines.length) {
      const line = this.lines[this.at++]!;
      const entry = parseEntry(line);
      const path = pathOf(entry);
      if (this.last !== undefined && comparePaths(path, this.last) <= 0) {
        throw unsafeEntry(path, 'is named twice or out of order');
      }
      this.last = path;
      const wants = this.filter.wants(path);
      if (wants === undefined) continue;
      this.current = { path, entry, leads: wants === 'leads' };
      return true;
    }
    this.current = undefined;
    return false;
  }

  /** Reads the next part; false at the end. */
  async refill(): Promise<boolean> {
    const part = this.parts[this.part++];
    if (part === undefined) return false;
    this.lines = await this.read(part, this.parts[this.part] ?? this.after);
    this.at = 0;
    return true;
  }

  async advance(): Promise<void> {
    while (!this.step()) if (!(await this.refill())) return;
  }
}

/**
 * Calls `take` with the wanted entries of several sources, in path order; a path that two sources have comes from the
 * first. Before that `resume` gets the entry that comes before a stretch. What can't be read is told to `lost` and left
 * out.
 * @throws HoldfastError TargetUnsafe when a manifest is not in order.
 */
export async function forEachEntry(
  reader: PackReader,
  scope: Scope,
  manifests: readonly Stretch[],
  filter: PathFilter,
  take: (entry: PathEntry) => void,
  resume: (last: PathEntry) => void,
  lost: (part: LostPart) => void,
): Promise<void> {
  const read = partReader(reader, scope, lost);
  const cursors: Cursor[] = [];
  for (const { parts, before, after } of manifests) {
    const last = before && (await lastOf(reader, scope, before));
    if (last) resume(last);
    cursors.push(new Cursor(filter.select(parts), after, read, filter, last?.path));
  }
  await Promise.all(cursors.map((cursor) => cursor.advance()));
  const only = cursors.length === 1 ? cursors[0] : undefined;
  if (only) {
    while (only.current) {
      take(only.current);
      if (!only.step()) await only.advance();
    }
    return;
  }
  let last: string | Buffer | undefined;
  for (;;) {
    let next: Cursor | undefined;
    for (const cursor of cursors) {
      if (cursor.current && (!next?.current || comparePaths(cursor.current.path, next.current.path) < 0)) next = cursor;
    }
    if (!next?.current) return;
    if (last === undefined || comparePaths(next.current.path, last) !== 0) take(next.current);
    last = next.current.path;
    if (!next.step()) await next.advance();
  }
}

const pathOf = (entry: Entry): string | Buffer =>
  entry.path64 === undefined ? (entry.path ?? '') : Buffer.from(entry.path64, 'base64');

/** A part's last entry; undefined when it can't be had, which whoever has that part to plan reports. */
async function lastOf(reader: PackReader, scope: Scope, part: ManifestPart): Promise<PathEntry | undefined> {
  try {
    const line = (await readPart(reader, scope, part)).at(-1);
    const entry = line === undefined ? undefined : parseEntry(line);
    return entry && { path: pathOf(entry), entry, leads: false };
  } catch (error) {
    if (error instanceof HoldfastError && (error.code === 'IntegrityMismatch' || error.code === 'ObjectMissing'))
      return undefined;
    throw error;
  }
}

/**
 * The wanted entries of several sources, one after the other in path order, for whoever takes his time with each; a path
 * that two sources have comes from the first. Errors and `lost` as in `forEachEntry`.
 */
export async function* entriesOf(
  reader: PackReader,
  scope: Scope,
  manifests: readonly (readonly ManifestPart[])[],
  filter: PathFilter,
  lost: (part: LostPart) => void,
): AsyncGenerator<PathEntry> {
  const read = partReader(reader, scope, lost);
  const cursors = manifests.map((parts) => new Cursor(filter.select(parts), undefined, read, filter, undefined));
  for (const cursor of cursors) await cursor.advance();
  let last: string | Buffer | undefined;
  for (;;) {
    let next: Cursor | undefined;
    for (const cursor of cursors) {
      if (cursor.current && (!next?.current || comparePaths(cursor.current.path, next.current.path) < 0)) next = cursor;
    }
    if (!next?.current) return;
    const { current } = next;
    if (last === undefined || comparePaths(current.path, last) !== 0) yield current;
    last = current.path;
    if (!next.step()) await next.advance();
  }
}

/** Reads parts; what can't be had is told to `lost` and read as empty. */
function partReader(reader: PackReader, scope: Scope, lost: (part: LostPart) => void) {
  return async (part: ManifestPart, next: ManifestPart | undefined): Promise<string[]> => {
    try {
      return await readPart(reader, scope, part);
    } catch (error) {
      if (!(error instanceof HoldfastError) || (error.code !== 'IntegrityMismatch' && error.code !== 'ObjectMissing'))
        throw error;
      lost({ from: partPath(part).toString(), to: next && partPath(next).toString(), message: error.message });
      return [];
    }
  };
}
