import type { Command } from 'commander';
import type { Context } from '../context.js';
import { toCount } from '../count.js';
import { drillsTable, drillText } from '../print/drill.js';

const control = () => import('../../control/care.js');

export function register(command: Command, context: Context): void {
  command
    .command('list')
    .description("list this host's drills that have ended, newest first")
    .argument('[job]', 'only drills of this job')
    .option('--limit <count>', 'at most so many', toCount, 50)
    .action((job: string | undefined, options: { limit: number }) => list(context, job, options.limit));
  command
    .command('show')
    .description('show one drill')
    .argument('<drill>', 'the id of a drill')
    .action((drill: string) => show(context, drill));
}

async function list(context: Context, job: string | undefined, limit: number): Promise<void> {
  const loaded = await context.load();
  const reports = (await control()).listDrills(loaded, { limit, ...(job === undefined ? {} : { job }) });
  context.result(reports, () => drillsTable(reports));
}

async function show(context: Context, drill: string): Promise<void> {
  const loaded = await context.load();
  const report = (await control()).showDrill(loaded, drill);
  context.result(report, () => drillText(report));
}
