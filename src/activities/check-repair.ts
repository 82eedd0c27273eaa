import { mkdirSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { findJob } from '../config/load.js';
import { HoldfastError } from '../errors.js';
import { affectedEntries, chunkOffsets } from '../repository/affected.js';
import type { Catalog, SnapshotRow } from '../repository/catalog.js';
import { deletionLimit, parseDeletion } from '../repository/deletions.js';
import { sha256Hex } from '../repository/hash.js';
import { type IndexPack, indexBytes, indexLimit } from '../repository/index-file.js';
import {
  archiveNameOf,
  deletionIdOf,
  deletionName,
  indexIdOf,
  indexName,
  newObjectId,
  packHashOf,
  packName,
  snapshotIdOf,
} from '../repository/layout.js';
import { findLive } from '../repository/liveness.js';
import { PackBuilder } from '../repository/pack-writer.js';
import { rootBytes, rootHash, rootLimit } from '../repository/root.js';
import { canRead, type RepositoryKey } from '../repository/seal.js';
import { type Store, sealMeta } from '../repository/store.js';
import type { CheckInput } from '../workflows/care-types.js';
import { codecOf } from './batch.js';
import { type RawFinding, readerOf } from './check-inspect.js';
import { supply } from './commit.js';
import type { Host } from './host.js';
import { localEntries } from './local-manifests.js';
import { type OpenedRepository, openRepository } from './open-repository.js';
import { isReplaced, rebuildIndex } from './rebuild-index.js';
import { forgetDamage } from './retention-verdicts.js';
import { writePlainPack } from './threads/plain-pack.js';
import { TaskGroup } from './threads/pool.js';
import { type PlainPack, spoolFiles, spoolFolders } from './threads/spool-files.js';

/** Per finding (destination and object): where the content was taken from. */
export type Repairs = Record<string, string>;

interface Bench {
  host: Host;
  input: CheckInput;
  folder: string;
  repository: OpenedRepository;
  catalog: Catalog;
  key: RepositoryKey | undefined;
  signal: AbortSignal;
  onProgress: (bytes: number) => void;
}

/** Repairs what the findings name, destination by destination: from other destinations, the catalog, or the sources. */
export async function repairAll(
  host: Host,
  input: CheckInput,
  run: string,
  folder: string,
  findings: readonly RawFinding[],
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<Repairs> {
  for (const name of spoolFolders) mkdirSync(path.join(folder, name), { recursive: true, mode: 0o700 });
  const repository = await openRepository(host, input.job, { sync: true, owner: run, signal });
  const { catalog, key } = repository;
  const bench: Bench = { host, input, folder, repository, catalog, key, signal, onProgress };
  const repairs: Repairs = {};
  // What hangs together first: roots and indexes tell which packs are needed.
  const isPack = (object: string): boolean => packHashOf(object) !== undefined || archiveNameOf(object) !== undefined;
  const order = (finding: RawFinding): number => (isPack(finding.object) ? 1 : 0);
  for (const finding of [...findings].sort((a, b) => order(a) - order(b))) {
    const store = repository.stores.find(({ name }) => name === finding.destination);
    try {
      const from = await repairOne(bench, store, finding);
      if (from !== undefined) repairs[`${finding.destination} ${finding.object}`] = from;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof HoldfastError)) throw error;
      host.log.warn(
        { object: finding.object, destination: finding.destination, reason: error.message },
        'not repaired',
      );
    }
  }
  for (const store of repository.stores) {
    forgetDamage(catalog, store.name);
    try {
      await levelOut(bench, store);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof HoldfastError)) throw error;
      host.log.warn({ destination: store.name, reason: error.message }, 'not everything could be brought there');
    }
  }
  return repairs;
}

