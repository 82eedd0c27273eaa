import { comparePaths } from '../platform/paths.js';
import type { Catalog } from './catalog.js';
import { type Entry, parseEntry } from './entry.js';
import { isWithin, type PackReader, readManifest } from './reader.js';
import type { Root } from './root.js';

/** A manifest entry with its path as string or, where that isn't UTF-8, bytes. */
export interface ListedEntry {
  path: string | Buffer;
  source: string;
  entry: Entry;
}

/** One source's entries in order; with `below` only those at or below that path. */
export async function* sourceEntries(
  reader: PackReader,
  catalog: Catalog,
  root: Root,
  source: string,
  below?: string,
): AsyncGenerator<ListedEntry> {
  for await (const line of readManifest(reader, catalog, root, source, below === undefined ? {} : { from: below })) {
    const entry = parseEntry(line);
    const path = entry.path64 === undefined ? (entry.path ?? '') : Buffer.from(entry.path64, 'base64');
    if (below === undefined || isWithin(path, below)) yield { path, source, entry };
  }
}

/** A snapshot's entries, of all sources, by path; what two sources have comes once. */
export async function* snapshotEntries(
  reader: PackReader,
  catalog: Catalog,
  root: Root,
  below?: string,
): AsyncGenerator<ListedEntry> {
  const streams = root.sources.map((source) => sourceEntries(reader, catalog, root, source.name, below));
  try {
    const heads = await Promise.all(streams.map((stream) => stream.next()));
    let last: string | Buffer | undefined;
    for (;;) {
      let best = -1;
      let found: ListedEntry | undefined;
      heads.forEach((head, at) => {
        if (!head.done && (!found || comparePaths(head.value.path, found.path) < 0)) {
          best = at;
          found = head.value;
        }
      });
      const next = heads[best];
      if (!next || next.done) return;
      heads[best] = await streams[best]!.next();
      if (last !== undefined && comparePaths(next.value.path, last) === 0) continue;
      last = next.value.path;
      yield next.value;
    }
  } finally {
    for (const stream of streams) await stream.return(undefined);
  }
}
