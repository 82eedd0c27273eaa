import { closeSync, ftruncateSync, writeSync } from 'node:fs';
import { errnoOf, HoldfastError } from '../../errors.js';
import type { NewFile, SafeRoot } from '../../platform/restore-fs.js';
import type { RelativePath } from '../../platform/restore-path.js';
import { chunkAt } from '../reader.js';
import { matchesContent } from './file-content.js';
import { toSet } from './owners.js';
import { besides } from './plan.js';
import {
  loadPath,
  Place,
  type PlannedChunk,
  type PlannedFile,
  type PlannedPieces,
  type RestorePlan,
  type Tally,
} from './plan-files.js';
import { packLines } from './plan-lines.js';
import { fail, newTally, warn } from './tally.js';

export interface WriteRequest {
  root: SafeRoot;
  plan: RestorePlan;
  scratch: string;
  /** The pack's number in the plan. */
  number: number;
  /** Gives a chunk's checked content. IntegrityMismatch or ObjectMissing when it can't be had. */
  content: (chunk: PlannedChunk) => Buffer;
  /** Whether an earlier attempt may have left half of this pack behind. */
  retry: boolean;
  /** Called after each file: counts progress, throws when it is to stop. */
  tick?: (bytes: number, failed: boolean) => void;
}

export interface WriteResult {
  tally: Tally;
  /** Large files that miss pieces of this pack. */
  lost: { large: number; message: string }[];
}

/** A pack's chunks out of its tar, each checked once. */
export function contentOf(tar: Buffer, pack: string): (chunk: PlannedChunk) => Buffer {
  const checked = new Set<number>();
  return ([id, at, length]) => {
    if (checked.has(at)) return tar.subarray(at, at + length);
    const content = chunkAt(tar, pack, id, at, length);
    checked.add(at);
    return content;
  };
}

/** Above this a file gets its name only when it is whole: nobody shall meet half of it. */
const directLimit = 1 << 20;

/**
 * Writes the files of one pack. A file in a directory that the restore itself made is created under its own name, its
 * mtime set last: one whose size and mtime are right is whole, any other one that is found again is written anew.
 */
export function writePack(request: WriteRequest): WriteResult {
  const { root, plan, scratch, number, content, retry, tick } = request;
  const tally = newTally();
  const lost: WriteResult['lost'] = [];
  const started = BigInt(plan.startedNs);
  let line = 0;
  for (const text of packLines(scratch, plan, number)) {
    line++;
    const planned = JSON.parse(text) as PlannedFile | PlannedPieces;
    try {
      if ('large' in planned) {
        const bytes = writePieces(root, planned, content);
        tally.bytes += bytes;
        tick?.(bytes, false);
        continue;
      }
      const outcome = writeFile(planned, line);
      if (outcome === 'kept') {
        tally.skipped++;
        warn(
          tally,
          'Kept',
          'differing files at the target are kept; --overwrite changed replaces them',
          shown(planned),
        );
      } else {
        tally.restored++;
        if (outcome === 'written') tally.bytes += planned.size;
      }
      tick?.(planned.size, false);
    } catch (error) {
      const message = failureOf(error, plan.target);
      if ('large' in planned) lost.push({ large: planned.large, message });
      else fail(tally, { path: shown(planned), message });
      tick?.(0, true);
    }
  }
  return { tally, lost };

  function writeFile(file: PlannedFile, number: number): 'written' | 'same' | 'kept' {
    const rel = loadPath(file.path);
    const { place } = file;
    if (place === Place.compare) {
      if (matchesContent(root, rel, file.chunks)) {
        if (plan.overwrite !== 'never') warnings(root.applyMetadata(rel, toSet('file', file.meta)), file);
        return 'same';
      }
      if (plan.overwrite === 'never') return 'kept';
    }
    const parts = file.chunks.map(content);
    if (place === Place.fresh && file.size <= directLimit) {
      let created: NewFile;
      try {
        created = root.createFile(rel, file.meta.mode);
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
        if (foundAgain(rel, file) === 'whole') return 'same';
        created = root.createFile(rel, file.meta.mode);
      }
      put(created, file, parts);
      warnings(root.finish(created, toSet('file', file.meta)), file);
      return 'written';
    }
    const temp = besides(rel, tempName(plan, request.number, number));
    if (retry) removeIfThere(root, temp);
    const created = root.createFile(temp, file.meta.mode);
    put(created, file, parts);
    try {
      warnings(root.finish(created, toSet('file', file.meta)), file);
      if (place === Place.fresh || place === Place.free) publishNew(root, temp, rel, () => foundAgain(rel, file));
      else root.publish(temp, rel, true);
    } catch (error) {
      removeIfThere(root, temp);
      throw error;
    }
    return 'written';
  }

  /** What is at a place where nothing was: this restore's own file, whole or half, or somebody else's. */
  function foundAgain(rel: RelativePath, file: PlannedFile): 'whole' | 'removed' {
    const there = root.lstat(rel);
    if (!there) return 'removed';
    if (there.isFile() && there.size === BigInt(file.size) && there.mtimeNs === BigInt(file.meta.mtime)) return 'whole';
    if (retry && there.isFile() && there.mtimeNs >= started) {
      root.unlink(rel);
      return 'removed';
    }
    throw new HoldfastError('TargetConflict', 'another file has its name at the target', {
      hint: 'Does the file system there ignore case? Restore to one that does not.',
    });
  }

  function put(created: NewFile, file: PlannedFile, parts: readonly Buffer[]): void {
    try {
      let end = 0;
      for (let i = 0; i < parts.length; i++) {
        const to = file.chunks[i]![3];
        writeAt(created.fd, parts[i]!, to);
        end = to + parts[i]!.length;
      }
      if (end < file.size) ftruncateSync(created.fd, file.size);
    } catch (error) {
      closeSync(created.fd);
      removeIfThere(root, created.path);
      throw error;
    }
  }

  function warnings(list: readonly { code: string; message: string }[], file: PlannedFile): void {
    for (const { code, message } of list) warn(tally, code, message, shown(file));
  }
}

