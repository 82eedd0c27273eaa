import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { findJob } from '../config/load.js';
import { type ErrorCode, HoldfastError } from '../errors.js';
import { affectedEntries } from '../repository/affected.js';
import type { Catalog, ChunkLocation } from '../repository/catalog.js';
import { archiveNameOf, snapshotIdOf } from '../repository/layout.js';
import { chainGaps } from '../repository/rollback.js';
import { canRead } from '../repository/seal.js';
import type { CheckDestination, CheckDocument, CheckInput, Finding } from '../workflows/care-types.js';
import type { Warning } from '../workflows/types.js';
import { choosePacks, inspect, type RawFinding, readerOf } from './check-inspect.js';
import { type Repairs, repairAll } from './check-repair.js';
import type { Host } from './host.js';
import { download } from './hydrate.js';
import { takeJobLock } from './job-lock.js';
import { localEntries } from './local-manifests.js';
import { openRepository } from './open-repository.js';
import { packSlots } from './pack-slots.js';
import type { RestoreRepository } from './restore-run.js';
import { runFolder } from './run-context.js';
import { tellDamage } from './tell-damage.js';
import { readJson, writeJson } from './threads/line-writer.js';
import { TaskGroup } from './threads/pool.js';

/** Packs that one activity reads. */
const slicePacks = 64;
const atOnce = 2;
const maxFiles = 100;
const maxFindings = 200;

const files = {
  listed: (folder: string) => path.join(folder, 'listed.json'),
  read: (folder: string) => path.join(folder, 'read.ndjson'),
  repairs: (folder: string) => path.join(folder, 'repairs.json'),
};

/** What the first step found; durable in the check's scratch folder. */
interface Listed {
  destinations: CheckDestination[];
  findings: RawFinding[];
  todo: Record<string, string[]>;
  warnings: Warning[];
}

/** Failures that say nothing of what was read. */
const secretCodes: ReadonlySet<ErrorCode> = new Set(['SecretMissing', 'PassphraseWrong', 'PrivateKeyNeeded']);

type ReadLine = { destination: string; pack: string; bytes: number; at: number; finding?: RawFinding };

/** What the catalog remembers of the last check. */
export interface LastCheck {
  status: CheckDocument['status'];
  run: string;
  endedAt: string;
  /** Findings that are not repaired, and what the first of them says. */
  open: number;
  first: string;
}

const folderOf = (host: Host, run: string): string => runFolder(host.config.spool.path, run);

/** Lists every destination, resolves every snapshot, and chooses what is to be read. */
export async function checkList(
  host: Host,
  input: CheckInput,
  run: string,
  signal: AbortSignal,
  onProgress: () => void,
): Promise<{ slices: { destination: string; slice: number }[] }> {
  host.reload();
  const job = findJob(host.config, input.job);
  const folder = folderOf(host, run);
  await takeJobLock(host, input.job, run, true);
  try {
    const { destination, scheduled } = input;
    const options = { sync: true, owner: run, signal, ...(destination === undefined ? {} : { destination }) };
    const { catalog, stores, key, synced, unread, warnings } = await openRepository(host, input.job, options);
    const reader = readerOf(catalog, stores, key, signal);
    const listed: Listed = { destinations: [], findings: [], todo: {}, warnings: [...warnings] };
    for (const [name, message] of unread) listed.destinations.push({ ...unreadDestination(name), error: message });
    const now = Date.now();
    for (const [name, result] of synced) {
      const store = stores.find((one) => one.name === name);
      if (!store) continue;
      const found = await inspect(catalog, reader, store, key, result, signal, onProgress);
      listed.destinations.push(found.destination);
      listed.findings.push(...found.findings);
      const amount =
        scheduled === true
          ? { withinMs: job.check?.readAllWithin ?? Number.POSITIVE_INFINITY }
          : { percent: input.readData };
      const sealed = result.sealed.filter((object) => snapshotIdOf(object) !== undefined).length;
      if (sealed > 0) {
        const message = `${name}: ${sealed} snapshots that this host's catalog does not know can only be checked with the private key`;
        listed.warnings.push({ code: 'PrivateKeyNeeded', message });
      }
      listed.todo[name] = choosePacks(catalog, name, result.objects, amount, now);
      if (scheduled === true) catalog.set(`checked:${name}`, String(now));
    }
    if (job.destinations.every((name) => synced.has(name))) {
      const gone = new Set(catalog.gone().map(({ id }) => id));
      for (const gap of chainGaps(
        catalog,
        [...synced.values()].flatMap(({ deletions }) => deletions),
      )) {
        if (gone.has(gap.previous)) continue;
        const missing = gap.kind === 'missing';
        listed.findings.push({
          destination: '*',
          kind: missing ? 'rolledBack' : 'replaced',
          object: gap.previous,
          message: missing
            ? `the snapshot ${gap.previous}, which ${gap.id} followed, is gone, and no prune removed it`
            : `the snapshot ${gap.previous}, which ${gap.id} followed, is not the one it was: its root was replaced`,
          chunks: [],
          snapshots: [gap.previous],
        });
      }
    }
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    rmSync(files.read(folder), { force: true });
    writeJson(files.listed(folder), listed);
    const slices = Object.entries(listed.todo).flatMap(([name, packs]) =>
      Array.from({ length: Math.ceil(packs.length / slicePacks) }, (_, slice) => ({ destination: name, slice })),
    );
    return { slices };
  } finally {
    host.history.releaseLock(input.job, run);
  }
}

