import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { type FileHandle, open, statfs } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf, HoldfastError } from '../errors.js';
import { bootId } from '../platform/boot.js';
import { allEnded } from './all-ended.js';
import { syncFolder } from './durable.js';
import { fileSize } from './files.js';
import { requireRepositoryLately } from './key-setup.js';
import type { RunContext } from './run-context.js';
import { putFromSpool } from './spool-pack.js';
import { readJson, writeJson } from './threads/line-writer.js';
import type { TaskGroup } from './threads/pool.js';
import { type LaneResult, type PlainPack, type SealedPack, spoolFiles } from './threads/spool-files.js';

export interface CompressAnswer {
  packs: number;
  read: number;
  fresh: number;
  unreadable: number;
}

/** Reads one batch's files and writes its new chunks to compressed packs in the spool. A batch done before is not read again. */
export async function compressBatch(context: RunContext, batch: number, group: TaskGroup): Promise<CompressAnswer> {
  const plan = context.plan().batches[batch];
  if (!plan) throw new HoldfastError('SpoolLost', `the plan of ${context.run} has no batch ${batch}`);
  await (context.begun.archive === undefined
    ? checkSpool(context, plan.bytes)
    : checkArchiveSpool(context, plan.bytes));
  if (plan.bytes >= worthWarming) await warmDestinations(context);
  const results = await Promise.all(
    plan.lanes.map(async (lane, number) => {
      const done = laneDone(context, batch, number) ?? (await context.ahead.take(batch, number, group));
      return done ?? group.run('laneTask', await laneTaskOf(context, lane.source, batch, number, lane.bytes));
    }),
  );
  const sum = (pick: (result: LaneResult) => number): number =>
    results.reduce((total, result) => total + pick(result), 0);
  return {
    packs: sum((result) => result.packs.length),
    read: sum((result) => result.read),
    fresh: sum((result) => result.fresh),
    unreadable: sum((result) => result.unreadable),
  };
}

/** Source bytes from which on connections are opened while the first packs are being made. */
const worthWarming = 32 * 1024 * 1024;

async function warmDestinations(context: RunContext): Promise<void> {
  for (const { name, error } of context.begun.destinations) {
    if (error !== undefined) continue;
    const store = await context.store(name).catch(() => undefined);
    store?.destination.warm?.();
  }
}

/** What a thread needs to read one lane. */
export async function laneTaskOf(context: RunContext, source: number, batch: number, lane: number, bytes: number) {
  const { begun, job } = context;
  return {
    run: context.folder,
    base: context.base(source),
    batch,
    lane,
    bytes,
    generation: begun.generation,
    // What an archive is made of is read once more, and then gone.
    codec: begun.archive === undefined ? codecOf(job.compression) : { type: 'zstd' as const, level: 1 },
    catalog: context.catalogFile,
    filter: await context.host.filter(begun.job),
    // An archive holds all that was read, whatever the full one has.
    indexes: begun.archive === undefined ? begun.indexes : [],
    ownIndex: begun.ownIndex,
    // An archive is made of packs that are not yet encrypted.
    ...(begun.archive === undefined ? { seal: { key: await context.key() } } : {}),
  };
}

/** Without a word in the config, as of a job whose archives have a compression of their own, what repositories have. */
export const codecOf = (compression: RunContext['job']['compression'] = { type: 'zstd', level: 3 }) =>
  compression.type === 'none' ? { type: 'none' as const, level: 0 } : compression;

/** A lane's result, when an earlier attempt finished it and its packs are still there. */
function laneDone(context: RunContext, batch: number, lane: number): LaneResult | undefined {
  const result = readJson<LaneResult>(spoolFiles.laneResult(context.folder, batch, lane));
  if (!result || !existsSync(spoolFiles.laneLines(context.folder, batch, lane))) return undefined;
  // What the group's record lists is durable.
  if (result.boot !== bootId() && !existsSync(spoolFiles.sealed(context.folder, String(batch)))) return undefined;
  return result.packs.every(
    (pack) => existsSync(sealedMark(context, pack)) || fileSize(plainFile(context, pack)) === pack.compressed,
  )
    ? result
    : undefined;
}

const plainFile = (context: RunContext, pack: PlainPack): string => spoolFiles.plainPack(context.folder, pack.name);
const sealedMark = (context: RunContext, pack: PlainPack): string => spoolFiles.sealedMark(context.folder, pack.name);

