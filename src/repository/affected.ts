import type { Catalog } from './catalog.js';
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

/** Entries of the roots' manifests that need any of `chunks`, each path and content once, with the snapshots that have it. */
export async function affectedEntries(
  catalog: Catalog,
  reader: PackReader,
  roots: readonly Root[],
  chunks: ReadonlySet<string>,
  signal?: AbortSignal,
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
          if (itself || mayName(catalog.refs(part.chunk), chunks)) {
            try {
              entries = linesNaming(await readPart(reader, scope, part), itself ? undefined : chunks);
            } catch (error) {
              signal?.throwIfAborted();
              if (!(error instanceof Error)) throw error;
              entries = [
                { path: `${partPath(part).toString()} and what follows it`, chunks: [part.chunk], snapshots: [] },
              ];
            }
            if (itself) for (const entry of entries) entry.chunks = [part.chunk];
          }
          inPart.set(part.chunk, entries);
        }
        for (const entry of entries) {
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

/** Whether a manifest chunk's entries name one of the chunks; unknown counts as yes. */
function mayName(refs: Buffer | undefined, chunks: ReadonlySet<string>): boolean {
  if (refs === undefined) return true;
  for (let at = 0; at + idBytes <= refs.length; at += idBytes) {
    if (chunks.has(refs.toString('hex', at, at + idBytes))) return true;
  }
  return false;
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