const unreadDestination = (name: string): CheckDestination => ({
  name,
  error: null,
  snapshots: 0,
  objects: 0,
  bytes: 0,
  read: { packs: 0, bytes: 0 },
  unneeded: { packs: 0, bytes: 0 },
  oldestRead: null,
});

function listedOf(folder: string): Listed {
  const listed = readJson<Listed>(files.listed(folder));
  if (!listed) throw new HoldfastError('SpoolLost', `what the check found is gone from ${folder}`);
  return listed;
}

const readLines = (folder: string): ReadLine[] =>
  existsSync(files.read(folder))
    ? readFileSync(files.read(folder), 'utf8')
        .split('\n')
        .flatMap((line) => {
          try {
            return line === '' ? [] : [JSON.parse(line) as ReadLine];
          } catch {
            // Cut short by a crash: that pack is read again.
            return [];
          }
        })
    : [];

/** Downloads some packs from one destination, and decrypts and hashes each with every chunk in it. */
export async function checkRead(
  host: Host,
  input: CheckInput,
  run: string,
  slice: { destination: string; slice: number },
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<{ packs: number; bytes: number }> {
  const folder = folderOf(host, run);
  const { destination } = slice;
  const wanted = listedOf(folder).todo[destination] ?? [];
  const done = new Set(readLines(folder).flatMap((line) => (line.destination === destination ? [line.pack] : [])));
  const queue = wanted
    .slice(slice.slice * slicePacks, (slice.slice + 1) * slicePacks)
    .filter((pack) => !done.has(pack));
  const repository = await openRepository(host, input.job, { sync: false, destination, signal });
  const { catalog, stores, key } = repository;
  const reader = readerOf(catalog, stores, key, signal);
  const tasks = new TaskGroup(signal);
  const sum = { packs: 0, bytes: 0 };
  const readArchive = async (
    opened: RestoreRepository,
    pack: string,
    name: string,
  ): Promise<{ message: string; chunks: string[] } | undefined> => {
    const file = path.join(folder, `archive-${destination}-${pack}`);
    try {
      const damage = await download(opened, pack, file, signal, onProgress);
      const password = await opened.archivePassword?.();
      const task = { file, name, pack, key, password, catalog: host.catalogFile(input.job) };
      const [message] = damage;
      const problem = await tasks.run('verifyArchiveTask', task).catch((error: unknown) => {
        if (!(error instanceof HoldfastError) || error.code !== 'PrivateKeyNeeded' || canRead(key)) throw error;
        // Its hash is all that can be told, and that was compared.
        if (message === undefined) return undefined;
        return { message, chunks: (catalog.indexPack(pack)?.chunks ?? []).map(([id]) => id) };
      });
      return message === undefined ? problem : { message, chunks: problem?.chunks ?? [] };
    } finally {
      rmSync(file, { force: true });
    }
  };
  const readOne = async (pack: string): Promise<void> => {
    const size = catalog.packSizes([pack]).get(pack) ?? 0;
    let problem: { message: string; chunks: string[] } | undefined;
    try {
      const archive = archiveNameOf(catalog.objectOf(pack));
      problem =
        archive !== undefined
          ? await readArchive(repository, pack, archive)
          : await packSlots.with(async (memory) => {
              const stored = await reader.fetch(pack, memory);
              onProgress(stored.length);
              return tasks.run('verifyTask', { catalog: host.catalogFile(input.job), key, pack, stored });
            });
    } catch (error) {
      const isSecret = error instanceof HoldfastError && secretCodes.has(error.code);
      if (!(error instanceof HoldfastError) || error.retryable || error.code === 'Cancelled' || isSecret) throw error;
      // Pruned meanwhile.
      if (error.code === 'ObjectMissing' && !catalog.holders(catalog.objectOf(pack)).includes(destination)) return;
      const what = error.code === 'ObjectMissing' ? 'missing' : 'damaged';
      const message = `${destination}: ${catalog.objectOf(pack)} is ${what}`;
      problem = { message, chunks: (catalog.indexPack(pack)?.chunks ?? []).map(([id]) => id) };
    }
    const at = Date.now();
    if (problem && !problem.message.startsWith(`${destination}: `))
      problem.message = `${destination}: ${problem.message}`;
    if (!problem) catalog.setVerified(destination, [pack], at);
    const line: ReadLine = { destination, pack, bytes: size, at };
    if (problem) {
      const { message, chunks } = problem;
      line.finding = { destination, kind: 'damaged', object: catalog.objectOf(pack), message, chunks, snapshots: [] };
    }
    appendFileSync(files.read(folder), `${JSON.stringify(line)}\n`, { mode: 0o600 });
    sum.packs++;
    sum.bytes += size;
  };
  const worker = async (): Promise<void> => {
    for (let pack = queue.shift(); pack !== undefined; pack = queue.shift()) {
      signal.throwIfAborted();
      await readOne(pack);
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: atOnce }, worker));
  for (const each of ended) if (each.status === 'rejected') throw each.reason;
  return sum;
}

