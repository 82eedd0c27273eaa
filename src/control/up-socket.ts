import { join } from 'node:path';
import type { ErrorDetails, HoldfastError } from '../errors.js';
import type { BackupOptions, RunDocument } from '../workflows/types.js';
import type { StartedRun } from './backup.js';
import type { RunUpdate } from './follow.js';

/** Where `holdfast up` takes orders from commands of the same state folder, which only its user may enter. */
export const upSocketPath = (stateDir: string): string => join(stateDir, 'run', 'up.sock');

/** One line of JSON: what a command asks of `holdfast up`. */
export interface UpRequest {
  /** Of the program: another one's `up` is not asked. */
  version: string;
  /** Of the command's config: `up` refuses when its own is another. */
  hash: string;
  jobs: string[];
  options: BackupOptions;
  /** Between updates, milliseconds; left out: none. */
  intervalMs?: number;
}

/** Lines of JSON: what `holdfast up` answers. */
export type UpAnswer =
  /** The command has to do it itself. */
  | { refused: string }
  | { started: StartedRun[] }
  | { run: string; update: RunUpdate }
  | { run: string; document: RunDocument }
  | { error: Pick<HoldfastError, 'code' | 'message'> & Pick<ErrorDetails, 'hint'> };

/** No request is longer, bytes. */
export const requestLimit = 65_536;