/** What was put together anew at one destination is to be at each. */
async function levelOut(bench: Bench, store: Store): Promise<void> {
  const { catalog, key, folder, repository, signal, onProgress } = bench;
  const listed = new Map<string, number>();
  for await (const { name, size } of store.list('', signal)) listed.set(name, size);
  const roots = catalog.snapshots().flatMap((row) => (listed.has(row.name) ? [row.root] : []));
  const live = await findLive(catalog, readerOf(catalog, repository.stores, key, signal), roots, {
    signal,
    tolerant: true,
  });
  const suppliers = { spoolFile: () => undefined, others: others(bench, store), scratch: folder };
  const progress = (sent: number): void => onProgress(sent);
  await supply(catalog, store, key, listed, [...live.packs.keys()], [...live.indexes], suppliers, signal, progress);
}

async function repairOne(bench: Bench, store: Store | undefined, finding: RawFinding): Promise<string | undefined> {
  const { object } = finding;
  if (finding.kind === 'rolledBack') return bringBack(bench, store, finding);
  if (!store) return undefined;
  const index = indexIdOf(object);
  if (index !== undefined) return repairIndex(bench, store, index);
  const snapshot = snapshotIdOf(object);
  if (snapshot !== undefined) {
    const from = await repairRoot(bench, store, bench.catalog.snapshot(snapshot), object);
    return from ?? (await setAside(bench, store, snapshot, object));
  }
  if (deletionIdOf(object) !== undefined) return repairDeletion(bench, store, object);
  const pack = bench.catalog.packAt(object);
  if (pack !== undefined)
    return (await copyPack(bench, store, pack)) ?? (await rereadPack(bench, store, finding, pack));
  return undefined;
}

const others = ({ repository }: Bench, store: Store | undefined): Store[] =>
  repository.stores.filter((other) => other !== store);

/** What another destination holds under the same name, checked before it is passed on. */
async function copyMeta(
  bench: Bench,
  store: Store,
  kind: 'index' | 'snapshot',
  name: string,
  limit: number,
): Promise<string | undefined> {
  for (const other of others(bench, store)) {
    try {
      const bytes = await other.readStored(bench.key, kind, name, limit, bench.signal);
      await store.destination.put(store.key(name), { bytes }, { signal: bench.signal });
      bench.catalog.addPresence(store.name, name, bytes.length);
      return other.name;
    } catch (error) {
      bench.signal.throwIfAborted();
      if (!(error instanceof HoldfastError)) throw error;
    }
  }
  return undefined;
}

async function putSealed(
  bench: Bench,
  store: Store,
  kind: 'index' | 'snapshot' | 'deletion',
  name: string,
  plain: Buffer,
) {
  const bytes = await sealMeta(bench.key, kind, name, plain);
  await store.destination.put(store.key(name), { bytes }, { signal: bench.signal });
  bench.catalog.addPresence(store.name, name, bytes.length);
}

async function repairIndex(bench: Bench, store: Store, index: string): Promise<string | undefined> {
  const { catalog } = bench;
  const name = indexName(index);
  const from = await copyMeta(bench, store, 'index', name, indexLimit);
  if (from !== undefined) return from;
  const packs = catalog.packsOf(index).flatMap(({ hash }) => catalog.indexPack(hash) ?? []);
  if (packs.length === 0) return replaceIndex(bench, store, index);
  await putSealed(bench, store, 'index', name, indexBytes(packs, catalog.supersededBy(index)));
  return 'the catalog';
}

/** Nobody knows any more what the index listed: the packs themselves say what they hold. */
async function replaceIndex(bench: Bench, store: Store, index: string): Promise<string | undefined> {
  const { catalog, key, repository, signal, onProgress } = bench;
  // One that is away may have it.
  if (!canRead(key) || repository.unread.size > 0) return undefined;
  if (!isReplaced(catalog, index)) {
    const reader = readerOf(catalog, repository.stores, key, signal);
    const objects = catalog.presence(store.name);
    const rebuilt = await rebuildIndex(catalog, reader, objects, index, onProgress);
    if (rebuilt === undefined) return undefined;
    await putSealed(bench, store, 'index', indexName(rebuilt.id), rebuilt.bytes);
    catalog.addPacks(rebuilt.id, rebuilt.packs);
  }
  // A damaged one would be found again.
  if (catalog.presence(store.name).has(indexName(index))) {
    await store.destination.delete(store.key(indexName(index)), signal);
    catalog.dropPresence(store.name, indexName(index));
  }
  return 'what the packs say of themselves';
}

