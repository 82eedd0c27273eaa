import type { Catalog } from './catalog.js';
import type { PackKind } from './index-file.js';
import type { Liveness } from './liveness.js';
import { packTarget } from './pack-writer.js';

/** A pack with less needed content than this is small. */
export const smallPackBytes = packTarget / 4;
/** So many small packs, or indexes, of one group become one. */
export const mergeCount = 10;
/** A pack of whose content less than this share is needed is written anew, once there is enough of it in its group. */
const halfEmpty = 0.5;
/** What half-empty packs must free together: this many bytes of content, or this share of the group's. */
const worthBytes = packTarget;
const worthShare = 0.25;

/** Indexes that one new index is to supersede, and what becomes of their packs. */
export interface RepackGroup {
  generation: string;
  indexes: string[];
  /** Packs that the new index lists as they are. */
  keep: string[];
  /** Packs whose needed chunks go into new packs, by kind. */
  merge: Record<'data' | 'manifest', string[]>;
}

interface Candidate {
  pack: string;
  kind: PackKind;
  content: number;
  live: number;
}

/**
 * Which indexes and packs are worth writing anew. Only indexes that the same snapshots refer to are put together, so that
 * no scope grows. Packs that a damaged snapshot lacks stay listed: one that turns up again is found.
 * @param canRead without it packs stay as they are; only indexes are put together, from what the catalog knows.
 */
export function planRepack(
  catalog: Catalog,
  live: Liveness,
  canRead = true,
  lost: ReadonlySet<string> = new Set(),
): RepackGroup[] {
  const contentOf = catalog.db
    .prepare<[number], number | null>('SELECT SUM(length) FROM chunks WHERE pack = ?')
    .pluck();
  const named = new Map<string, number[]>();
  for (const [number, scope] of live.scopes.entries()) {
    for (const index of scope) named.set(index, [...(named.get(index) ?? []), number]);
  }
  const groups = new Map<string, { generation: string; indexes: string[] }>();
  for (const index of live.indexes) {
    const generations = new Set(catalog.packsOf(index).map((pack) => pack.generation));
    const [generation] = generations;
    const scopes = named.get(index);
    if (generation === undefined || generations.size > 1 || scopes === undefined) continue;
    const name = `${generation} ${scopes.join(',')}`;
    const group = groups.get(name) ?? { generation, indexes: [] };
    group.indexes.push(index);
    groups.set(name, group);
  }
  const plans: RepackGroup[] = [];
  for (const { generation, indexes } of groups.values()) {
    const own = new Set(indexes);
    const isDamaged = indexes.some((index) => named.get(index)?.some((at) => live.damaged.has(live.roots[at] ?? '')));
    const candidates: Candidate[] = [];
    const keep: string[] = [];
    for (const row of new Map(
      indexes.flatMap((index) => catalog.packsOf(index)).map((row) => [row.no, row]),
    ).values()) {
      const bytes = live.packs.get(row.hash);
      if (bytes === undefined) {
        const isLost = lost.has(row.hash) || catalog.holders(catalog.objectOf(row.hash)).length === 0;
        if (isDamaged && isLost) keep.push(row.hash);
        continue;
      }
      const shared = catalog.indexesOf(row.no).some((index) => live.indexes.has(index) && !own.has(index));
      if (shared) keep.push(row.hash);
      else candidates.push({ pack: row.hash, kind: row.kind, content: contentOf.get(row.no) ?? 0, live: bytes });
    }
    const kinds = canRead ? (['data', 'manifest'] as const) : [];
    const chosen = new Set(kinds.flatMap((kind) => worth(candidates, kind)));
    if (chosen.size === 0 && indexes.length < mergeCount) continue;
    const merge: RepackGroup['merge'] = { data: [], manifest: [] };
    for (const candidate of candidates) {
      if (chosen.has(candidate) && candidate.kind !== 'archive') merge[candidate.kind].push(candidate.pack);
      else keep.push(candidate.pack);
    }
    if (keep.length + chosen.size > 0) plans.push({ generation, indexes, keep, merge });
  }
  return plans;
}

/** An archive is never written anew. */
function worth(all: readonly Candidate[], kind: 'data' | 'manifest'): Candidate[] {
  const packs = all.filter((candidate) => candidate.kind === kind);
  const small = packs.filter(({ live }) => live < smallPackBytes);
  const half = packs.filter(({ live, content }) => live < content * halfEmpty);
  const freed = half.reduce((sum, { live, content }) => sum + content - live, 0);
  const content = packs.reduce((sum, candidate) => sum + candidate.content, 0);
  const chosen = new Set<Candidate>();
  if (small.length >= mergeCount) for (const candidate of small) chosen.add(candidate);
  if (freed >= worthBytes || freed >= content * worthShare) for (const candidate of half) chosen.add(candidate);
  return [...chosen];
}
