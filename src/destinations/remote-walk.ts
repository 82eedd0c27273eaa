import { checkPrefix } from './keys.js';

/** What one folder holds: files wanted, and names of folders as keys ending in '/'. */
export interface FolderContent<T> {
  files: T[];
  folders: string[];
}

/**
 * Goes through every folder that can hold keys starting with `prefix`, several at a time. `read` gets '' or a key ending
 * in '/', and a signal that fires when the walk ends early, after a failure too: whoever lists again is not to meet the rest
 * of this walk. What it yields still has to be compared with the prefix.
 */
export async function* walkFolders<T>(
  prefix: string,
  read: (folder: string, signal: AbortSignal) => Promise<FolderContent<T>>,
  foldersAtOnce: number,
): AsyncGenerator<T> {
  checkPrefix(prefix);
  const waiting = [prefix.slice(0, prefix.lastIndexOf('/') + 1)];
  const ended = new AbortController();
  const running = new Map<number, Promise<FolderContent<T> & { id: number }>>();
  let next = 0;
  const start = (folder: string): void => {
    const id = next++;
    const reading = read(folder, ended.signal).then((content) => ({ id, ...content }));
    // When the caller stops early nobody awaits this one.
    reading.catch(() => {});
    running.set(id, reading);
  };
  try {
    while (waiting.length > 0 || running.size > 0) {
      while (running.size < foldersAtOnce && waiting.length > 0) start(waiting.pop() ?? '');
      const { id, files, folders } = await Promise.race(running.values());
      running.delete(id);
      waiting.push(...folders.filter((folder) => folder.startsWith(prefix) || prefix.startsWith(folder)));
      yield* files;
    }
  } finally {
    ended.abort();
    await Promise.allSettled(running.values());
  }
}