async function repairRoot(
  bench: Bench,
  store: Store,
  row: SnapshotRow | undefined,
  name = row?.name ?? '',
): Promise<string | undefined> {
  const from = await copyMeta(bench, store, 'snapshot', name, rootLimit);
  if (from !== undefined) return from;
  if (!row || rootHash(rootBytes(row.root)) !== row.sha256) return undefined;
  await putSealed(bench, store, 'snapshot', name, rootBytes(row.root));
  return 'the catalog';
}

/**
 * Puts a root that nobody can read out of the way: what it needs can't be known, and that would stop every prune. Its bytes
 * stay, in `damaged/`, and a deletion record says that the snapshot is lost.
 */
async function setAside(bench: Bench, store: Store, snapshot: string, name: string): Promise<string | undefined> {
  const { catalog, key, repository, signal } = bench;
  // One that is away may have it whole.
  if (catalog.snapshot(snapshot) !== undefined || repository.unread.size > 0 || !canRead(key)) return undefined;
  const aside = `damaged/${path.posix.basename(name)}`;
  const bytes = await store.destination.read(store.key(name), { maxBytes: rootLimit, signal });
  await store.destination.put(store.key(aside), { bytes }, { signal });
  await writeDownAsLost(bench, store, snapshot);
  await store.destination.delete(store.key(name), signal);
  catalog.dropPresence(store.name, name);
  catalog.dropGone(store.name, snapshot);
  return `nothing: it is lost, written down as such, and kept as ${aside}`;
}

/** A record that can't be read stops every prune; what it marked is marked again by the next one. */
async function repairDeletion(bench: Bench, store: Store, name: string): Promise<string | undefined> {
  const json = bench.catalog.db
    .prepare<[string, string], string>('SELECT record FROM deletions WHERE destination = ? AND name = ?')
    .pluck()
    .get(store.name, name);
  if (json === undefined) {
    await store.destination.delete(store.key(name), bench.signal);
    bench.catalog.dropPresence(store.name, name);
    return 'nothing: the record was removed, and the next prune marks anew';
  }
  await putSealed(bench, store, 'deletion', name, Buffer.from(json, 'utf8'));
  parseDeletion(await store.readMeta(bench.key, 'deletion', name, deletionLimit, bench.signal), name);
  return 'the catalog';
}

async function copyPack(bench: Bench, store: Store, pack: string): Promise<string | undefined> {
  const { catalog, key, folder, signal, onProgress } = bench;
  const sources = others(bench, store);
  const suppliers = { spoolFile: () => undefined, others: sources, scratch: folder };
  try {
    await supply(catalog, store, key, new Map(), [pack], [], suppliers, signal, (sent) => onProgress(sent));
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof HoldfastError) || error.code !== 'SpoolLost') throw error;
    return undefined;
  }
  catalog.setVerified(store.name, [pack], Date.now());
  return sources.length === 1 ? (sources[0]?.name ?? 'another destination') : 'another destination';
}

/**
 * Finds the chunks of a lost pack in other packs of its generation, such as a later run stored, or reads them from the files that
 * still hold them and stores them in a pack of its own.
 */
