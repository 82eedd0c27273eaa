import type { Command } from 'commander';
import { HoldfastError } from '../../errors.js';
import type { CheckDocument } from '../../workflows/care-types.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { checkText, exitCodeOfCheck } from '../print/care.js';
import { withSession } from '../session.js';

interface Options {
  destination?: string;
  readData?: string | true;
  repair?: boolean;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .option('--destination <name>', 'only this destination')
    .option('--read-data [percent]', 'download, decrypt and hash everything, or that share, read longest ago first')
    .option('--repair', 'heal from another destination, the catalog or the sources')
    .action((job: string, options: Options) => check(context, job, options));
}

async function check(context: Context, job: string, options: Options): Promise<void> {
  const readData = percentOf(options.readData);
  const loaded = await context.load();
  const { findJob } = await import('../../config/load.js');
  const { destinations } = findJob(loaded.config, job);
  const { destination } = options;
  if (destination !== undefined && !destinations.includes(destination)) {
    throw new HoldfastError('UsageInvalid', `the job ${job} does not store to a destination '${destination}'`, {
      hint: `It stores to ${destinations.join(', ')}.`,
    });
  }
  const interrupt = onInterrupt();
  try {
    await withSession(context, loaded, { command: 'check', worker: true }, async (session) => {
      const { startCheck, waitFor } = await import('../../control/care.js');
      const repair = options.repair === true;
      const run = await startCheck(session, { job, readData, repair, ...(destination ? { destination } : {}) });
      const document = await waitFor<CheckDocument>(session, run, interrupt.signal);
      context.result(document, () => checkText(document));
      context.exit(exitCodeOfCheck(document));
    });
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.stderr.write('\ninterrupted; the check goes on with `holdfast up` or the next command\n');
    if (context.options.json) context.result({ error: { code: 'Cancelled', message: 'interrupted' } }, () => '');
    context.exit(130);
  } finally {
    interrupt.dispose();
  }
}

function percentOf(value: string | true | undefined): number {
  if (value === undefined) return 0;
  if (value === true) return 100;
  const percent = Number(value.replace(/%$/, ''));
  if (percent > 0 && percent <= 100) return percent;
  throw new HoldfastError(
    'UsageInvalid',
    `--read-data: expected a percentage above 0 and at most 100, found '${value}'`,
  );
}
