import type { Catalog } from '../repository/catalog.js';
import { type IndexPack, indexBytes } from '../repository/index-file.js';
import { indexName, newObjectId, packHashOf } from '../repository/layout.js';
import { lostIndexes } from '../repository/liveness.js';
import { listPack } from '../repository/pack-listing.js';
import { isLoss, type PackReader } from '../repository/reader.js';
import type { Root } from '../repository/root.js';

/** An index made anew, not stored yet. */
export interface RebuiltIndex {
  id: string;
  bytes: Buffer;
  packs: IndexPack[];
}

/**
 * Makes one index in the place of all that a generation lost, out of what its packs say of themselves: those that `objects`
 * has and that no index lists. Nobody has to know any more which of the lost ones listed which.
 * @returns undefined where nothing is lost, where no such pack is left, or where archives hold the content: these say nothing.
 */
export async function rebuildIndex(
  catalog: Catalog,
  reader: PackReader,
  objects: ReadonlyMap<string, number>,
  lost: string,
  onProgress: (bytes: number) => void,
): Promise<RebuiltIndex | undefined> {
  const roots = catalog.snapshots().map(({ root }) => root);
  const generation = lostIndexes(catalog, roots)
    .find(({ index }) => index === lost)
    ?.generations.values()
    .next().value;
  if (generation === undefined) return undefined;
  const own = roots.filter((root) => root.generation === generation);
  if (own.some(({ archive }) => archive !== undefined)) return undefined;
  const manifests = manifestChunks(own);
  const packs: IndexPack[] = [];
  for (const [name, size] of objects) {
    const pack = packHashOf(name);
    if (pack === undefined || catalog.indexesOf(catalog.packNumber(pack) ?? -1).length > 0) continue;
    try {
      const tar = await reader.open(pack);
      onProgress(size);
      const { generation: its, chunks } = listPack(tar, name);
      if (its !== generation) continue;
      const kind = chunks.some(([id]) => manifests.has(id)) ? 'manifest' : 'data';
      packs.push({ pack, kind, generation, size, plain: tar.length, chunks });
    } catch (error) {
      // What nobody has whole can't be listed: what it held is lost, the rest is not.
      if (!isLoss(error)) throw error;
    }
  }
  const [first, ...rest] = packs;
  if (first === undefined) return undefined;
  const supersedes = lostIndexes(catalog, own).map(({ index }) => index);
  return {
    id: newObjectId(),
    bytes: indexBytes(packs, supersedes),
    packs: [{ ...first, supersedes }, ...rest],
  };
}

const manifestChunks = (roots: readonly Root[]): Set<string> =>
  new Set(roots.flatMap(({ sources }) => sources.flatMap(({ manifest }) => manifest.map(({ chunk }) => chunk))));

/** Whether another index took the place of this one. */
export const isReplaced = (catalog: Catalog, index: string): boolean => {
  const now = catalog.effective([index]);
  return !now.includes(index) && now.every((by) => catalog.holders(indexName(by)).length > 0);
};