/** @throws HoldfastError SpoolFull, retried until there is room. */
async function checkSpool(context: RunContext, batchBytes: number): Promise<void> {
  const { spool } = context.host.config;
  const { bavail, bsize } = await statfs(context.folder);
  // Compressed and encrypted forms stand side by side for a moment; sources rarely grow when compressed.
  const need = Math.min(batchBytes, 256 * 1024 * 1024);
  if (bavail * bsize < need + need / 2) {
    throw new HoldfastError(
      'SpoolFull',
      `the disk of the spool ${spool.path} has ${Math.floor((bavail * bsize) / 1048576)} MB free, too few for the next batch`,
      {
        hint: 'Free some space, or set spool.path to a larger disk; the run goes on by itself.',
        retryAfterMs: 5000,
      },
    );
  }
  const used = folderBytes(path.join(context.folder, 'packs'));
  if (used + need > spool.max && used > 0) {
    freeStored(context, used + need - spool.max);
    const left = folderBytes(path.join(context.folder, 'packs'));
    if (left + need > spool.max && left > 0) {
      throw new HoldfastError(
        'SpoolFull',
        `the spool ${spool.path} holds ${Math.floor(left / 1048576)} MB that no destination has taken yet`,
        {
          hint: 'It goes on when a destination answers; spool.max sets how much may wait.',
          retryAfterMs: 5000,
        },
      );
    }
  }
}

/**
 * An archive's content lies in the spool until the archive is made of it.
 * @throws HoldfastError SpoolFull, for good where it is more than the spool may hold.
 */
async function checkArchiveSpool(context: RunContext, batchBytes: number): Promise<void> {
  const { spool } = context.host.config;
  const mb = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  const used = folderBytes(path.join(context.folder, 'plain'));
  if (used > spool.max) {
    throw new HoldfastError(
      'SpoolFull',
      `an archive is put together in the spool, which holds ${mb(used)} of this one; spool.max is ${mb(spool.max)}`,
      { hint: 'Raise spool.max, or divide the sources between jobs.', retryable: false },
    );
  }
  const { bavail, bsize } = await statfs(context.folder);
  const need = Math.min(batchBytes, 256 * 1024 * 1024);
  if (bavail * bsize >= need) return;
  throw new HoldfastError(
    'SpoolFull',
    `the disk of the spool ${spool.path} has ${mb(bavail * bsize)} free, too few for the next batch`,
    { hint: 'Free some space, or set spool.path to a larger disk; the run goes on by itself.', retryAfterMs: 5000 },
  );
}

function folderBytes(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + (fileSize(path.join(folder, name)) ?? 0), 0);
}

/**
 * Makes room of so many bytes with packs that at least one destination holds: it will serve the others. The newest go first,
 * because a slow destination's queue is still at the oldest.
 */
function freeStored(context: RunContext, bytes: number): void {
  const folder = path.join(context.folder, 'packs');
  const held = readdirSync(folder)
    .filter((name) => /^[0-9a-f]{64}$/.test(name) && context.catalog.holders(context.catalog.objectOf(name)).length > 0)
    .map((name) => ({ name, info: statSync(path.join(folder, name), { throwIfNoEntry: false }) }))
    .sort((a, b) => (b.info?.mtimeMs ?? 0) - (a.info?.mtimeMs ?? 0));
  let freed = 0;
  for (const { name, info } of held) {
    if (freed >= bytes) return;
    rmSync(path.join(folder, name), { force: true });
    freed += info?.size ?? 0;
  }
}

/** Packs of a group: a batch's lanes, or the manifest. */
function plainPacks(context: RunContext, group: string): PlainPack[] {
  if (group === 'manifest') {
    const merged = readJson<{ packs: PlainPack[] }>(spoolFiles.manifestResult(context.folder));
    if (!merged) throw new HoldfastError('SpoolLost', `the manifest of ${context.run} is gone from the spool`);
    return merged.packs;
  }
  const batch = Number(group);
  const lanes = context.plan().batches[batch]?.lanes ?? [];
  return lanes.flatMap((_, lane) => {
    const result = readJson<LaneResult>(spoolFiles.laneResult(context.folder, batch, lane));
    if (!result) throw new HoldfastError('SpoolLost', `batch ${batch} of ${context.run} is gone from the spool`);
    return result.packs;
  });
}

