import { randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, HoldfastError } from '../errors.js';
import { syncFolder } from './local-files.js';

/** How long a lock may be held by a process that cannot be asked whether it lives. */
const staleLockMs = 60_000;
const maxWaitMs = 90_000;

/** Writes a 0600 file in a 0700 folder so that after a power cut it is there whole, or as it was before. */
export async function writePrivate(file: string, text: string): Promise<void> {
  const folder = dirname(file);
  await makePrivate(folder);
  const temporary = `${file}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  await syncFolder(folder);
}

/** What a file says, or undefined where there is none or it is not JSON. */
export async function readPrivate(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Removes a file, or does nothing where there is none. */
export async function removePrivate(file: string): Promise<void> {
  await unlink(file).catch((error) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}

/** Does `work` while no other process of this machine does anything under the same lock. A dead process's lock is taken over. */
export async function withLock<T>(lock: string, work: () => Promise<T>): Promise<T> {
  await makePrivate(dirname(lock));
  for (const deadline = Date.now() + maxWaitMs; ; await sleep(25)) {
    try {
      const handle = await open(lock, 'wx', 0o600);
      await handle.writeFile(String(process.pid)).finally(() => handle.close());
      break;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    if (await isAbandoned(lock)) await removePrivate(lock);
    else if (Date.now() > deadline) {
      throw new HoldfastError('DestinationFailed', `${lock} is held by another process for too long`, {
        hint: 'Remove that file if no Holdfast process runs.',
        retryable: true,
      });
    }
  }
  try {
    return await work();
  } finally {
    await removePrivate(lock);
  }
}

async function isAbandoned(lock: string): Promise<boolean> {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(lock, 'utf8'), stat(lock)]);
    if (Date.now() - mtimeMs > staleLockMs) return true;
    const pid = Number(text);
    // Its owner has yet to write its id, or is this process.
    if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return errnoOf(error) === 'ESRCH';
  }
}

async function makePrivate(folder: string): Promise<void> {
  const made = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (made !== undefined) await chmod(folder, 0o700);
}
