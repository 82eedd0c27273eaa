import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { DestinationConfig } from '../config/schema.js';
import { HoldfastError } from '../errors.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import { type DeletionRecord, deletionLimit } from '../repository/deletions.js';
import { indexLimit } from '../repository/index-file.js';
import type { KeyFile } from '../repository/keys.js';
import { deletionName, indexName } from '../repository/layout.js';
import { findLive, type Liveness } from '../repository/liveness.js';
import { PackReader } from '../repository/reader.js';
import { rootLimit } from '../repository/root.js';
import type { ObjectKind, RepositoryKey } from '../repository/seal.js';
import { Store } from '../repository/store.js';
import { type SyncResult, syncFrom } from '../repository/sync.js';
import type { CopyCounts, CopyDocument, CopyInput, CopyPlan } from '../workflows/copy-types.js';
import { allEnded } from './all-ended.js';
import { fetchPack } from './commit.js';
import type { Host } from './host.js';
import { claimRepository } from './key-setup.js';

const parallelPacks = 4;
const maxDamaged = 100;

export interface CopyFinished {
  snapshots: CopyDocument['snapshots'];
  /** Snapshots that could not be written because something they need is not there. */
  lacking: number;
  damaged: CopyCounts['damaged'];
}

interface Sides {
  from: Store;
  to: Store;
  key: RepositoryKey | undefined;
  catalog: Catalog;
  source: SyncResult;
  /** What the target lists now. */
  target: SyncResult;
  /** The source's snapshots, oldest first. */
  rows: SnapshotRow[];
  /** What they need. */
  live: Liveness;
}

/** Looks at both sides, and makes the repository at the target where there is none yet. */
export async function planCopy(host: Host, input: CopyInput, signal: AbortSignal): Promise<CopyPlan> {
  const sides = await open(host, input, signal);
  const { needed, missing } = packsOf(sides);
  const sizes = sides.catalog.packSizes(missing);
  return {
    snapshots: sides.rows.length,
    packs: needed.length,
    missing: missing.length,
    missingBytes: missing.reduce((sum, pack) => sum + (sizes.get(pack) ?? 0), 0),
  };
}

