import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { resolveSecret } from '../config/secrets.js';
import { HoldfastError } from '../errors.js';
import { landsInPlace } from '../repository/restore/plan.js';
import type { RootArchive } from '../repository/root.js';
import type { Warning } from '../workflows/types.js';
import { syncFile } from './batch.js';
import { syncFolder } from './durable.js';
import { fileSize } from './files.js';
import type { Host } from './host.js';
import type { RunContext } from './run-context.js';
import type { ArchiveResult } from './threads/archive-task.js';
import { readJson, writeJson } from './threads/line-writer.js';
import type { TaskGroup } from './threads/pool.js';
import { type SealedPack, spoolFiles } from './threads/spool-files.js';

/** The group of packs, in the run's queues, that is the archive. */
export const archiveGroup = 'archive';

export interface ArchiveAnswer {
  /** Stored bytes. */
  bytes: number;
  warnings: Warning[];
}

/**
 * Makes the run's one file of all that was read, encrypted once: every retry and every destination sends that file. One that
 * an earlier attempt finished is taken as it is.
 */
export async function makeArchive(context: RunContext, group: TaskGroup): Promise<ArchiveAnswer> {
  const { begun, folder } = context;
  const { archive } = begun;
  if (!archive) throw new HoldfastError('Internal', `${begun.job} is no archive job`);
  const record = spoolFiles.archive(folder);
  const known = readJson<ArchiveResult>(record);
  const sealed = readJson<SealedPack[]>(spoolFiles.sealed(folder, archiveGroup));
  if (known && sealed) return { bytes: known.bytes, warnings: known.warnings };
  // After a power cut what was not fsynced counts no more.
  context.plan();
  const whole = known !== undefined && fileSize(spoolFiles.pack(folder, known.sha256)) === known.bytes;
  const built = whole ? known : await build(context, group);
  if (!whole) writeJson(record, built, true);
  await group.run('listArchiveTask', {
    run: folder,
    catalog: context.catalogFile,
    filter: await context.host.filter(begun.job),
    index: begun.ownIndex,
    generation: begun.generation,
    pack: built.sha256,
    name: archive.name,
    size: built.bytes,
    plain: built.plain,
  });
  const packs: SealedPack[] = [{ pack: built.sha256, size: built.bytes, kind: 'archive' }];
  writeJson(spoolFiles.sealed(folder, archiveGroup), packs, true);
  removeContent(context);
  return { bytes: built.bytes, warnings: built.warnings };
}

/** What was read is in the archive now; the manifests' packs are still to be sealed. */
function removeContent({ folder }: RunContext): void {
  const plain = path.join(folder, 'plain');
  for (const name of readdirSync(plain)) if (/^\d/.test(name)) rmSync(path.join(plain, name), { force: true });
}

async function build(context: RunContext, group: TaskGroup): Promise<ArchiveResult> {
  const { begun, folder, job } = context;
  const { archive } = begun;
  if (!archive) throw new HoldfastError('Internal', `${begun.job} is no archive job`);
  const isZip = archive.type === 'zip';
  const target = spoolFiles.pack(folder, `.archive-${process.pid}.tmp`);
  const plan = context.plan();
  const built = await group.run('archiveTask', {
    run: folder,
    sources: plan.sources.flatMap(({ name }, number) => {
      const manifest = spoolFiles.manifest(folder, number);
      // A source that failed has none, nor has one in which nothing changed.
      if (!existsSync(manifest)) return [];
      const parent = begun.parents[name];
      const base = parent && path.join(context.host.manifestFolder(begun.job), `${parent}-${name}.ndjson`);
      const within = landsInPlace(job.sources[number]?.type ?? 'files') ? undefined : name;
      return [{ within, manifest, base: archive.base === undefined ? undefined : base }];
    }),
    format: archive.type,
    key: archive.encrypted && !isZip ? await context.key() : undefined,
    password: archive.encrypted && isZip ? await archivePassword(context.host, begun.job) : undefined,
    about: {
      format: 'holdfast-archive-1',
      job: begun.job,
      host: begun.host,
      time: begun.startedAt,
      snapshot: begun.snapshot,
      mode: begun.mode,
      ...(archive.base === undefined ? {} : { base: archive.base.name }),
    },
    target,
  });
  await syncFile(target);
  renameSync(target, spoolFiles.pack(folder, built.sha256));
  syncFolder(path.join(folder, 'packs'));
  return built;
}

/**
 * The password of a job's zip files, as the config says now; it is nowhere else.
 * @throws HoldfastError SecretMissing.
 */
export async function archivePassword(host: Host, job: string): Promise<string> {
  const key = `jobs.${job}.archive.password`;
  const reference = host.config.jobs[job]?.archive?.password;
  if (reference === undefined)
    throw new HoldfastError('SecretMissing', `${key} is not in the config any more`, { key });
  return resolveSecret(reference, key);
}

/** What the root says of the run's archive; undefined for runs that make none. */
export function rootArchive({ begun, folder }: RunContext): RootArchive | undefined {
  const { archive } = begun;
  if (!archive) return undefined;
  const built = readJson<ArchiveResult>(spoolFiles.archive(folder));
  if (!built) throw new HoldfastError('SpoolLost', `the archive of ${begun.run} is gone from the spool`);
  return { ...archive, pack: built.sha256, size: built.bytes, deleted: built.deleted };
}
