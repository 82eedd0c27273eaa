import picomatch from 'picomatch';
import { HoldfastError } from '../errors.js';
import { comparePaths } from '../platform/paths.js';
import type { Catalog } from '../repository/catalog.js';
import { type ListedEntry, snapshotEntries } from '../repository/entries.js';
import type { Entry, EntryType } from '../repository/entry.js';
import { isWithin, type PackReader } from '../repository/reader.js';
import type { Root, RootArchive, SnapshotMode } from '../repository/root.js';

export { resolveSnapshot } from '../repository/snapshots.js';

/** One element of `snapshots --json`. */
export interface SnapshotDocument {
  id: string;
  job: string;
  /** ISO 8601. */
  time: string;
  mode: SnapshotMode;
  complete: boolean;
  files: number;
  /** Content bytes. */
  bytes: number;
  /** Stored bytes that it added to the repository; null where an earlier version did not record it. */
  added: number | null;
  /** Destinations that hold its root, as last listed. */
  destinations: string[];
  pinned: boolean;
  /** Of jobs with `format: archive`: the file's name in `archives/`, and the full one's that a differential one builds on. */
  archive?: { name: string; base?: string };
}

/** Every snapshot in the catalog, newest first. */
export function listSnapshots(catalog: Catalog): SnapshotDocument[] {
  return catalog.snapshots().map(({ name, root }) => ({
    id: root.id,
    job: root.job,
    time: root.time,
    mode: root.mode,
    complete: root.complete,
    files: root.files,
    bytes: root.bytes,
    added: root.added ?? null,
    destinations: catalog.holders(name),
    pinned: root.pinned === true || catalog.isPinned(root.id),
    ...(root.archive === undefined ? {} : { archive: archiveOf(root.archive) }),
  }));
}

const archiveOf = ({ name, base }: RootArchive): SnapshotDocument['archive'] => ({
  name,
  ...(base === undefined ? {} : { base: base.name }),
});

/** A catalog with the means to read what its snapshots name. */
export interface Browser {
  catalog: Catalog;
  reader: PackReader;
}

/** One element of `ls --json`. */
export interface EntryDocument {
  /** Shown with replacement characters where it isn't UTF-8; `path64` then has the bytes. */
  path: string;
  path64?: string;
  type: EntryType;
  mode: number;
  uid: number;
  gid: number;
  user?: string;
  group?: string;
  /** Bytes; files only. */
  size?: number;
  /** ISO 8601, to the ns. */
  mtime: string;
  target?: string;
  hardlink?: string;
}

/**
 * What lies below `path` (without it: the source paths), by path; a directory's own level, or all levels with
 * `recursive`. A path that is no directory lists itself.
 * @throws HoldfastError PathUnknown.
 */
export async function* ls(
  { catalog, reader }: Browser,
  root: Root,
  path: string | undefined,
  options: { recursive?: boolean } = {},
): AsyncGenerator<EntryDocument> {
  const below = path === undefined ? undefined : path.replace(/(.)\/+$/, '$1');
  let found = false;
  let base: ListedEntry | undefined;
  let shown: string | Buffer | undefined;
  for await (const listed of snapshotEntries(reader, catalog, root, below)) {
    found = true;
    if (below !== undefined && listed.path === below) {
      base = listed;
      if (listed.entry.type !== 'dir') yield entryDocument(listed);
      continue;
    }
    if (!options.recursive) {
      const isChild =
        below !== undefined && base !== undefined
          ? depthBelow(listed.path, below) === 1
          : !isInside(listed.path, shown);
      if (!isChild) continue;
      shown = listed.path;
    }
    yield entryDocument(listed);
  }
  if (found || below === undefined) return;
  throw new HoldfastError('PathUnknown', `snapshot ${root.id} has no ${below}`, {
    hint: "Paths are absolute source paths; 'holdfast ls JOB' shows where they begin.",
  });
}

const isInside = (path: string | Buffer, directory: string | Buffer | undefined): boolean =>
  directory !== undefined && isWithin(path, directory);

function depthBelow(path: string | Buffer, directory: string): number {
  const rest = Buffer.from(path).subarray(Buffer.byteLength(directory.endsWith('/') ? directory : `${directory}/`));
  return rest.toString('latin1').split('/').length;
}

/** One element of `find --json`. */
export interface FoundDocument extends EntryDocument {
  snapshot: string;
}

/**
 * Entries whose name (a pattern without '/') or whole path (one with) matches the glob, in each of `roots`.
 * An entry that is the same in the next root is not repeated when `unique`.
 */
export async function* find(
  { catalog, reader }: Browser,
  roots: readonly Root[],
  pattern: string,
  options: { ignoreCase?: boolean; unique?: boolean } = {},
): AsyncGenerator<FoundDocument> {
  const matches = picomatch(pattern, { dot: true, nocase: options.ignoreCase ?? false });
  const whole = pattern.includes('/');
  const seen = new Map<string, string>();
  for (const root of roots) {
    for await (const listed of snapshotEntries(reader, catalog, root)) {
      const path = listed.path.toString();
      if (!matches(whole ? path : path.slice(path.lastIndexOf('/') + 1))) continue;
      if (options.unique) {
        const state = `${listed.entry.type} ${listed.entry.size ?? ''} ${listed.entry.mtime}`;
        if (seen.get(path) === state) continue;
        seen.set(path, state);
      }
      yield { snapshot: root.id, ...entryDocument(listed) };
    }
  }
}

