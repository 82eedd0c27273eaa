import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf } from '../errors.js';

/** Some network and FUSE file systems cannot sync a folder, and Windows cannot open one. */
const cannotSyncFolders: ReadonlySet<string> = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EBADF']);

/** Makes the names in a folder durable, where the file system can. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } catch (error) {
    if (!cannotSyncFolders.has(errnoOf(error) ?? '')) throw error;
  } finally {
    await handle.close();
  }
}

/** Writes all of `bytes`; a single write may take fewer. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done);
    done += bytesWritten;
  }
}