async function rereadPack(bench: Bench, store: Store, finding: RawFinding, pack: string): Promise<string | undefined> {
  const { catalog, host, input, folder, key, repository, signal } = bench;
  const listed = catalog.indexPack(pack);
  if (listed === undefined) return undefined;
  const roots = catalog.snapshots().map(({ root }) => root);
  const inUse = new Set(catalog.effective(roots.flatMap((root) => root.indexes)));
  const listing = catalog.indexesOf(catalog.packNumber(pack) ?? -1);
  const current = listing.filter((index) => inUse.has(index));
  if (current.length === 0) return takeOver(bench, store, pack, listing);
  const lengths = new Map(listed.chunks.map(([id, , length]) => [id, length]));
  const reader = readerOf(catalog, repository.stores, key, signal);
  const lost = new Set(finding.chunks.filter((id) => lengths.has(id)));
  const entries = await affectedEntries(catalog, reader, roots, lost, {
    signal,
    known: (chunks) => localEntries(host, input.job, chunks),
  });
  // A pack may hold more than any snapshot needs.
  const wanted = new Set(entries.flatMap((entry) => entry.chunks));
  if (wanted.size === 0) return undefined;
  const lengthOf = (id: string): number | undefined => lengths.get(id) ?? catalog.locateNumbers(id)[0]?.length;
  const builder = new PackBuilder(listed.generation);
  const { compression } = findJob(host.config, input.job);
  const plain: PlainPack[] = [];
  const name = newObjectId();
  const flush = (): void => {
    if (builder.isEmpty) return;
    plain.push(writePlainPack(folder, `s${name}-${plain.length}`, 'data', builder, codecOf(compression)));
  };
  const again = new Map([...wanted].flatMap((id) => elsewhere(catalog, listed, id)));
  for (const other of new Set(again.values())) {
    if (catalog.holders(catalog.objectOf(other)).includes(store.name) || (await copyPack(bench, store, other)))
      continue;
    for (const [id, holder] of again) if (holder === other) again.delete(id);
  }
  const found = new Set(again.keys());
  for (const { path: file, entry } of entries) {
    if (entry?.type !== 'file' || entry.path64 !== undefined || !path.isAbsolute(file)) continue;
    const places = chunkOffsets(entry, lengthOf).filter(({ id }) => wanted.has(id) && !found.has(id));
    if (places.length === 0) continue;
    const handle = await openSource(file);
    if (!handle) continue;
    try {
      for (const { id, offset, length } of places) {
        const content = Buffer.alloc(length);
        const { bytesRead } = await handle.read(content, 0, length, offset);
        if (bytesRead !== length || sha256Hex(content) !== id || found.has(id)) continue;
        if (!builder.fits(length)) flush();
        builder.add(id, content);
        found.add(id);
        bench.onProgress(length);
      }
    } finally {
      await handle.close();
    }
  }
  flush();
  if (found.size === 0) return undefined;
  const whole = found.size === wanted.size;
  const index = newObjectId();
  const tasks = new TaskGroup(signal);
  const filter = await host.filter(input.job);
  const written: string[] = [...new Set(again.values())];
  for (const each of plain) {
    const { generation } = listed;
    const task = { run: folder, pack: each, generation, index, catalog: host.catalogFile(input.job), filter, key };
    const sealed = await tasks.run('sealTask', task);
    await store.putPack(sealed.pack, spoolFiles.pack(folder, sealed.pack), { signal });
    catalog.addPresence(store.name, packName(sealed.pack), sealed.size);
    written.push(sealed.pack);
  }
  // Unencrypted, the same content makes the same pack again: it is back where it was.
  if (written.includes(pack)) {
    catalog.unlist(index, written);
    return 'the sources';
  }
  for (const old of current) {
    const id = newObjectId();
    const kept = catalog.packsOf(old).flatMap(({ hash }) => (whole && hash === pack ? [] : [hash]));
    const packs = [...kept, ...written].flatMap((hash) => catalog.indexPack(hash) ?? []);
    const supersedes = [old, ...catalog.supersededBy(old)];
    await putSealed(bench, store, 'index', indexName(id), indexBytes(packs, supersedes));
    catalog.addPacks(
      id,
      packs.map((one, at) => (at === 0 ? { ...one, supersedes } : one)),
    );
  }
  catalog.unlist(index, written);
  if (!whole) return undefined;
  // What is damaged is nobody's any more.
  await store.destination.delete(store.key(packName(pack)), signal);
  catalog.dropPresence(store.name, packName(pack));
  return plain.length > 0 ? 'the sources' : 'what later snapshots stored';
}

