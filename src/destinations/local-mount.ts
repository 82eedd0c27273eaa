import { readFile, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../errors.js';

/** Paths in /proc/self/mountinfo have blanks and backslashes as octal numbers. */
function unescapePath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** Whether something is mounted at `path`. An absent path is not mounted; other errors of the file system pass through. */
export async function isMountPoint(path: string): Promise<boolean> {
  try {
    const real = await realpath(path);
    const [here, above] = await Promise.all([stat(real), stat(dirname(real))]);
    if (process.platform === 'win32') return here.isDirectory();
    if (here.dev !== above.dev || here.ino === above.ino) return true;
    if (process.platform !== 'linux') return false;
    // A bind mount of the same file system has the same device number.
    const table = await readFile('/proc/self/mountinfo', 'latin1');
    const name = Buffer.from(real).toString('latin1');
    return table.split('\n').some((line) => unescapePath(line.split(' ')[4] ?? '') === name);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

/** Folders below which disks and shares are mounted by custom. */
const customary = ['/mnt', '/media', '/run/media', '/Volumes'];

/**
 * Whether `path`, where disks are mounted by custom, is on the same file system as that customary folder: then the disk that
 * is meant is most likely not mounted.
 */
export async function looksUnmounted(path: string, folders: readonly string[] = customary): Promise<boolean> {
  const above = folders.find((folder) => path.startsWith(`${folder}/`));
  if (above === undefined) return false;
  try {
    const [here, there] = await Promise.all([stat(path), stat(above)]);
    return here.dev === there.dev;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}
