import { createHash } from 'node:crypto';
import type { Catalog } from '../repository/catalog.js';
import { sourceEntries } from '../repository/entries.js';
import type { PackReader } from '../repository/reader.js';
import type { Root } from '../repository/root.js';

/** A file that a drill restores, as the manifest says it was. */
export interface SampledFile {
  path: string;
  /** Bytes, decimal. */
  size: string;
  mode: number;
  /** Nanoseconds since 1970, decimal. */
  mtime: string;
}

/**
 * Chooses files at random, but the same ones for the same seed: each with the probability `percent`, and of every source
 * that has files at least one. Second names of a file, and names that are not UTF-8, are left out.
 */
export async function chooseSample(
  reader: PackReader,
  catalog: Catalog,
  root: Root,
  choice: { sources: readonly string[]; percent: number; seed: string },
  signal: AbortSignal,
): Promise<SampledFile[]> {
  const chosen = new Map<string, SampledFile>();
  for (const source of choice.sources) {
    let first: { lot: number; file: SampledFile } | undefined;
    let any = false;
    for await (const { path, entry } of sourceEntries(reader, catalog, root, source)) {
      signal.throwIfAborted();
      if (entry.type !== 'file' || typeof path !== 'string') continue;
      if (entry.hardlink !== undefined || entry.hardlink64 !== undefined) continue;
      const file = { path, size: entry.size ?? '0', mode: entry.mode, mtime: entry.mtime };
      const lot = lotOf(choice.seed, path);
      if (lot < choice.percent / 100) {
        chosen.set(path, file);
        any = true;
      } else if (first === undefined || lot < first.lot) {
        first = { lot, file };
      }
    }
    if (!any && first !== undefined) chosen.set(first.file.path, first.file);
  }
  return [...chosen.values()];
}

/** A number from 0 to below 1 that nobody can foretell without the seed. */
const lotOf = (seed: string, path: string): number =>
  createHash('sha256').update(`${seed}\0${path}`).digest().readUIntBE(0, 6) / 2 ** 48;
