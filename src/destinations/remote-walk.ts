import { checkPrefix } from './keys.js';

/** What one folder holds: files wanted, and names of folders as keys ending in '/'. */
export interface FolderContent<T> {
  files: T[];
  folders: string[];
}

type Read<T> = { folder: string; content: FolderContent<T> } | { folder: string; error: unknown };

/**
 * Goes through every folder that can hold keys starting with `prefix`, several at a time. `read` gets '' or a key ending
 * in '/', and a signal that fires when the walk ends early, after a failure too: whoever lists again is not to meet the rest
 * of this walk. What it yields still has to be compared with the prefix.
 *
 * @param expected folders that are likely to be there: read at once, without waiting for those above to name them, which takes
 * round trips for each level. What is in one counts only once it is named.
 */
export async function* walkFolders<T>(
  prefix: string,
  read: (folder: string, signal: AbortSignal) => Promise<FolderContent<T>>,
  foldersAtOnce: number,
  expected: Iterable<string> = [],
): AsyncGenerator<T> {
  checkPrefix(prefix);
  const isWanted = (folder: string): boolean => folder.startsWith(prefix) || prefix.startsWith(folder);
  const top = prefix.slice(0, prefix.lastIndexOf('/') + 1);
  const waiting = [top];
  const likely = [...expected].filter((folder) => folder !== top && folder.startsWith(top) && isWanted(folder));
  const ended = new AbortController();
  const running = new Map<string, Promise<Read<T>>>();
  /** Read before they were named. */
  const early = new Map<string, Read<T>>();
  const named = new Set(waiting);
  const begun = new Set<string>();
  const start = (folder: string): void => {
    begun.add(folder);
    running.set(
      folder,
      read(folder, ended.signal).then(
        (content) => ({ folder, content }),
        (error: unknown) => ({ folder, error }),
      ),
    );
  };
  const fill = (): void => {
    for (const from of [waiting, likely]) {
      while (running.size < foldersAtOnce) {
        const folder = from.pop();
        if (folder === undefined) break;
        if (!begun.has(folder)) start(folder);
      }
    }
  };
  try {
    for (let left = 1; left > 0; ) {
      fill();
      const result = await Promise.race(running.values());
      running.delete(result.folder);
      if (!named.has(result.folder)) {
        early.set(result.folder, result);
        continue;
      }
      const known = [result];
      for (let one = known.shift(); one !== undefined; one = known.shift()) {
        left--;
        if ('error' in one) throw one.error;
        for (const folder of one.content.folders.filter(isWanted)) {
          left++;
          named.add(folder);
          const there = early.get(folder);
          if (there !== undefined) known.push(there);
          else if (!begun.has(folder)) waiting.push(folder);
        }
        yield* one.content.files;
      }
    }
  } finally {
    ended.abort();
    await Promise.allSettled(running.values());
  }
}
