import type { Command } from 'commander';
import type { Context } from '../context.js';
import { localTime } from '../print/format.js';
import { table } from '../print/table.js';

const control = () => import('../../control/stats.js');

export function register(command: Command, context: Context): void {
  command
    .command('list')
    .description('list the jobs whose retention is held, and why')
    .action(() => list(context));
  command
    .command('accept')
    .description('take what the newest run found for the usual, and let retention go on')
    .argument('<job>', 'a job')
    .action((job: string) => accept(context, job));
}

async function list(context: Context): Promise<void> {
  const loaded = await context.load();
  const held = (await control()).heldJobs(loaded);
  context.result(held, () =>
    table(
      held,
      [
        { title: 'JOB', value: (row) => row.job },
        { title: 'SINCE', value: (row) => localTime(row.since) },
        { title: 'RUN', value: (row) => row.run },
        { title: 'WHY', value: (row) => row.reason },
      ],
      'No job is held.',
    ),
  );
}

async function accept(context: Context, job: string): Promise<void> {
  const loaded = await context.load();
  const held = (await control()).acceptAnomalies(loaded, job);
  context.result({ job, held }, () =>
    held
      ? `Retention of ${job} goes on with the next run.`
      : `${job} was not held; what its newest run found counts as usual.`,
  );
}
