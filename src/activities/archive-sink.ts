import { link, open, rename, rm, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { syncFolder, writeAll } from '../destinations/local-files.js';
import { errnoOf, HoldfastError } from '../errors.js';
import type { ArchiveSink } from '../repository/export/member.js';
import { partialOf } from '../workflows/export-types.js';

/** An archive on its way to where it was asked for. */
export interface ArchiveTarget extends ArchiveSink {
  readonly bytes: number;
  /** All is written and on the disk, under its name. */
  publish(): Promise<void>;
  /** Nothing stays, whatever was written; after `publish` it does nothing. */
  discard(): Promise<void>;
}

/** An archive in a file, 0600, that gets its name when it is whole. `TargetConflict` for one that is there already. */
export async function fileTarget(file: string, overwrite: boolean): Promise<ArchiveTarget> {
  const partial = partialOf(file);
  const folder = path.dirname(file);
  if (!overwrite && (await isThere(file))) throw conflict(file);
  await rm(partial, { force: true });
  const handle = await open(partial, 'wx', 0o600).catch((error: unknown) => {
    throw new HoldfastError('TargetUnsafe', `${partial} cannot be written (${errnoOf(error) ?? String(error)})`, {
      hint: 'Does the folder exist, and may this user write into it?',
      cause: error,
    });
  });
  let bytes = 0;
  let isOpen = true;
  let isPublished = false;
  const full = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      const code = errnoOf(error);
      if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error;
      throw new HoldfastError('TargetFull', `no space is left on the disk of ${file}`, {
        hint: 'Free some space, or export to another disk.',
        cause: error,
      });
    }
  };
  return {
    get bytes() {
      return bytes;
    },
    async write(piece) {
      await full(() => writeAll(handle, piece));
      bytes += piece.length;
    },
    async publish() {
      await full(() => handle.sync());
      isOpen = false;
      await handle.close();
      if (overwrite) await rename(partial, file);
      else await publishNew(partial, file);
      isPublished = true;
      await syncFolder(folder);
    },
    async discard() {
      if (isOpen) await handle.close();
      isOpen = false;
      if (!isPublished) await rm(partial, { force: true });
    },
  };
}

/** A pipe: what was written is gone. */
export function streamTarget(output: Writable): ArchiveTarget {
  let bytes = 0;
  return {
    get bytes() {
      return bytes;
    },
    async write(piece) {
      await new Promise<void>((done, failed) => {
        output.write(piece, (error) => (error ? failed(error) : done()));
      });
      bytes += piece.length;
    },
    publish: async () => undefined,
    discard: async () => undefined,
  };
}

/** Gives the name unless something got it meanwhile. */
async function publishNew(partial: string, file: string): Promise<void> {
  try {
    await link(partial, file);
    await unlink(partial);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EEXIST') throw conflict(file);
    // File systems without hard links.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
    if (await isThere(file)) throw conflict(file);
    await rename(partial, file);
  }
}

const isThere = async (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  );

const conflict = (file: string): HoldfastError =>
  new HoldfastError('TargetConflict', `${file} is there already`, {
    hint: 'Name another file, or replace it with --overwrite.',
  });
