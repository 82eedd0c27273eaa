import type { Command } from 'commander';
import { HoldfastError } from '../../errors.js';
import type { Context } from '../context.js';
import { checksText } from '../print/checks.js';
import { table } from '../print/table.js';

const control = () => import('../../control/destinations.js');

export function register(command: Command, context: Context): void {
  command
    .command('list')
    .description('list the destinations and the jobs that store to them')
    .action(() => list(context));
  command
    .command('test')
    .description('write, read back and delete a probe')
    .argument('[name...]', 'destinations (default: all)')
    .action((names: string[]) => test(context, names));
  command
    .command('adopt')
    .description('let the next backup fill a destination again that lost its repository')
    .argument('<name>', 'a destination')
    .argument('[job...]', 'jobs (default: all that store there)')
    .action((name: string, jobs: string[]) => adopt(context, name, jobs));
}

async function list(context: Context): Promise<void> {
  const { config } = await context.load();
  const { jobsOf, placeOf } = await control();
  const rows = Object.entries(config.destinations).map(([name, destination]) => ({
    name,
    type: destination.type,
    place: placeOf(destination),
    jobs: jobsOf(config, name),
  }));
  context.result(rows, () =>
    table(rows, [
      { title: 'NAME', value: (row) => row.name },
      { title: 'TYPE', value: (row) => row.type },
      { title: 'PLACE', value: (row) => row.place },
      { title: 'JOBS', value: (row) => row.jobs.join(', ') || '-' },
    ]),
  );
}

async function test(context: Context, names: string[]): Promise<void> {
  const { config } = await context.load();
  const { findDestination } = await control();
  for (const name of names) findDestination(config, name);
  const [{ destinationCheck }, { secretRegistry }] = await Promise.all([
    import('../../control/doctor.js'),
    import('../../config/redact.js'),
  ]);
  const wanted = names.length > 0 ? names : Object.keys(config.destinations);
  const found = await Promise.all(wanted.map((name) => destinationCheck(config, name)));
  const checks = found.flat().map((check) => ({ ...check, message: secretRegistry.redact(check.message) }));
  context.result({ checks }, () => checksText(checks));
  if (checks.some((check) => check.status === 'fail')) context.exit(1);
}

async function adopt(context: Context, name: string, jobs: string[]): Promise<void> {
  const loaded = await context.load();
  const { adopt: adoptNow, findDestination, jobsOf } = await control();
  findDestination(loaded.config, name);
  const users = jobsOf(loaded.config, name);
  const other = jobs.find((job) => !users.includes(job));
  if (other !== undefined) {
    throw new HoldfastError('UsageInvalid', `the job '${other}' does not store to ${name}`, {
      hint: `Jobs that do: ${users.join(', ') || 'none'}.`,
    });
  }
  const wanted = jobs.length > 0 ? jobs : users;
  const { openLog } = await import('../../control/log.js');
  await adoptNow(loaded, name, wanted, await openLog(loaded.config, { stderr: 'warn' }));
  context.result(
    { destination: name, jobs: wanted },
    () => `${name} is adopted: the next backup of ${wanted.join(', ') || 'no job'} fills it again`,
  );
}
