import { existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { Host } from '../activities/host.js';
import { abandonedRestore, clearAbandonedRestore, isSharedTarget } from '../activities/restore-database.js';
import { dropUnfinished } from '../activities/unfinished-databases.js';
import { controlQueue } from '../workflows/types.js';
import { tryExclusive } from './locks.js';

/**
 * Ends what killed commands left of restores of databases, whose dumps would lie in the spool for ever: the run is closed,
 * its tools are ended, its files go. A restore that a command is at work on, or has just taken up again, holds its lock.
 */
export async function sweepRestores(host: Host): Promise<void> {
  const folder = path.join(host.config.spool.path, 'restore');
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    try {
      await sweep(host, path.join(folder, name), folder);
    } catch (error) {
      host.log.warn({ err: error }, `what a killed restore left in ${path.join(folder, name)} stays for now`);
    }
  }
}

async function sweep(host: Host, scratch: string, folder: string): Promise<void> {
  const owner = abandonedRestore(scratch);
  if (owner?.run === undefined || !host.client) return;
  const handle = host.client.workflow.getHandle(owner.run);
  const description = await handle.describe().catch((error: unknown) => {
    if (error instanceof Error && error.name === 'WorkflowNotFoundError') return undefined;
    throw error;
  });
  const isRunning = description?.status.name === 'RUNNING';
  // In the host's own worker it goes on by itself.
  if (isRunning && description?.taskQueue === controlQueue) return;
  const request = description?.memo?.request;
  const lock =
    typeof request === 'string'
      ? tryExclusive(path.join(host.state, 'run', `restore-${request}.lock`), { command: 'the sweep of old restores' })
      : undefined;
  if (typeof request === 'string' && lock === undefined) return;
  try {
    if (isRunning) await handle.terminate('the command that restored was killed; the next one begins anew');
    await clearAbandonedRestore(scratch);
    const { target, filling } = owner;
    if (target !== undefined && path.dirname(target) === folder && !isSharedTarget(folder, scratch, target))
      rmSync(target, { recursive: true, force: true });
    if (filling !== undefined) await dropUnfinished(host, owner.run, filling);
    rmSync(scratch, { recursive: true, force: true });
    host.log.info({ run: owner.run }, 'what a killed restore of a database left is removed');
  } finally {
    lock?.release();
  }
}
