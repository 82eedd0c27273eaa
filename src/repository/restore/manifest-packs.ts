import type { Catalog } from '../catalog.js';
import type { Root } from '../root.js';
import { ChunkFinder } from './chunk-finder.js';
import { PathFilter } from './path-filter.js';

/** The packs that hold the manifest chunks a restore of `paths` reads, without the `bad` ones. */
export function manifestPacks(
  catalog: Catalog,
  root: Root,
  paths: readonly string[],
  bad: ReadonlySet<string>,
): string[] {
  const filter = new PathFilter(paths);
  const finder = new ChunkFinder(catalog, root, bad);
  for (const source of root.sources) {
    for (const part of filter.select(source.manifest)) {
      const place = finder.find(part.chunk);
      if (place) finder.use(place.pack);
    }
  }
  return finder.packs;
}
