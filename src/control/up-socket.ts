import { join } from 'node:path';
import type { ErrorDetails, HoldfastError } from '../errors.js';
import type { BackupOptions } from '../workflows/types.js';
import type { StartedRun } from './backup.js';
import type { RestoreRequest } from './restore.js';

/** Where `holdfast up` takes orders from commands of the same state folder, which only its user may enter. */
export const upSocketPath = (stateDir: string): string => join(stateDir, 'run', 'up.sock');

/** What a command asks of `holdfast up`. */
export type UpOrder =
  | { jobs: string[]; options: BackupOptions }
  /** `rights`: the command's `processRights()`; `up` refuses where its own are others. */
  | { restore: RestoreRequest; rights: string };

/** One line of JSON. */
export type UpRequest = UpOrder & {
  /** Of the program: another one's `up` is not asked. */
  version: string;
  /** Of the command's config: `up` refuses when its own is another. */
  hash: string;
  /** Between updates, milliseconds; left out: none. */
  intervalMs?: number;
};

/** Lines of JSON: what `holdfast up` answers. `Update` and `Document` are the order's. */
export type UpAnswer<Update = unknown, Document = unknown> =
  /** The command has to do it itself. */
  | { refused: string }
  | { started: StartedRun[] }
  | { run: string; update: Update }
  | { run: string; document: Document }
  | { error: Pick<HoldfastError, 'code' | 'message'> & Pick<ErrorDetails, 'hint'> };

/** No request is longer, bytes. */
export const requestLimit = 65_536;
