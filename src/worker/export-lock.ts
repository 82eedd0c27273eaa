import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError } from '../errors.js';
import { type Lock, tryExclusive } from './locks.js';

/** A file of its own in the state folder for everything that exports to `file`. */
export const exportPath = (state: string, file: string, ending: 'lock' | 'json'): string =>
  join(state, 'run', `export-${createHash('sha256').update(file).digest('hex').slice(0, 16)}.${ending}`);

/** @throws HoldfastError JobBusy while another export writes the same file. */
export function lockExport(state: string, file: string): Lock {
  const lock = tryExclusive(exportPath(state, file, 'lock'), { command: 'holdfast export' });
  if (lock !== undefined) return lock;
  throw new HoldfastError('JobBusy', `another export to ${file} is under way`, {
    hint: 'Wait for its end, or export to another file.',
    retryable: false,
  });
}
