import type { Stats } from 'ssh2';
import { type SftpConnection, sftpStatus, statusOf } from './sftp-connection.js';

/** What a server says of a file. */
export interface RemoteStats {
  kind: 'file' | 'folder' | 'other';
  size: number;
  modified: Date;
}

const formatMask = 0o170000;
const regular = 0o100000;
const directory = 0o040000;
const readOnlyFlag = 1;
/** Each answer holds about a hundred names. */
const listsInFlight = 8;

function statsOf(attributes: { mode?: number; size?: number; mtime?: number }): RemoteStats {
  const format = (attributes.mode ?? regular) & formatMask;
  return {
    kind: format === regular ? 'file' : format === directory ? 'folder' : 'other',
    size: attributes.size ?? 0,
    modified: new Date((attributes.mtime ?? 0) * 1000),
  };
}

/** Undefined where nothing has this name; symbolic links are not followed. */
export async function lstat(connection: SftpConnection, path: string): Promise<RemoteStats | undefined> {
  try {
    return statsOf(await connection.call<Stats>((sftp, answer) => sftp.lstat(path, answer)));
  } catch (error) {
    if (statusOf(error) === sftpStatus.noSuchFile) return undefined;
    throw error;
  }
}

export async function fstat(connection: SftpConnection, handle: Buffer): Promise<RemoteStats> {
  return statsOf(await connection.call<Stats>((sftp, answer) => sftp.fstat(handle, answer)));
}

export async function isFolder(connection: SftpConnection, path: string): Promise<boolean> {
  try {
    const found = await connection.call<Stats>((sftp, answer) => sftp.stat(path, answer));
    return statsOf(found).kind === 'folder';
  } catch (error) {
    if (statusOf(error) === sftpStatus.noSuchFile) return false;
    throw error;
  }
}

/** Whether the file was there. */
export async function remove(connection: SftpConnection, path: string): Promise<boolean> {
  try {
    await connection.call((sftp, answer) => sftp.unlink(path, answer));
    return true;
  } catch (error) {
    if (statusOf(error) === sftpStatus.noSuchFile) return false;
    throw error;
  }
}

/** Everything in a folder, with several requests in flight; undefined where there is no such folder. */
export async function listFolder(
  connection: SftpConnection,
  path: string,
  signal?: AbortSignal,
): Promise<{ name: string; info: RemoteStats }[] | undefined> {
  let handle: Buffer;
  try {
    handle = await connection.call<Buffer>((sftp, answer) => sftp.opendir(path, answer));
  } catch (error) {
    if (statusOf(error) === sftpStatus.noSuchFile) return undefined;
    throw error;
  }
  const found: { name: string; info: RemoteStats }[] = [];
  let ended = false;
  const ask = async (): Promise<void> => {
    signal?.throwIfAborted();
    try {
      const entries = await connection.call<{ filename: string; attrs: object }[]>((sftp, answer) =>
        sftp.readdir(handle, answer),
      );
      for (const { filename, attrs } of entries) found.push({ name: filename, info: statsOf(attrs) });
    } catch (error) {
      ended = true;
      if (statusOf(error) !== sftpStatus.eof) throw error;
    }
  };
  const askOn = async (): Promise<void> => {
    while (!ended) await ask();
  };
  try {
    // Of most folders the second answer is the end, and is on its way: asking on at the first would take a round trip more.
    for (const work of [ask, askOn]) {
      const results = await Promise.allSettled(Array.from({ length: listsInFlight }, work));
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    }
    return found;
  } finally {
    connection.call((sftp, answer) => sftp.close(handle, answer)).catch(() => {});
  }
}

/** Of the file system that holds `path`, by statvfs@openssh.com; undefined where the server lacks it. */
export async function spaceOf(
  connection: SftpConnection,
  path: string,
): Promise<{ free: number; total: number; freeFiles: number; readOnly: boolean } | undefined> {
  if (!connection.offers('statvfs@openssh.com')) return undefined;
  const found = await connection.call<Record<string, number>>((sftp, answer) => sftp.ext_openssh_statvfs(path, answer));
  const { f_frsize = 0, f_bavail = 0, f_blocks = 0, f_favail = 0, f_files = 0, f_flag = 0 } = found;
  return {
    free: f_frsize * f_bavail,
    total: f_frsize * f_blocks,
    // Some file systems make them as they need them and count none.
    freeFiles: f_files === 0 ? Number.POSITIVE_INFINITY : f_favail,
    readOnly: (Number(f_flag) & readOnlyFlag) !== 0,
  };
}

/** A folder held open so that the names made in it can be made durable, where the server lets folders be opened and synced. */
export class FolderHandle {
  private readonly handle: Promise<Buffer | undefined>;

  constructor(
    private readonly connection: SftpConnection,
    path: string,
  ) {
    this.handle = connection.offers('fsync@openssh.com')
      ? connection.call<Buffer>((sftp, answer) => sftp.open(path, 0x01, {}, answer)).catch(() => undefined)
      : Promise.resolve(undefined);
  }

  async sync(): Promise<void> {
    const handle = await this.handle;
    if (handle === undefined) return;
    await this.connection
      .call((sftp, answer) => sftp.ext_openssh_fsync(handle, answer))
      // Some file systems cannot sync a folder.
      .catch((error: unknown) => {
        if (statusOf(error) === undefined) throw error;
      });
  }

  close(): void {
    void this.handle.then((handle) => {
      if (handle !== undefined) this.connection.call((sftp, answer) => sftp.close(handle, answer)).catch(() => {});
    });
  }
}