/** Every finding once, those of the reading in place of what the listing said of the same object. */
function allFindings(folder: string): RawFinding[] {
  const found = new Map(listedOf(folder).findings.map((one) => [`${one.destination} ${one.object}`, one]));
  for (const { finding } of readLines(folder)) {
    if (finding && !found.has(`${finding.destination} ${finding.object}`))
      found.set(`${finding.destination} ${finding.object}`, finding);
  }
  return [...found.values()];
}

/** Heals what can be healed, under the job's lock. */
export async function checkRepair(
  host: Host,
  input: CheckInput,
  run: string,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<{ repaired: number; left: number }> {
  const folder = folderOf(host, run);
  const findings = allFindings(folder);
  if (findings.length === 0) return { repaired: 0, left: 0 };
  await takeJobLock(host, input.job, run, true);
  try {
    // Named before anything changes.
    await nameFiles(host, input, run, findings, signal);
    const repairs = await repairAll(host, input, run, folder, findings, signal, onProgress);
    writeJson(files.repairs(folder), repairs);
    const repaired = Object.keys(repairs).length;
    return { repaired, left: findings.length - repaired };
  } finally {
    host.history.releaseLock(input.job, run);
  }
}

const namesFile = (folder: string): string => path.join(folder, 'names.json');
/** `sealed`: the private key would tell more files. */
type Names = Record<string, Pick<Finding, 'files' | 'moreFiles' | 'snapshots'> & { sealed: boolean }>;
const nameOf = (finding: RawFinding): string => `${finding.destination} ${finding.object}`;

/** Says for each finding which files of which snapshots can't be had from that destination. */
async function nameFiles(
  host: Host,
  input: CheckInput,
  run: string,
  findings: readonly RawFinding[],
  signal: AbortSignal,
): Promise<Names> {
  const file = namesFile(folderOf(host, run));
  const known = readJson<Names>(file);
  if (known) return known;
  const names: Names = {};
  const bad = findings.filter(({ chunks }) => chunks.length > 0);
  if (bad.length > 0) {
    const { catalog, stores, key } = await openRepository(host, input.job, { sync: false, signal });
    const reader = readerOf(catalog, stores, key, signal);
    for (const destination of new Set(bad.map((finding) => finding.destination))) {
      const here = bad.filter((finding) => finding.destination === destination);
      const roots = catalog.snapshots().filter((row) => catalog.holders(row.name).includes(destination));
      const wanted = new Set(here.flatMap(({ chunks }) => chunks));
      const damaged = new Set(here.flatMap(({ object }) => catalog.packAt(object) ?? []));
      const objects = catalog.presence(destination);
      const serves = ({ pack }: ChunkLocation): boolean => !damaged.has(pack) && objects.has(catalog.objectOf(pack));
      const entries = await affectedEntries(
        catalog,
        reader,
        roots.map(({ root }) => root),
        wanted,
        {
          signal,
          isLost: (places) => !places.some(serves),
          known: (chunks) => localEntries(host, input.job, chunks),
        },
      );
      for (const finding of here) {
        const own = new Set(finding.chunks);
        const hit = entries.filter(({ chunks }) => chunks.some((id) => own.has(id)));
        names[nameOf(finding)] = {
          files: hit.slice(0, maxFiles).map(({ path: where, snapshots }) => ({ path: where, snapshots })),
          moreFiles: Math.max(0, hit.length - maxFiles),
          snapshots: [...new Set([...finding.snapshots, ...hit.flatMap(({ snapshots }) => snapshots)])],
          sealed: !canRead(key) && hit.some(({ unread }) => unread === true),
        };
      }
    }
  }
  writeJson(file, names);
  return names;
}

/** Puts the report together, keeps it as the job's last one, and clears up. */
export async function checkFinish(
  host: Host,
  input: CheckInput,
  run: string,
  startedAt: string,
  signal: AbortSignal,
): Promise<CheckDocument> {
  const folder = folderOf(host, run);
  const listed = listedOf(folder);
  const raw = allFindings(folder);
  const names = await nameFiles(host, input, run, raw, signal);
  const repairs = readJson<Repairs>(files.repairs(folder)) ?? {};
  let sealedFindings = 0;
  const findings = raw.map((finding): Finding => {
    const { chunks: _, ...rest } = finding;
    const repaired = repairs[nameOf(finding)];
    const { sealed, ...named } = names[nameOf(finding)] ?? { sealed: false };
    if (sealed && repaired === undefined) sealedFindings++;
    return {
      ...rest,
      files: [],
      moreFiles: 0,
      ...named,
      ...(repaired === undefined ? {} : { repaired }),
    };
  });
  if (sealedFindings > 0) {
    const command = `holdfast check ${input.job} --read-data --identity FILE`;
    const message = `of ${sealedFindings} findings not all files are known to this host: where the private key is, '${command}' names them, and with --repair heals what the sources still hold`;
    listed.warnings.unshift({ code: 'PrivateKeyNeeded', message });
  }
  const catalog = host.catalog(input.job);
  const lines = readLines(folder);
  const destinations = listed.destinations.map((destination) => {
    const own = lines.filter((line) => line.destination === destination.name);
    return {
      ...destination,
      read: { packs: own.length, bytes: own.reduce((sum, { bytes }) => sum + bytes, 0) },
      oldestRead: oldestRead(catalog, destination.name),
    };
  });
  const open = findings.filter(({ repaired }) => repaired === undefined);
  const isPartial = findings.length > 0 || destinations.some(({ error }) => error !== null);
  const endedAt = new Date();
  const document: CheckDocument = {
    run,
    job: input.job,
    status: open.length > 0 ? 'damaged' : findings.length > 0 ? 'repaired' : isPartial ? 'partial' : 'clean',
    destinations,
    findings: bounded(findings),
    moreFindings: 0,
    warnings: listed.warnings.slice(0, maxFindings),
    startedAt,
    endedAt: endedAt.toISOString(),
    durationMs: endedAt.getTime() - Date.parse(startedAt),
  };
  document.moreFindings = findings.length - document.findings.length;
  const last: LastCheck = {
    status: document.status,
    run,
    endedAt: document.endedAt,
    open: open.length,
    first: open[0]?.message ?? '',
  };
  catalog.set('check', JSON.stringify(last));
  host.log[open.length > 0 ? 'error' : 'info'](last, `check of ${input.job}: ${document.status}`);
  await tellDamage(host, document);
  return document;
}

/** Removes the check's scratch folder and frees what it may hold. */
export function checkCleanUp(host: Host, input: CheckInput, run: string): void {
  host.history.releaseLock(input.job, run);
  rmSync(folderOf(host, run), { recursive: true, force: true });
}

/** A workflow's result holds a few dozen KB; the worst comes first. */
function bounded(findings: readonly Finding[]): Finding[] {
  const kept: Finding[] = [];
  let bytes = 0;
  const open = (finding: Finding): number => Number(finding.repaired !== undefined);
  for (const finding of [...findings].sort((a, b) => open(a) - open(b))) {
    bytes += Buffer.byteLength(JSON.stringify(finding));
    if (bytes > 40 * 1024 && kept.length > 0) break;
    kept.push(finding);
  }
  return kept.slice(0, maxFindings);
}

function oldestRead(catalog: Catalog, destination: string): string | null {
  const verified = catalog.verified(destination);
  let oldest = Number.POSITIVE_INFINITY;
  for (const name of catalog.presence(destination).keys()) {
    const pack = catalog.packAt(name);
    if (pack !== undefined) oldest = Math.min(oldest, verified.get(pack) ?? 0);
  }
  return oldest > 0 && oldest < Number.POSITIVE_INFINITY ? new Date(oldest).toISOString() : null;
}
