import type { Command } from 'commander';
import type { PruneDocument } from '../../workflows/care-types.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { exitCodeOfPrune, pruneText } from '../print/care.js';
import { withSession } from '../session.js';

interface Options {
  dryRun?: boolean;
  trustClock?: boolean;
}

export function register(command: Command, context: Context): void {
  command
    .argument('[job]', 'only this job')
    .option('--dry-run', 'only say for every snapshot why it stays or goes')
    .option('--trust-clock', 'go by the clock though it seems to have jumped')
    .action((job: string | undefined, options: Options) => prune(context, job, options));
}

async function prune(context: Context, job: string | undefined, options: Options): Promise<void> {
  const loaded = await context.load();
  const { findJob } = await import('../../config/load.js');
  const jobs = job === undefined ? Object.keys(loaded.config.jobs) : [job];
  for (const name of jobs) findJob(loaded.config, name);
  const { planPrune, startPrune, waitFor } = await import('../../control/care.js');
  const documents: PruneDocument[] = [];
  if (options.dryRun) {
    const { openLog } = await import('../../control/log.js');
    const log = await openLog(loaded.config, { stderr: 'silent' });
    for (const name of jobs) documents.push(await planPrune(loaded, name, log, options));
  } else {
    const interrupt = onInterrupt();
    try {
      await withSession(context, loaded, { command: 'prune', worker: true }, async (session) => {
        for (const name of jobs) {
          const run = await startPrune(session, name, options);
          documents.push(await waitFor<PruneDocument>(session, run, interrupt.signal));
        }
      });
    } catch (error) {
      if (!interrupt.signal.aborted) throw error;
      process.stderr.write('\ninterrupted; the prune goes on with `holdfast up` or the next command\n');
      context.exit(130);
    } finally {
      interrupt.dispose();
    }
  }
  context.result(job === undefined ? documents : documents[0], () => documents.map(pruneText).join('\n'));
  for (const document of documents) context.exit(exitCodeOfPrune(document));
}