/** Brings every pack that the source's snapshots need to the target, each checked against its name. What is there stays. */
export async function copyMissing(
  host: Host,
  input: CopyInput,
  run: string,
  signal: AbortSignal,
  onPack: (bytes: number) => void,
): Promise<CopyCounts> {
  const sides = await open(host, input, signal);
  const { from, to, catalog } = sides;
  const { missing } = packsOf(sides);
  const counts: CopyCounts = { packs: 0, bytes: 0, damaged: [] };
  const scratch = path.join(host.config.spool.path, run.replace(/[^A-Za-z0-9._-]+/g, '_'));
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const worker = async (): Promise<void> => {
    for (let pack = missing.shift(); pack !== undefined; pack = missing.shift()) {
      signal.throwIfAborted();
      try {
        const hash = pack;
        const object = catalog.objectOf(hash);
        const bytes = await fetchPack(
          from,
          hash,
          path.join(scratch, hash),
          (file) => to.putPack(hash, file, { signal }, object),
          { signal, object },
        );
        catalog.addPresence(to.name, object, bytes);
        counts.packs++;
        counts.bytes += bytes;
        onPack(bytes);
      } catch (error) {
        const code = error instanceof HoldfastError ? error.code : undefined;
        if (code !== 'ObjectMissing' && code !== 'IntegrityMismatch') throw error;
        if (counts.damaged.length < maxDamaged)
          counts.damaged.push({ name: catalog.objectOf(pack), message: messageOf(error) });
      }
    }
  };
  try {
    await allEnded(Array.from({ length: Math.min(parallelPacks, missing.length) }, worker));
    return counts;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/**
 * Lists the target once more and, where all that a snapshot needs is there, writes the indexes, the records of deletions and
 * the roots, in this order.
 */
export async function finishCopy(
  host: Host,
  input: CopyInput,
  damaged: CopyCounts['damaged'],
  signal: AbortSignal,
): Promise<CopyFinished> {
  const sides = await open(host, input, signal);
  const { from, to, catalog, source, target, rows, live } = sides;
  const ended: CopyFinished = {
    snapshots: { total: rows.length, copied: 0, present: 0 },
    lacking: 0,
    damaged: [...damaged, ...source.damaged, ...unresolvedOf(sides)].slice(0, maxDamaged),
  };
  const bring = (kind: ObjectKind, name: string, limit: number) => bringMeta(sides, kind, name, limit, signal);
  const there = new Set(target.objects.keys());
  const fail = (name: string, error: unknown): void => {
    const code = error instanceof HoldfastError ? error.code : undefined;
    if (code !== 'ObjectMissing' && code !== 'IntegrityMismatch') throw error;
    if (ended.damaged.length < maxDamaged) ended.damaged.push({ name, message: messageOf(error) });
  };
  const whole: SnapshotRow[] = [];
  for (const row of rows) {
    signal.throwIfAborted();
    if (!holdsAll(sides, row)) {
      ended.lacking++;
      continue;
    }
    try {
      for (const index of catalog.expand(row.root.indexes)) {
        const name = indexName(index);
        if (there.has(name) || !live.indexes.has(index)) continue;
        await bring('index', name, indexLimit);
        there.add(name);
      }
      whole.push(row);
    } catch (error) {
      fail(row.name, error);
      ended.lacking++;
    }
  }
  const inUse = new Set(targetRows(catalog, target).flatMap((row) => packsOfRow(catalog, row)));
  for (const record of source.deletions) {
    const name = deletionName(record.id);
    // A record that is still to be carried out must not mark what the target needs.
    if (there.has(name) || (!record.done && marksAny(record, inUse))) continue;
    await bring('deletion', name, deletionLimit).catch((error: unknown) => fail(name, error));
  }
  for (const row of whole) {
    signal.throwIfAborted();
    try {
      if (!there.has(row.name)) {
        await bring('snapshot', row.name, rootLimit);
        ended.snapshots.copied++;
      }
      ended.snapshots.present++;
    } catch (error) {
      fail(row.name, error);
      ended.lacking++;
    }
  }
  host.log.info({ job: input.job, from: from.name, to: to.name, ...ended.snapshots }, 'copied a repository');
  return ended;
}

async function open(host: Host, { job, from, to }: CopyInput, signal: AbortSignal): Promise<Sides> {
  const catalog = host.catalog(job);
  if ((catalog.get(`seen:${to}`) ?? '') === '') await host.prepareDestination(to, configOf(host, to));
  const storeOf = async (name: string): Promise<Store> =>
    new Store(await host.destination(name, configOf(host, name)), host.config.host, job);
  const source = await storeOf(from);
  const target = await storeOf(to);
  const file = await source.keyFile(signal);
  if (file === undefined) {
    throw new HoldfastError('ObjectMissing', `${from}: there is no repository at ${source.prefix}`, {
      hint: 'Is the right disk mounted, and are `host` and the name of the job what they were?',
    });
  }
  const known = catalog.get('repository') ?? '';
  if (known !== '' && known !== file.repository) throw otherRepository(source, file, known);
  const key = await host.unlock(file, await host.passphrase(host.config.encryption?.passphrase));
  if (known === '') catalog.set('repository', file.repository);
  await claimRepository(host, job, target, file, { takeOver: false }, signal);
  const listed = await syncFrom(source, key, catalog, signal, file.repository, true);
  const listedThere = await syncFrom(target, key, catalog, signal, file.repository, true);
  for (const [name, size] of listed.objects) catalog.addPresence(from, name, size);
  for (const [name, size] of listedThere.objects) catalog.addPresence(to, name, size);
  const rows = catalog
    .snapshots()
    .filter((row) => listed.objects.has(row.name))
    .reverse();
  const reader = new PackReader({
    key,
    stores: [source, target],
    holders: (name) => catalog.holders(name),
    sizeOf: (pack) => catalog.packSizes([pack]).get(pack),
    signal,
  });
  const roots = rows.map(({ root }) => root);
  return {
    live: await findLive(catalog, reader, roots, { signal, tolerant: true }),
    from: source,
    to: target,
    key,
    catalog,
    source: listed,
    target: listedThere,
    rows,
  };
}

function packsOf({ catalog, target, live }: Sides): { needed: string[]; missing: string[] } {
  const needed = [...live.packs.keys()];
  const sizes = catalog.packSizes(needed);
  return { needed, missing: needed.filter((pack) => target.objects.get(catalog.objectOf(pack)) !== sizes.get(pack)) };
}

/** Chunks that no pack holds any more, one line for each snapshot. */
function unresolvedOf({ rows, live }: Sides): CopyCounts['damaged'] {
  return rows.flatMap(({ id, name }) => {
    const count = live.unresolved.filter(({ snapshot }) => snapshot === id).length;
    return count === 0 ? [] : [{ name, message: `${count} chunks that snapshot ${id} needs are in no pack` }];
  });
}

/** Every pack that a root's indexes list, those that took the place of any included. */
const packsOfRow = (catalog: Catalog, row: SnapshotRow): string[] =>
  [...catalog.expand(row.root.indexes)].flatMap((index) => catalog.packsOf(index).map(({ hash }) => hash));

const targetRows = (catalog: Catalog, target: SyncResult): SnapshotRow[] =>
  catalog.snapshots().filter((row) => target.objects.has(row.name));

const marksAny = (record: DeletionRecord, live: ReadonlySet<string>): boolean =>
  record.packs.some((pack) => live.has(pack));

/** Whether the target has every pack that the snapshot needs. */
function holdsAll({ catalog, target, live }: Sides, row: SnapshotRow): boolean {
  if (live.unresolved.some(({ snapshot }) => snapshot === row.id)) return false;
  return [...catalog.expand(row.root.indexes)]
    .flatMap((index) => catalog.packsOf(index))
    .every(({ hash, size }) => !live.packs.has(hash) || target.objects.get(catalog.objectOf(hash)) === size);
}

/** Copies an index, record or root as its bytes are, once they have turned out to be what their name says. */
async function bringMeta(
  { from, to, key, catalog }: Sides,
  kind: ObjectKind,
  name: string,
  limit: number,
  signal: AbortSignal,
): Promise<void> {
  const bytes = await from.readStored(key, kind, name, limit, signal);
  const retain = kind !== 'deletion';
  await to.destination.put(to.key(name), { bytes }, { retain, signal });
  catalog.addPresence(to.name, name, bytes.length);
}

function configOf(host: Host, name: string): DestinationConfig {
  const config = host.config.destinations[name];
  if (config === undefined) throw new HoldfastError('ConfigInvalid', `there is no destination ${name}`);
  return config;
}

function otherRepository(store: Store, there: KeyFile, known: string): HoldfastError {
  return new HoldfastError(
    'RepositoryMismatch',
    `${store.name}: ${store.prefix} holds repository ${there.repository}, not this job's ${known}`,
    { hint: 'Copies are of one repository; choose the destination that holds it.' },
  );
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
