import { HoldfastError } from '../errors.js';
import type { Attempts } from './attempts.js';
import { byAge, type DriveClient, type DriveFile, driveFile, fileFields, folderType, quoted } from './gdrive-client.js';
import { driveReason, driveStatus } from './gdrive-errors.js';

const pageSize = 1000;
const idsAtOnce = 50;

/** Files and folders of a drive by their ids; every call is repeated after passing errors. */
export class DriveFiles {
  private ids: string[] = [];

  constructor(
    readonly client: DriveClient,
    readonly attempts: Attempts,
    private readonly driveId: string | undefined,
    /** Move to the trash what is to be deleted. */
    private readonly trash: boolean,
  ) {}

  /** What lies in a folder and is not in the trash, oldest first; with `names`, only what has exactly one of these. */
  async children(
    action: string,
    folder: string,
    names: readonly string[] | undefined,
    signal?: AbortSignal,
  ): Promise<DriveFile[]> {
    const named = names?.map((name) => `name = ${quoted(name)}`).join(' or ');
    const found = await this.search(action, folder, named === undefined ? [] : [`(${named})`], signal);
    // The search does not tell upper from lower case.
    return names === undefined ? found : found.filter(({ name }) => names.includes(name));
  }

  /** The folders in a folder, oldest first. */
  folders(action: string, folder: string, signal?: AbortSignal): Promise<DriveFile[]> {
    return this.search(action, folder, [`mimeType = ${quoted(folderType)}`], signal);
  }

  private async search(action: string, folder: string, more: string[], signal?: AbortSignal): Promise<DriveFile[]> {
    const clauses = [`${quoted(folder)} in parents`, 'trashed = false', ...more];
    const found: DriveFile[] = [];
    let pageToken: string | undefined;
    do {
      const { data } = await this.attempts.repeat(action, signal, () =>
        this.client.call(signal, (options) =>
          this.client.drive.files.list(
            {
              q: clauses.join(' and '),
              fields: `nextPageToken,incompleteSearch,files(${fileFields})`,
              pageSize,
              spaces: 'drive',
              supportsAllDrives: true,
              includeItemsFromAllDrives: true,
              ...(this.driveId !== undefined && { corpora: 'drive', driveId: this.driveId }),
              ...(pageToken !== undefined && { pageToken }),
            },
            options,
          ),
        ),
      );
      if (data.incompleteSearch === true)
        throw new HoldfastError('DestinationFailed', 'Google Drive could not search everything; try again');
      for (const file of data.files ?? []) found.push(driveFile(file));
      pageToken = data.nextPageToken ?? undefined;
    } while (pageToken !== undefined);
    return found.sort(byAge);
  }

  /** One file or folder, or undefined where there is none that this login may see. */
  async get(action: string, id: string, signal?: AbortSignal): Promise<DriveFile | undefined> {
    try {
      const { data } = await this.attempts.repeat(action, signal, () =>
        this.client.call(signal, (options) =>
          this.client.drive.files.get({ fileId: id, fields: fileFields, supportsAllDrives: true }, options),
        ),
      );
      return driveFile(data);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ObjectMissing') return undefined;
      throw error;
    }
  }

  /** An id for a file to be made, so that making it twice is noticed. */
  async newId(action: string, signal?: AbortSignal): Promise<string> {
    for (;;) {
      const id = this.ids.pop();
      if (id !== undefined) return id;
      const { data } = await this.attempts.repeat(action, signal, () =>
        this.client.call(signal, (options) =>
          this.client.drive.files.generateIds({ count: idsAtOnce, space: 'drive', type: 'files' }, options),
        ),
      );
      const more = data.ids ?? [];
      if (more.length === 0) throw new HoldfastError('DestinationFailed', 'Google Drive gave no ids for new files');
      this.ids.push(...more);
    }
  }

  async makeFolder(action: string, parent: string, name: string, signal?: AbortSignal): Promise<DriveFile> {
    const id = await this.newId(action, signal);
    return await this.attempts.repeat(action, signal, async (attempt) => {
      try {
        const { data } = await this.client.call(signal, (options) =>
          this.client.drive.files.create(
            {
              requestBody: { id, name, mimeType: folderType, parents: [parent] },
              fields: fileFields,
              supportsAllDrives: true,
            },
            options,
          ),
        );
        return driveFile(data);
      } catch (error) {
        const made = attempt > 1 && driveStatus(error) === 409 ? await this.get(action, id, signal) : undefined;
        if (made === undefined) throw error;
        return made;
      }
    });
  }

  async rename(action: string, id: string, name: string, signal?: AbortSignal): Promise<DriveFile> {
    const { data } = await this.attempts.repeat(action, signal, () =>
      this.client.call(signal, (options) =>
        this.client.drive.files.update(
          { fileId: id, requestBody: { name }, fields: fileFields, supportsAllDrives: true },
          options,
        ),
      ),
    );
    return driveFile(data);
  }

  /** Deletes for good, or to the trash where that is wanted or all that is allowed. What is gone already is fine. */
  async remove(action: string, id: string, signal?: AbortSignal): Promise<void> {
    await this.attempts.repeat(action, signal, async () => {
      try {
        if (this.trash) return await this.moveToTrash(id, signal);
        try {
          await this.client.call(signal, (options) =>
            this.client.drive.files.delete({ fileId: id, supportsAllDrives: true }, options),
          );
        } catch (error) {
          // On a shared drive only managers delete for good.
          if (driveStatus(error) !== 403 || driveReason(error) !== 'insufficientFilePermissions') throw error;
          await this.moveToTrash(id, signal);
        }
      } catch (error) {
        if (driveStatus(error) !== 404) throw error;
      }
    });
  }

  private async moveToTrash(id: string, signal?: AbortSignal): Promise<void> {
    await this.client.call(signal, (options) =>
      this.client.drive.files.update(
        { fileId: id, requestBody: { trashed: true }, fields: 'id', supportsAllDrives: true },
        options,
      ),
    );
  }
}