const shown = (file: PlannedFile): string => `/${loadPath(file.path).toString()}`;

/** The same at every attempt, so that none is left behind. */
const tempName = (plan: RestorePlan, pack: number, line: number): string => `.holdfast-${plan.id}-${pack}-${line}`;

/** Gives a finished temporary file its name, unless something is there meanwhile. */
export function publishNew(
  root: SafeRoot,
  temp: RelativePath,
  rel: RelativePath,
  found: () => 'whole' | 'removed',
): void {
  for (;;) {
    try {
      root.publish(temp, rel, false);
      return;
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'EEXIST') {
        if (found() === 'removed') continue;
        root.unlink(temp);
        return;
      }
      // File systems without hardlinks.
      if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS' || code === 'EMLINK') {
        if (root.lstat(rel) && found() === 'whole') root.unlink(temp);
        else root.publish(temp, rel, true);
        return;
      }
      throw error;
    }
  }
}

function writePieces(root: SafeRoot, pieces: PlannedPieces, content: (chunk: PlannedChunk) => Buffer): number {
  const { fd } = root.openFile(loadPath(pieces.temp), true);
  let bytes = 0;
  try {
    for (const chunk of pieces.chunks) {
      writeAt(fd, content(chunk), chunk[3]);
      bytes += chunk[2];
    }
  } finally {
    closeSync(fd);
  }
  return bytes;
}

function writeAt(fd: number, data: Buffer, position: number): void {
  for (let done = 0; done < data.length; ) done += writeSync(fd, data, done, data.length - done, position + done);
}

export function removeIfThere(root: SafeRoot, rel: RelativePath): void {
  try {
    root.unlink(rel);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

/** What to say of one file that failed; errors that stop everything are thrown on. */
export function failureOf(error: unknown, target: string): string {
  const code = errnoOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    throw new HoldfastError('TargetFull', `no space is left on the disk of ${target}`, {
      hint: 'Free some space: the restore goes on where it stopped.',
      retryable: true,
      cause: error,
    });
  }
  if (error instanceof HoldfastError || code !== undefined)
    return error instanceof Error ? error.message : String(error);
  throw error;
}
