import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { HoldfastError } from '../errors.js';
import type { RestoreDocument, RestoreInput } from '../workflows/restore-types.js';
import { finishStep, packsStep, planStep, type RestoreRepository } from './restore-run.js';
import { TaskGroup } from './threads/pool.js';

export interface DrillRestore {
  host: string;
  job: string;
  run: string;
  snapshot: string;
  /** None: everything. */
  paths: string[];
  /** Private folder to restore into. */
  target: string;
  /** The engine's own folder. */
  scratch: string;
}

/** Restores with the engine that `restore` uses. What an earlier attempt restored is not restored again. */
export async function restoreForDrill(
  restore: DrillRestore,
  repository: RestoreRepository,
  attempt: { retry: boolean; patient: boolean },
  signal: AbortSignal,
): Promise<RestoreDocument> {
  const { run, scratch, ...rest } = restore;
  const input: RestoreInput = { ...rest, overwrite: 'always', sig: '' };
  mkdirSync(restore.target, { recursive: true, mode: 0o700 });
  const step = { input, run, scratch, tasks: new TaskGroup(signal), signal };
  const startedAt = new Date().toISOString();
  const { slices } = await planStep(step, repository, attempt.patient);
  for (let slice = 0; slice < slices; slice++) await packsStep({ ...step, slice }, repository, attempt);
  return finishStep(step, startedAt);
}

/** A path below a folder, as the engine restores it. */
export function restoredPath(target: string, source: string): string {
  const below = source.startsWith('/') ? source.slice(1) : source.replace(/^([A-Za-z]):/, '$1');
  const found = path.join(target, below);
  if (!found.startsWith(target + path.sep))
    throw new HoldfastError('TargetUnsafe', `${source} leads out of the target`);
  return found;
}