/** One element of `diff --json`. */
export interface DiffDocument {
  path: string;
  path64?: string;
  change: 'added' | 'removed' | 'changed' | 'metadata';
  type: EntryType;
  /** For `changed` and `metadata`: what differs. */
  what?: ('type' | 'content' | 'target' | 'mode' | 'owner' | 'mtime' | 'xattrs')[];
  /** Sizes before and after, bytes; files only. */
  size?: { before?: number; after?: number };
}

/** What became of each path from one snapshot to another, by path. Times of directories alone don't count. */
export async function* diff(
  { catalog, reader }: Browser,
  before: Root,
  after: Root,
  options: { below?: string } = {},
): AsyncGenerator<DiffDocument> {
  const old = snapshotEntries(reader, catalog, before, options.below);
  const now = snapshotEntries(reader, catalog, after, options.below);
  try {
    let a = await old.next();
    let b = await now.next();
    while (!a.done || !b.done) {
      const order = a.done ? 1 : b.done ? -1 : comparePaths(a.value.path, b.value.path);
      if (order < 0 && !a.done) {
        yield { ...named(a.value), change: 'removed', type: a.value.entry.type, ...sizes(a.value.entry, undefined) };
        a = await old.next();
      } else if (order > 0 && !b.done) {
        yield { ...named(b.value), change: 'added', type: b.value.entry.type, ...sizes(undefined, b.value.entry) };
        b = await now.next();
      } else if (!a.done && !b.done) {
        const what = differences(a.value.entry, b.value.entry);
        if (what.length > 0) {
          const content = what.some((one) => one === 'type' || one === 'content' || one === 'target');
          yield {
            ...named(b.value),
            change: content ? 'changed' : 'metadata',
            type: b.value.entry.type,
            what,
            ...(content ? sizes(a.value.entry, b.value.entry) : {}),
          };
        }
        a = await old.next();
        b = await now.next();
      }
    }
  } finally {
    await old.return(undefined);
    await now.return(undefined);
  }
}

function differences(a: Entry, b: Entry): NonNullable<DiffDocument['what']> {
  const what: NonNullable<DiffDocument['what']> = [];
  if (a.type !== b.type) what.push('type');
  else if (a.type === 'file' && (a.size !== b.size || !sameList(a.chunks, b.chunks))) what.push('content');
  if (a.target !== b.target || a.target64 !== b.target64 || a.rdev !== b.rdev) what.push('target');
  if (a.mode !== b.mode) what.push('mode');
  if (a.uid !== b.uid || a.gid !== b.gid || a.user !== b.user || a.group !== b.group) what.push('owner');
  if (a.mtime !== b.mtime && b.type !== 'dir') what.push('mtime');
  if (JSON.stringify(a.xattrs ?? []) !== JSON.stringify(b.xattrs ?? [])) what.push('xattrs');
  return what;
}

const sameList = (a: readonly string[] = [], b: readonly string[] = []): boolean =>
  a.length === b.length && a.every((id, at) => id === b[at]);

function sizes(before: Entry | undefined, after: Entry | undefined): Pick<DiffDocument, 'size'> {
  const size: NonNullable<DiffDocument['size']> = {};
  if (before?.size !== undefined) size.before = Number(before.size);
  if (after?.size !== undefined) size.after = Number(after.size);
  return size.before === undefined && size.after === undefined ? {} : { size };
}

function named({ path }: ListedEntry): { path: string; path64?: string } {
  return typeof path === 'string' ? { path } : { path: path.toString(), path64: path.toString('base64') };
}

function entryDocument(listed: ListedEntry): EntryDocument {
  const { entry } = listed;
  const document: EntryDocument = {
    ...named(listed),
    type: entry.type,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtime: isoNs(BigInt(entry.mtime)),
  };
  if (entry.user !== undefined) document.user = entry.user;
  if (entry.group !== undefined) document.group = entry.group;
  if (entry.size !== undefined) document.size = Number(entry.size);
  const target =
    entry.target ?? (entry.target64 === undefined ? undefined : Buffer.from(entry.target64, 'base64').toString());
  if (target !== undefined) document.target = target;
  const first =
    entry.hardlink ?? (entry.hardlink64 === undefined ? undefined : Buffer.from(entry.hardlink64, 'base64').toString());
  if (first !== undefined) document.hardlink = first;
  return document;
}

/** `2026-11-22T03:00:00.123456789Z`; times beyond what a Date holds as nanoseconds since 1970. */
function isoNs(ns: bigint): string {
  const billion = 1_000_000_000n;
  const rest = ((ns % billion) + billion) % billion;
  const date = new Date(Number((ns - rest) / 1_000_000n));
  if (Number.isNaN(date.getTime())) return ns.toString();
  return date.toISOString().replace(/\.\d+Z$/, `.${rest.toString().padStart(9, '0')}Z`);
}
