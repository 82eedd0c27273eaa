import { createHash } from 'node:crypto';
import { createWriteStream, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { HoldfastError } from '../errors.js';
import type { Catalog } from '../repository/catalog.js';
import { indexBytes, indexLimit } from '../repository/index-file.js';
import {
  archiveNameOf,
  deletionIdOf,
  indexIdOf,
  indexName,
  packHashOf,
  packName,
  pinIdOf,
} from '../repository/layout.js';
import { parseRoot, rootBytes, rootHash } from '../repository/root.js';
import type { RepositoryKey } from '../repository/seal.js';
import { type Store, sealMeta } from '../repository/store.js';
import { listObjects, readDeletion } from '../repository/sync.js';
import type { Warning } from '../workflows/types.js';
import { allEnded } from './all-ended.js';
import { fileSize } from './files.js';
import { requireRepository, wasClaimedLately } from './key-setup.js';
import { prepareObjects } from './manifest.js';
import type { RunContext } from './run-context.js';
import { sealedDeletions } from './sealed-deletions.js';
import { watchSpace } from './space.js';
import { putFromSpool } from './spool-pack.js';
import { spoolFiles } from './threads/spool-files.js';

export interface CommitAnswer {
  /** Packs and indexes that were missing and came from the spool or another destination. */
  healed: number;
  healedBytes: number;
  warnings?: Warning[];
}

/** Told of bytes as they are sent, and of those whose object is whole at the destination. */
export type SendProgress = (sent: number, landed?: number) => void;

/** Where a missing object may come from. */
export interface Suppliers {
  /** A local file with the pack's stored bytes. */
  spoolFile(pack: string): string | undefined;
  /** Other destinations, in order of preference. */
  others: Store[];
  /** Scratch folder for objects on their way from one destination to another. */
  scratch: string;
  /** Told of each pack that nobody has whole, in place of failing for it. */
  onLost?(pack: string): void;
}

/**
 * Makes a snapshot exist at one destination: every pack and index it needs is listed there now, or is healed first;
 * then the index is written, then the root.
 */
export async function commitRun(
  context: RunContext,
  destination: string,
  signal: AbortSignal,
  onProgress: SendProgress,
): Promise<CommitAnswer> {
  const prepared = await prepareObjects(context);
  const store = await context.store(destination);
  const key = await context.key();
  const listing = listObjects(store, signal);
  listing.catch(() => undefined);
  const required = requireRepository(context, store, signal);
  required.catch(() => undefined);
  // On a distant line what comes last is sent meanwhile, unless there may be nothing that it belongs to.
  if (!wasClaimedLately(context, store)) await required;
  const others: Store[] = [];
  for (const name of context.job.destinations) {
    if (name === destination) continue;
    try {
      others.push(await context.store(name));
    } catch (error) {
      // One that can't even be opened (its secret is missing) helps nobody, and hinders nobody.
      context.host.log.debug({ err: error, destination: name }, 'not asked for missing packs');
    }
  }
  const settled = required.then(() =>
    settle(
      context.catalog,
      store,
      key,
      prepared.needs,
      prepared.indexes.filter((id) => indexName(id) !== prepared.index?.name),
      {
        spoolFile: (pack) => {
          const name = spoolFiles.pack(context.folder, pack);
          return fileSize(name) === undefined ? undefined : name;
        },
        others,
        scratch: context.folder,
      },
      signal,
      onProgress,
      listing,
    ),
  );
  const whole = settled.then(() => bringBase(context, store, key, signal));
  // They appear one after the other, and only when all that they need is there.
  const indexed = prepared.index
    ? putOnce(store, prepared.index.name, spoolFiles.object(context.folder, 'index'), whole, signal).then(() =>
        context.catalog.addPresence(
          destination,
          prepared.index?.name ?? '',
          fileSize(spoolFiles.object(context.folder, 'index')) ?? 0,
        ),
      )
    : whole;
  const rooted = putOnce(store, prepared.root.name, spoolFiles.object(context.folder, 'root'), indexed, signal);
  // Nothing about the space makes a snapshot that is there less so.
  const spaceLow = settled.then(() => watchSpace(context, store, signal)).catch(() => []);
  await allEnded([whole, indexed, rooted]);
  const answer = await settled;
  context.catalog.addPresence(
    destination,
    prepared.root.name,
    fileSize(spoolFiles.object(context.folder, 'root')) ?? 0,
  );
  const root = parseRoot(readFileSync(spoolFiles.object(context.folder, 'root.json')), prepared.root.name);
  context.catalog.putSnapshot({
    id: root.id,
    seq: root.seq,
    name: prepared.root.name,
    sha256: prepared.root.sha256,
    root,
  });
  const warnings = await spaceLow;
  return warnings.length === 0 ? answer : { ...answer, warnings };
}

/** Lists the full snapshot that a differential archive builds on at a destination that has missed it. */
async function bringBase(
  context: RunContext,
  store: Store,
  key: RepositoryKey | undefined,
  signal: AbortSignal,
): Promise<void> {
  const base = context.begun.archive?.base;
  const row = base && context.catalog.snapshot(base.snapshot);
  if (!row || (await store.stat(row.name, signal))) return;
  const json = rootBytes(row.root);
  // Of a root that is not what it was nothing good comes.
  if (rootHash(json) !== row.sha256) return;
  const bytes = await sealMeta(key, 'snapshot', row.name, json);
  await store.destination.put(store.key(row.name), { bytes }, { retain: true, signal });
  context.catalog.addPresence(store.name, row.name, bytes.length);
}

/** @param after what has to be there before it */
async function putOnce(
  store: Store,
  name: string,
  file: string,
  after: Promise<unknown>,
  signal: AbortSignal,
): Promise<void> {
  const size = fileSize(file);
  if (size === undefined) throw new HoldfastError('SpoolLost', `${file} is gone from the spool`);
  const bytes = readFileSync(file);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await store.destination.put(store.key(name), { bytes }, { sha256, retain: true, after, signal });
}

/** Brings every needed pack and index to `store`; believes only what was `listed` there just now. */
export async function settle(
  catalog: Catalog,
  store: Store,
  key: RepositoryKey | undefined,
  packs: readonly string[],
  indexes: readonly string[],
  suppliers: Suppliers,
  signal: AbortSignal,
  onProgress: SendProgress,
  listing: ReadonlyMap<string, number> | Promise<ReadonlyMap<string, number>>,
): Promise<CommitAnswer> {
  const listed = await listing;
  catalog.setPresence(store.name, new Map([...listed].filter(([name]) => isData(name))));
  await refuseMarked(catalog, store, key, listed, new Set(packs), new Set(sealedDeletions(catalog)), signal);
  return supply(catalog, store, key, listed, packs, indexes, suppliers, signal, onProgress);
}

/** Stores at `store` what of the packs and indexes its listing does not have, packs with their right size. */
export async function supply(
  catalog: Catalog,
  store: Store,
  key: RepositoryKey | undefined,
  listed: ReadonlyMap<string, number>,
  packs: readonly string[],
  indexes: readonly string[],
  suppliers: Suppliers,
  signal: AbortSignal,
  onProgress: SendProgress,
): Promise<CommitAnswer> {
  const answer: CommitAnswer = { healed: 0, healedBytes: 0 };
  const sizes = catalog.packSizes(packs);
  const missing = packs.filter((pack) => {
    const size = sizes.get(pack);
    return size === undefined || listed.get(catalog.objectOf(pack)) !== size;
  });
  const worker = async (): Promise<void> => {
    for (let pack = missing.shift(); pack !== undefined; pack = missing.shift()) {
      signal.throwIfAborted();
      let bytes: number;
      try {
        bytes = await heal(catalog, store, pack, suppliers, signal, onProgress);
      } catch (error) {
        if (!suppliers.onLost || !(error instanceof HoldfastError) || error.code !== 'SpoolLost') throw error;
        suppliers.onLost(pack);
        continue;
      }
      onProgress(0, bytes);
      catalog.addPresence(store.name, catalog.objectOf(pack), bytes);
      answer.healed++;
      answer.healedBytes += bytes;
    }
  };
  await allEnded(Array.from({ length: Math.min(parallelHeals, missing.length) }, worker));
  for (const index of indexes) {
    const name = indexName(index);
    if (listed.has(name)) continue;
    const bytes =
      (await copyOf(suppliers.others, key, name, signal)) ??
      (await sealMeta(key, 'index', name, rememberedIndex(catalog, index)));
    await store.destination.put(store.key(name), { bytes }, { retain: true, signal });
    catalog.addPresence(store.name, name, bytes.length);
    answer.healed++;
    answer.healedBytes += bytes.length;
  }
  return answer;
}

const parallelHeals = 4;

const isData = (name: string): boolean =>
  packHashOf(name) !== undefined ||
  archiveNameOf(name) !== undefined ||
  indexIdOf(name) !== undefined ||
  pinIdOf(name) !== undefined ||
  name.startsWith('snapshots/');

/** A pack marked for deletion since the run began is not to be relied on. */
async function refuseMarked(
  catalog: Catalog,
  store: Store,
  key: RepositoryKey | undefined,
  listed: ReadonlyMap<string, number>,
  needed: ReadonlySet<string>,
  sealed: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  for (const [name, size] of listed) {
    if (deletionIdOf(name) === undefined || sealed.has(name)) continue;
    const record = await readDeletion(store, key, catalog, name, size, signal).catch((error: unknown) => {
      if (!(error instanceof HoldfastError) || error.code !== 'PrivateKeyNeeded') throw error;
      throw new HoldfastError('SpoolLost', `${store.name}: ${name} was written while the run went on`);
    });
    if (record.done) continue;
    const pack = record.packs.find((marked) => needed.has(marked));
    if (pack !== undefined)
      throw new HoldfastError('SpoolLost', `${store.name}: pack ${pack} was marked for deletion while the run went on`);
  }
}

/** The stored bytes of an index from the first destination that has it whole; undefined when none of those that answer has. */
async function copyOf(
  stores: readonly Store[],
  key: RepositoryKey | undefined,
  name: string,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  for (const store of stores) {
    try {
      return await store.readStored(key, 'index', name, indexLimit, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
  return undefined;
}

/** An index that no destination holds any more, as the catalog remembers it. */
function rememberedIndex(catalog: Catalog, index: string): Buffer {
  const packs = catalog.packsOf(index).flatMap(({ hash }) => catalog.indexPack(hash) ?? []);
  if (packs.length === 0) {
    throw new HoldfastError('ObjectMissing', `${indexName(index)} is at no destination`, {
      hint: "Run 'holdfast backup JOB --full' to store everything anew.",
    });
  }
  return indexBytes(packs, catalog.supersededBy(index));
}

async function heal(
  catalog: Catalog,
  store: Store,
  pack: string,
  suppliers: Suppliers,
  signal: AbortSignal,
  onProgress: SendProgress,
): Promise<number> {
  const local = suppliers.spoolFile(pack);
  const object = catalog.objectOf(pack);
  if (local !== undefined && (await putFromSpool(store, pack, local, { signal, onProgress }, object)))
    return catalog.packSizes([pack]).get(pack) ?? fileSize(local) ?? 0;
  let failure: unknown;
  for (const other of suppliers.others) {
    const scratch = path.join(suppliers.scratch, `.heal-${store.name}-${pack}`);
    try {
      const put = (file: string): Promise<void> => store.putPack(pack, file, { signal, onProgress }, object);
      return await fetchPack(other, pack, scratch, put, { signal, onProgress, object });
    } catch (error) {
      signal.throwIfAborted();
      const code = error instanceof HoldfastError ? error.code : undefined;
      // Where it is missing or damaged, trying again does not help; reading the sources again does.
      if (code !== 'ObjectMissing' && code !== 'IntegrityMismatch') failure ??= error;
      if (code === 'ObjectMissing') catalog.dropPresence(other.name, catalog.objectOf(pack));
    }
  }
  throw (
    failure ??
    new HoldfastError('SpoolLost', `pack ${pack} is neither in the spool nor at another destination`, {
      hint: 'The run starts again from the sources.',
    })
  );
}

/**
 * Reads a pack from a destination into a scratch file, checks it against its name and hands the file on, to be gone afterwards.
 *
 * @returns its bytes.
 * @throws HoldfastError `ObjectMissing`, `IntegrityMismatch`.
 */
export async function fetchPack(
  from: Store,
  pack: string,
  scratch: string,
  use: (file: string) => Promise<void>,
  options: {
    signal: AbortSignal;
    onProgress?: SendProgress;
    /** Where it is, for a pack that has a name of its own. */
    object?: string;
  },
): Promise<number> {
  const { signal, onProgress, object = packName(pack) } = options;
  try {
    const hash = createHash('sha256');
    let bytes = 0;
    const meter = new Transform({
      transform(part: Buffer, _encoding, done) {
        hash.update(part);
        bytes += part.length;
        onProgress?.(0);
        done(null, part);
      },
    });
    await pipeline(
      await from.destination.get(from.key(object), { signal }),
      meter,
      createWriteStream(scratch, { mode: 0o600, flush: true }),
    );
    if (hash.digest('hex') !== pack) throw new HoldfastError('IntegrityMismatch', `${from.name}: ${object} is damaged`);
    await use(scratch);
    return bytes;
  } finally {
    await rm(scratch, { force: true });
  }
}
