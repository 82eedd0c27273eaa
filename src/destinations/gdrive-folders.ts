import { HoldfastError } from '../errors.js';
import { type DriveFile, folderType } from './gdrive-client.js';
import type { DriveFiles } from './gdrive-files.js';

/** What Holdfast's own folder is called where the config names none. */
export const ownFolder = 'Holdfast';

/**
 * Folders by their path below the destination's root. A drive allows several of one name: the oldest is written to, all
 * are read. Ids are kept; `forget` after one turned out to be gone.
 */
export class DriveFolders {
  private root: Promise<string> | undefined;
  /** Ids by path ('' is the root), and the subfolders of each folder whose listing has been read. */
  private readonly known = new Map<string, Promise<string[]>>();
  private readonly inside = new Map<string, Promise<Map<string, string[]>>>();

  constructor(
    private readonly files: DriveFiles,
    private readonly label: string,
    /** The folder's id; undefined: one of our own in the user's drive. */
    private readonly folderId: string | undefined,
  ) {}

  forget(): void {
    this.root = undefined;
    this.known.clear();
    this.inside.clear();
  }

  /** The root's id. Throws `DestinationMissing`. */
  async rootId(): Promise<string> {
    let root = this.root;
    if (root === undefined) {
      // Shared by all who ask: no single caller's signal stops it.
      root = this.findRoot(false);
      this.root = root;
      root.catch(() => {
        this.root = undefined;
      });
    }
    return await root;
  }

  /** Looks again whether the root is there. Throws `DestinationMissing`. */
  async checkRoot(signal?: AbortSignal): Promise<void> {
    const id = await this.findRoot(false, signal);
    if ((await this.rootId()) === id) return;
    this.forget();
  }

  /** Makes our own folder where there is none yet; one that the config names must be there. */
  async ensureRoot(signal?: AbortSignal): Promise<void> {
    this.forget();
    this.root = this.findRoot(true, signal);
    await this.root.catch((error) => {
      this.root = undefined;
      throw error;
    });
  }

  /** The ids of the folders at `path` ('a/b', '' for the root), the one to write to first; none where there is no such folder. */
  async find(path: string, signal?: AbortSignal): Promise<string[]> {
    if (path === '') return [await this.rootId()];
    const known = this.known.get(path);
    if (known !== undefined) return await known;
    const { above, name } = split(path);
    const parents = await this.find(above, signal);
    const found: string[] = [];
    for (const parent of parents) {
      const listed = (await this.subfolders(parent)).get(name);
      found.push(...(listed ?? (await this.named(parent, name, signal))));
    }
    if (found.length > 0) this.known.set(path, Promise.resolve(found));
    return found;
  }

  /** The id of the folder to write to at `path`; it and those above are made where they are missing, the root never. */
  async make(path: string, signal?: AbortSignal): Promise<string> {
    if (path === '') return await this.rootId();
    let making = this.known.get(path);
    if (making === undefined) {
      making = this.findOrMake(path);
      this.known.set(path, making);
      making.catch(() => this.known.delete(path));
    }
    signal?.throwIfAborted();
    return first(await making);
  }

  private async findOrMake(path: string): Promise<string[]> {
    const { above, name } = split(path);
    const parent = await this.make(above);
    const all = [...new Set([parent, ...(await this.find(above))])];
    const found: string[] = [];
    for (const one of all) {
      found.push(...((await this.subfolders(one)).get(name) ?? (await this.named(one, name))));
    }
    if (found.length > 0) return found;
    const action = `making the folder ${path}`;
    const made = await this.files.makeFolder(action, parent, name);
    // Somebody else may have made one at the same moment: all choose the oldest, and the others stay readable.
    const ids = await this.named(parent, name);
    return ids.length > 0 ? ids : [made.id];
  }

  /** What a folder holds is read once; folders made since are found by name. */
  private async subfolders(folder: string): Promise<Map<string, string[]>> {
    let listing = this.inside.get(folder);
    if (listing === undefined) {
      listing = this.files.folders('looking for folders', folder).then(groupFolders);
      this.inside.set(folder, listing);
      listing.catch(() => this.inside.delete(folder));
    }
    return await listing;
  }

  private async named(parent: string, name: string, signal?: AbortSignal): Promise<string[]> {
    const found = await this.files.children(`looking for the folder ${name}`, parent, [name], signal);
    return found.filter(isFolder).map(({ id }) => id);
  }

  private async findRoot(create: boolean, signal?: AbortSignal): Promise<string> {
    const action = 'looking for the folder';
    if (this.folderId !== undefined) {
      const folder = await this.files.get(action, this.folderId, signal);
      if (folder === undefined) {
        throw this.missing(
          `there is no folder with the id ${this.folderId}, or this login may not see it`,
          'With the scope drive.file a login sees only what Holdfast made: leave `folderId` out, or set `scope: drive`. A service account sees what was shared with it.',
        );
      }
      if (folder.trashed) throw this.missing('its folder is in the trash', 'Take it out of the trash.');
      if (!isFolder(folder)) {
        throw new HoldfastError('ConfigInvalid', `${this.label}: \`folderId\` is not a folder's`, {
          hint: "The id is the last part of the folder's address in the browser.",
        });
      }
      return folder.id;
    }
    const found = (await this.files.children(action, 'root', [ownFolder], signal)).find(isFolder);
    if (found !== undefined) return found.id;
    if (!create) throw this.missing(`there is no folder "${ownFolder}" in the drive`, 'The first backup makes it.');
    return (await this.files.makeFolder(`making the folder ${ownFolder}`, 'root', ownFolder, signal)).id;
  }

  private missing(why: string, hint: string): HoldfastError {
    return new HoldfastError('DestinationMissing', `${this.label}: ${why}`, { hint });
  }
}

export function isFolder({ mimeType }: DriveFile): boolean {
  return mimeType === folderType;
}

/** The ids of folders by their name. */
export function groupFolders(children: readonly DriveFile[]): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const { id, name } of children.filter(isFolder)) names.set(name, [...(names.get(name) ?? []), id]);
  return names;
}

function first(ids: readonly string[]): string {
  const [id] = ids;
  if (id === undefined) throw new HoldfastError('DestinationFailed', 'A folder was made and has no id');
  return id;
}

/** 'a/b/c' is c in a/b. */
export function split(path: string): { above: string; name: string } {
  const at = path.lastIndexOf('/');
  return { above: path.slice(0, Math.max(at, 0)), name: path.slice(at + 1) };
}
