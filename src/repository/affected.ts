import type { Catalog, ChunkLocation } from './catalog.js';
import { type Entry, entryPath, parseEntry } from './entry.js';
import { type PackReader, partPath, readPart, scopeOf } from './reader.js';
import type { Root } from './root.js';

const idBytes = 32;

/** An entry of a manifest that names one of the chunks looked for; `unread`: the manifest itself can't be read from here on. */
export interface AffectedEntry {
  path: string;
  chunks: string[];
  snapshots: string[];
  entry?: Entry;
}

/**
 * Entries of the roots' manifests that need any of `chunks`, each path and content once, with the snapshots that have it.
 * @param isLost of the places of a chunk in a snapshot's scope, whether none of them serves; default: always.
 */
export async function affectedEntries(
  catalog: Catalog,
  reader: PackReader,
  roots: readonly Root[],
  chunks: ReadonlySet<string>,
  signal?: AbortSignal,
  isLost: (places: readonly ChunkLocation[]) => boolean = () => true,
): Promise<AffectedEntry[]> {
  const inPart = new Map<string, AffectedEntry[]>();
  const found = new Map<string, AffectedEntry>();
  for (const root of roots) {
    const scope = scopeOf(catalog, root);
    for (const source of root.sources) {
      for (const part of source.manifest) {
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
              entries = [{ path: `${partPath(part).toString()} and what follows it`, chunks: named, snapshots: [] }];
            }
            if (itself) for (const entry of entries) entry.chunks = [part.chunk];
          }
          inPart.set(part.chunk, entries);
        }
        for (const entry of entries) {
          if (!entry.chunks.some((id) => isLost(scope.locate(id)))) continue;
          const name = `${entry.path}\n${entry.chunks.join()}`;
          const known = found.get(name) ?? { ...entry, snapshots: [] };
          if (!known.snapshots.includes(root.id)) known.snapshots.push(root.id);
          found.set(name, known);
        }
      }
    }
  }
  return [...found.values()];
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
