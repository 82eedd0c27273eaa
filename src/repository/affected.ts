import { comparePaths } from '../platform/paths.js';
import type { Catalog, ChunkLocation } from './catalog.js';
import { type Entry, entryPath, parseEntry } from './entry.js';
import { type PackReader, partPath, readPart, scopeOf } from './reader.js';
import type { ManifestPart, Root } from './root.js';

const idBytes = 32;

/** An entry of a manifest that names one of the chunks looked for. */
export interface AffectedEntry {
  path: string;
  chunks: string[];
  snapshots: string[];
  entry?: Entry;
  /** The manifest can't be read: `path` is where that part of it begins. */
  unread?: boolean;
}

export interface AffectedOptions {
  signal?: AbortSignal;
  /** Of the places of a chunk in a snapshot's scope, whether none of them serves; default: always. */
  isLost?: (places: readonly ChunkLocation[]) => boolean;
  /** Entries known from elsewhere that name these chunks, for parts that can't be read; asked once. */
  known?: (chunks: ReadonlySet<string>) => readonly Entry[];
}

/** Entries of the roots' manifests that need any of `chunks`, each path and content once, with the snapshots that have it. */
export async function affectedEntries(
  catalog: Catalog,
  reader: PackReader,
  roots: readonly Root[],
  chunks: ReadonlySet<string>,
  { signal, isLost = () => true, known }: AffectedOptions = {},
): Promise<AffectedEntry[]> {
  const inPart = new Map<string, AffectedEntry[]>();
  const found = new Map<string, AffectedEntry>();
  let elsewhere: readonly Entry[] | undefined;
  for (const root of roots) {
    const scope = scopeOf(catalog, root);
    for (const source of root.sources) {
      for (const [at, part] of source.manifest.entries()) {
        signal?.throwIfAborted();
        let entries = inPart.get(part.chunk);
        if (!entries) {
          entries = [];
          const itself = chunks.has(part.chunk);
          const refs = catalog.refs(part.chunk);
          // What is not known counts as named.
          if (itself || refs === undefined || namedIn(refs, chunks).length > 0) {
            try {
              entries = linesNaming(await readPart(reader, scope, part), itself ? undefined : chunks);
            } catch (error) {
              signal?.throwIfAborted();
              if (!(error instanceof Error)) throw error;
              const named = itself ? [part.chunk] : namedIn(refs, chunks);
              elsewhere ??= known?.(chunks) ?? [];
              entries = itself ? [] : knownEntries(elsewhere, new Set(named), part, source.manifest[at + 1]);
              const rest = named.filter((id) => !entries?.some((entry) => entry.chunks.includes(id)));
              const path = `${partPath(part).toString()} and what follows it`;
              if (rest.length > 0) entries.push({ path, chunks: rest, snapshots: [], unread: true });
            }
            if (itself) for (const entry of entries) entry.chunks = [part.chunk];
          }
          inPart.set(part.chunk, entries);
        }
        for (const entry of entries) {
          if (!entry.chunks.some((id) => isLost(scope.locate(id)))) continue;
          const name = `${entry.path}\n${entry.chunks.join()}`;
          const listed = found.get(name) ?? { ...entry, snapshots: [] };
          if (!listed.snapshots.includes(root.id)) listed.snapshots.push(root.id);
          found.set(name, listed);
        }
      }
    }
  }
  return [...found.values()];
}

/** Those of the entries that name the chunks and lie where the part does: its own, unless a file took another's content over. */
function knownEntries(
  entries: readonly Entry[],
  chunks: ReadonlySet<string>,
  part: ManifestPart,
  next: ManifestPart | undefined,
): AffectedEntry[] {
  return entries.flatMap((entry) => {
    const where = entry.path64 === undefined ? (entry.path ?? '') : Buffer.from(entry.path64, 'base64');
    if (comparePaths(where, partPath(part)) < 0 || (next && comparePaths(where, partPath(next)) >= 0)) return [];
    const named = new Set((entry.chunks ?? []).filter((id) => chunks.has(id)));
    return named.size === 0 ? [] : [{ path: entryPath(entry), chunks: [...named], snapshots: [], entry }];
  });
}

/** Those of the chunks that a manifest chunk's entries name. */
function namedIn(refs: Buffer | undefined, chunks: ReadonlySet<string>): string[] {
  const named: string[] = [];
  for (let at = 0; refs !== undefined && at + idBytes <= refs.length; at += idBytes) {
    const id = refs.toString('hex', at, at + idBytes);
    if (chunks.has(id)) named.push(id);
  }
  return named;
}

function linesNaming(lines: readonly string[], chunks: ReadonlySet<string> | undefined): AffectedEntry[] {
  return lines.flatMap((line) => {
    const entry = parseEntry(line);
    const named = (entry.chunks ?? []).filter((id) => chunks === undefined || chunks.has(id));
    if (chunks !== undefined && named.length === 0) return [];
    return [{ path: entryPath(entry), chunks: [...new Set(named)], snapshots: [], entry }];
  });
}

/** Where each of an entry's chunks lies in its file; `lengthOf` says how long a chunk is. */
export function chunkOffsets(
  entry: Entry,
  lengthOf: (id: string) => number | undefined,
): { id: string; offset: number; length: number }[] {
  const holes = (entry.holes ?? []).map(([offset, length]) => [Number(offset), Number(length)] as const);
  const places: { id: string; offset: number; length: number }[] = [];
  let at = 0;
  for (const id of entry.chunks ?? []) {
    for (let hole = holes[0]; hole !== undefined && hole[0] === at; hole = holes[0]) {
      at += hole[1];
      holes.shift();
    }
    const length = lengthOf(id);
    // Behind one of unknown length nothing can be placed.
    if (length === undefined) return places;
    places.push({ id, offset: at, length });
    at += length;
  }
  return places;
}
