import { rmSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { Context } from '@temporalio/activity';
import { HoldfastError } from '../errors.js';
import { abilitiesOf, type Member } from '../repository/export/member.js';
import { membersOf } from '../repository/export/members.js';
import { writeTar } from '../repository/export/tar-archive.js';
import { writeZip } from '../repository/export/zip-archive.js';
import { PackReader, type PackReaderOptions } from '../repository/reader.js';
import type { Tally } from '../repository/restore/plan-files.js';
import { newTally, warn } from '../repository/restore/tally.js';
import { resolveSnapshot } from '../repository/snapshots.js';
import { type ExportDocument, type ExportInput, partialOf } from '../workflows/export-types.js';
import type { RestoreHeartbeat } from '../workflows/restore-types.js';
import { oneAtATime } from './alone.js';
import { type ArchiveTarget, fileTarget, streamTarget } from './archive-sink.js';
import { writeDurable } from './durable.js';
import { bounded, noteNewer, noteProblem, type RestoreRepository, refuseUnreadable } from './restore-run.js';
import { readJson } from './threads/line-writer.js';

/** What the export needs of the host it runs on. */
export interface ExportDeps {
  /** @throws HoldfastError InputRefused for an input that this state folder's key did not sign. */
  verify(input: ExportInput): void;
  /** Opens the job's repository for reading, its catalog brought up to date. */
  open(input: ExportInput, signal: AbortSignal): Promise<RestoreRepository>;
  /** The archive's password, where it is to have one. */
  password: string | undefined;
  /** Where an archive for `-` goes; absent where nobody would read it. */
  output?: Writable;
  /** Of a worker that goes on after a crash, and that others may share the file with. */
  standing?: {
    /** @throws HoldfastError JobBusy while somebody else writes the file. */
    lock(file: string): { release(): void };
    /** A file, next to nothing in size, that says what an attempt was about to publish. */
    record(file: string): string;
  };
}

/** Which run, and the signed input that started it. */
export interface ExportRef {
  input: ExportInput;
  run: string;
  startedAt: string;
}

const beatMs = 500;
const manifestCacheBytes = 32 * 1024 * 1024;

/** The export's activity on this host: checks the caller, heartbeats, writes the archive. */
export function createExportActivities(deps: ExportDeps) {
  const alone = oneAtATime();
  return {
    async exportArchive(ref: ExportRef): Promise<ExportDocument> {
      const { input } = ref;
      deps.verify(input);
      if (input.encrypted !== (deps.password !== undefined))
        throw new HoldfastError('Internal', 'the archive was to be encrypted, and its password is not here');
      const context = Context.current();
      const signal = context.cancellationSignal;
      const tally = newTally();
      const timer = setInterval(() => {
        const { restored: files, failed, bytes } = tally;
        context.heartbeat({ phase: 'files', files, failed, bytes } satisfies RestoreHeartbeat);
      }, beatMs);
      const write = async (): Promise<ExportDocument> => {
        const lock = deps.standing?.lock(input.file);
        try {
          return (
            publishedBefore(ref, deps) ?? (await writeArchive(ref, await deps.open(input, signal), deps, tally, signal))
          );
        } finally {
          lock?.release();
        }
      };
      try {
        // A lost heartbeat starts another attempt while this one is yet to notice.
        return await (deps.standing ? alone(ref.run, write) : write());
      } finally {
        clearInterval(timer);
      }
    },
  };
}

export type ExportActivities = ReturnType<typeof createExportActivities>;

/**
 * Writes the archive to where it was asked for; what is not whole is not left there.
 *
 * @throws HoldfastError as `membersOf`; SnapshotUnknown; TargetConflict, TargetFull, TargetUnsafe.
 */
export async function writeArchive(
  { input, run, startedAt }: ExportRef,
  repository: RestoreRepository,
  { password, output, standing }: Pick<ExportDeps, 'password' | 'output' | 'standing'>,
  tally: Tally,
  signal: AbortSignal,
): Promise<ExportDocument> {
  const { catalog, stores, key } = repository;
  for (const { code, message } of repository.warnings) warn(tally, code, message);
  refuseUnreadable(repository);
  const row = resolveSnapshot(catalog, input.snapshot);
  const { id, root } = row;
  noteNewer(repository, row, input.snapshot, tally);
  if (root.archive !== undefined) {
    throw new HoldfastError('UsageInvalid', `snapshot ${id} is an archive already: archives/${root.archive.name}`, {
      hint: 'Copy that file from a destination, or restore the snapshot.',
    });
  }
  const reading: PackReaderOptions = {
    key,
    stores,
    signal,
    holders: (name) => catalog.holders(name),
    sizeOf: (pack) => catalog.packSizes([pack]).get(pack),
    onProblem: (problem) => noteProblem(tally, problem),
  };
  const members = membersOf({
    catalog,
    root,
    manifests: new PackReader({ ...reading, cacheBytes: manifestCacheBytes }),
    content: new PackReader(reading),
    paths: input.paths,
    abilities: abilitiesOf(input.format),
    tally,
    signal,
  });
  const target = await targetOf(input, output);
  try {
    let count = 0;
    const counted = async function* (): AsyncGenerator<Member> {
      for await (const member of members) {
        count++;
        yield member;
      }
    };
    const scratch = path.dirname(catalog.file);
    if (input.format === 'zip') await writeZip(counted(), { sink: target, password, scratch, signal });
    else await writeTar(counted(), target, input.format === 'tar.gz' ? 'gzip' : 'zstd', signal);
    signal.throwIfAborted();
    const nothing = count === 0 && tally.failed + tally.failedOther > 0;
    const document = documentOf({ input, run, startedAt }, id, tally, nothing ? 0 : target.bytes, nothing);
    if (standing && !nothing) notePublished(standing.record(input.file), input.file, document);
    if (!nothing) await target.publish();
    return document;
  } finally {
    await target.discard();
  }
}

async function targetOf({ file, overwrite }: ExportInput, output: Writable | undefined): Promise<ArchiveTarget> {
  if (file !== '-') return fileTarget(file, overwrite);
  if (output) return streamTarget(output);
  throw new HoldfastError('UsageInvalid', 'expected a file: the worker of the host has no stdout to write to');
}

interface Published {
  document: ExportDocument;
  /** The file's, which its name does not change. */
  inode: string | undefined;
}

const inodeOf = (file: string): string | undefined => {
  const found = statSync(file, { bigint: true, throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}`;
};

function notePublished(record: string, file: string, document: ExportDocument): void {
  const published: Published = { document, inode: inodeOf(partialOf(file)) };
  writeDurable(record, Buffer.from(JSON.stringify(published)));
}

/** What an attempt that was killed before it could say so has published. */
function publishedBefore({ input, run }: ExportRef, { standing }: ExportDeps): ExportDocument | undefined {
  const known = standing && readJson<Published>(standing.record(input.file));
  if (known?.document.run !== run || known.inode !== inodeOf(input.file)) return undefined;
  rmSync(partialOf(input.file), { force: true });
  return known.document;
}

function documentOf(
  { input, run, startedAt }: ExportRef,
  snapshot: string,
  tally: Tally,
  archiveBytes: ArchiveTarget['bytes'],
  nothing: boolean,
): ExportDocument {
  const lost = tally.failed + tally.failedOther;
  const damaged = bounded(tally.failures);
  const warnings = bounded(tally.warnings);
  const endedAt = new Date();
  return {
    run,
    job: input.job,
    snapshot,
    status: lost + tally.skippedOther === 0 ? 'succeeded' : nothing ? 'failed' : 'partial',
    files: { exported: tally.restored, failed: tally.failed },
    bytes: tally.bytes,
    damaged,
    warnings,
    more: { damaged: lost - damaged.length, warnings: tally.warnings.length - warnings.length },
    file: input.file,
    format: input.format,
    encrypted: input.encrypted,
    archiveBytes,
    startedAt,
    endedAt: endedAt.toISOString(),
    durationMs: endedAt.getTime() - Date.parse(startedAt),
  };
}
