import path from 'node:path';
import { type Entry, parseEntry } from '../repository/entry.js';
import { readLines } from '../repository/lines.js';
import type { Host } from './host.js';
import { namesIn } from './private-context.js';

/**
 * Entries naming any of the chunks in the manifests that the host keeps in the clear to compare its files with: those of each
 * source's newest snapshots. A host that can't read its own backups knows its files from them.
 */
export function localEntries(host: Host, job: string, chunks: ReadonlySet<string>): Entry[] {
  const folder = host.manifestFolder(job);
  return namesIn(folder)
    .filter((name) => name.endsWith('.ndjson'))
    .flatMap((name) => [...entriesNaming(path.join(folder, name), chunks)]);
}

function* entriesNaming(file: string, chunks: ReadonlySet<string>): Generator<Entry> {
  for (const line of readLines(file)) {
    if (!line.includes('"chunks"')) continue;
    const entry = parseEntry(line);
    if (entry.chunks?.some((id) => chunks.has(id)) === true) yield entry;
  }
}
