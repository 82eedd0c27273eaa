import type { Command } from 'commander';
import type { SnapshotDocument } from '../../control/snapshots.js';
import { HoldfastError } from '../../errors.js';
import { browse, offlineOption } from '../browse.js';
import type { Context } from '../context.js';
import { snapshotsTable } from '../print/entry.js';

export function register(command: Command, context: Context): void {
  command
    .argument('[job]', 'only snapshots of this job')
    .option(...offlineOption)
    .action((job: string | undefined, options: { offline?: boolean }) => snapshots(context, job, options));
}

async function snapshots(context: Context, job: string | undefined, options: { offline?: boolean }): Promise<void> {
  const { config } = await context.load();
  const { listSnapshots } = await import('../../control/snapshots.js');
  const found: SnapshotDocument[] = [];
  for (const name of job === undefined ? Object.keys(config.jobs) : [job]) {
    try {
      found.push(...(await browse(context, name, options, async ({ catalog }) => listSnapshots(catalog))));
    } catch (error) {
      // Of several jobs one may not have been backed up yet.
      const known = error instanceof HoldfastError ? error : undefined;
      if (job !== undefined || known === undefined) throw error;
      if (known.code !== 'ObjectMissing' && known.code !== 'DestinationMissing') context.exit(3);
      context.warn(`${name}: ${known.message}`);
    }
  }
  if (job === undefined) found.sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : 0));
  context.result(found, () => snapshotsTable(found));
}