/**
 * Encrypts those of a group's packs that are not yet, makes all of them durable, and their chunks known to later batches. Each is
 * written once: every destination and every retry sends that file.
 */
export async function encryptGroup(
  context: RunContext,
  name: string,
  group: TaskGroup,
): Promise<{ packs: number; bytes: number }> {
  const record = spoolFiles.sealed(context.folder, name);
  const known = readJson<SealedPack[]>(record);
  if (known) return { packs: known.length, bytes: sizeOf(known) };
  const { begun } = context;
  const shared = {
    run: context.folder,
    generation: begun.generation,
    index: begun.ownIndex,
    catalog: context.catalogFile,
    filter: await context.host.filter(begun.job),
  };
  const packs = plainPacks(context, name);
  const marks = packs.map((pack) =>
    existsSync(plainFile(context, pack)) ? undefined : readJson<SealedPack>(sealedMark(context, pack)),
  );
  let sealed = marks.filter((mark) => mark !== undefined);
  if (sealed.length === packs.length) {
    if (packs.length > 0) {
      await allEnded([group.run('listTask', { ...shared, packs }), ...sealed.map((mark) => syncPack(context, mark))]);
    }
  } else {
    const key = await context.key();
    sealed = await Promise.all(
      packs.map(async (pack) => {
        const one = await group.run('sealTask', { ...shared, pack, key });
        await syncPack(context, one);
        return one;
      }),
    );
  }
  if (sealed.length > 0) syncFolder(path.join(context.folder, 'packs'));
  writeJson(record, sealed, true);
  return { packs: sealed.length, bytes: sizeOf(sealed) };
}

/** Not in the thread that wrote it, which would wait for the disk. Until the group's record is written a pack counts only until the next boot. */
function syncPack(context: RunContext, { pack }: SealedPack): Promise<void> {
  return syncFile(spoolFiles.pack(context.folder, pack));
}

/** @throws HoldfastError SpoolLost when the file is gone. */
export async function syncFile(file: string): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(file, 'r+');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw new HoldfastError('SpoolLost', `${file} is gone from the spool`);
    throw error;
  }
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

const sizeOf = (packs: readonly SealedPack[]): number => packs.reduce((sum, pack) => sum + pack.size, 0);

export interface UploadAnswer {
  packs: number;
  bytes: number;
}

const parallelUploads = 4;

/** Sends a group's packs to one destination; packs it holds already, by name and size, are not sent again. */
export async function uploadGroup(
  context: RunContext,
  name: string,
  destination: string,
  firstAttempt: boolean,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<UploadAnswer> {
  const packs = readJson<SealedPack[]>(spoolFiles.sealed(context.folder, name));
  if (!packs) throw new HoldfastError('SpoolLost', `the packs of ${context.run} are gone from the spool`);
  const store = await context.store(destination);
  await requireRepositoryLately(context, store, signal);
  const present = context.catalog.presence(destination);
  let bytes = 0;
  let count = 0;
  const queue = [...packs];
  const worker = async (): Promise<void> => {
    for (let pack = queue.shift(); pack; pack = queue.shift()) {
      const object = context.catalog.objectOf(pack.pack);
      const there = !firstAttempt || present.has(object) ? (await store.stat(object, signal))?.size : undefined;
      if (there !== pack.size) {
        const file = spoolFiles.pack(context.folder, pack.pack);
        if (
          fileSize(file) === undefined ||
          !(await putFromSpool(store, pack.pack, file, { signal, onProgress }, object))
        ) {
          // It is brought from there at commit.
          if (context.catalog.holders(object).length > 0) continue;
          throw new HoldfastError(
            'SpoolLost',
            `pack ${pack.pack} is gone from the spool, or damaged there, before any destination had it`,
            { hint: 'The run starts again from its sources. If it happens again: check the disk of the spool.' },
          );
        }
        bytes += pack.size;
        count++;
      }
      context.catalog.addPresence(destination, object, pack.size);
    }
  };
  await allEnded(Array.from({ length: Math.min(parallelUploads, packs.length) }, worker));
  for (const pack of packs) {
    const holders = context.catalog.holders(context.catalog.objectOf(pack.pack));
    if (context.job.destinations.every((other) => holders.includes(other))) {
      rmSync(spoolFiles.pack(context.folder, pack.pack), { force: true });
    }
  }
  return { packs: count, bytes };
}