/** The pack's content was put into another one, at another destination, a moment ago: that one serves here, too. */
async function takeOver(bench: Bench, store: Store, pack: string, old: string[]): Promise<string | undefined> {
  const { catalog, key, folder, signal, onProgress } = bench;
  const indexes = catalog.effective(old).filter((index) => !old.includes(index));
  if (indexes.length === 0) return undefined;
  const listed = new Map<string, number>();
  for await (const { name, size } of store.list('', signal)) listed.set(name, size);
  const packs = indexes.flatMap((index) => catalog.packsOf(index).map(({ hash }) => hash));
  const suppliers = { spoolFile: () => undefined, others: others(bench, store), scratch: folder };
  await supply(catalog, store, key, listed, packs, indexes, suppliers, signal, (sent) => onProgress(sent));
  await store.destination.delete(store.key(packName(pack)), signal);
  catalog.dropPresence(store.name, packName(pack));
  return 'the sources';
}

/** Another pack of the same generation that some destination holds and that has the chunk. */
function elsewhere(catalog: Catalog, lost: IndexPack, id: string): [chunk: string, pack: string][] {
  const other = catalog
    .locate(id)
    .find(
      ({ row }) =>
        row.hash !== lost.pack &&
        row.generation === lost.generation &&
        row.kind === lost.kind &&
        !catalog.isMarked(row.hash) &&
        catalog.holders(catalog.objectOf(row.hash)).length > 0,
    );
  return other === undefined ? [] : [[id, other.row.hash]];
}

async function openSource(file: string): Promise<FileHandle | undefined> {
  try {
    const handle = await open(file, 'r');
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
  } catch {
    // It is gone, or not ours to read: then it is no help.
  }
  return undefined;
}

/**
 * Brings a root back that vanished, with all it needs, where the catalog or another destination still has it. One that
 * nobody has any more is written into a deletion record, so that its loss is known and told once.
 */
async function bringBack(bench: Bench, store: Store | undefined, finding: RawFinding): Promise<string | undefined> {
  const { catalog, key, folder, repository, signal, onProgress } = bench;
  const id = finding.object;
  const row = catalog.snapshot(id) ?? catalog.lost(id);
  const targets = store ? [store] : [];
  if (row && store) {
    const reader = readerOf(catalog, repository.stores, key, signal);
    const live = await findLive(catalog, reader, [row.root], { signal, tolerant: true });
    const listed = new Map<string, number>();
    for await (const { name, size } of store.list('', signal)) listed.set(name, size);
    const suppliers = { spoolFile: () => undefined, others: others(bench, store), scratch: folder };
    if (live.unresolved.length === 0) {
      try {
        const progress = (sent: number): void => onProgress(sent);
        await supply(
          catalog,
          store,
          key,
          listed,
          [...live.packs.keys()],
          [...live.indexes],
          suppliers,
          signal,
          progress,
        );
        const from = await repairRoot(bench, store, row);
        if (from !== undefined) {
          catalog.putSnapshot(row);
          catalog.dropGone(store.name, id);
          return from;
        }
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof HoldfastError)) throw error;
      }
    }
  }
  const gone = catalog.gone().find((one) => one.id === id && (!store || one.destination === store.name));
  for (const target of targets.length > 0 ? targets : repository.stores) {
    await writeDownAsLost(bench, target, id, row?.seq ?? gone?.seq, row?.sha256);
    catalog.dropGone(target.name, id);
  }
  return 'nothing: it is lost, and written down as such';
}

async function writeDownAsLost(bench: Bench, store: Store, id: string, seq = 0, sha256?: string): Promise<void> {
  const { catalog, signal } = bench;
  const now = (await store.destination.now(signal)).toISOString();
  const follower = catalog.snapshots().find(({ root }) => root.previous?.id === id)?.root.previous;
  const record = {
    format: 1,
    id: newObjectId(),
    time: now,
    snapshots: [{ id, seq, sha256: sha256 ?? follower?.sha256 ?? '' }],
    packs: [],
    indexes: [],
    done: now,
  };
  await putSealed(bench, store, 'deletion', deletionName(record.id), Buffer.from(JSON.stringify(record), 'utf8'));
}
