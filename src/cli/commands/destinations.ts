import type { Command } from 'commander';
import type { JobUsage, Usage } from '../../control/destinations.js';
import { HoldfastError } from '../../errors.js';
import type { Context } from '../context.js';
import { checksText } from '../print/checks.js';
import { humanBytes, humanCount, plural } from '../print/format.js';
import { printable, table } from '../print/table.js';

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
    .command('usage')
    .description("show what this host's repositories take, and what is free")
    .argument('[name...]', 'destinations (default: all)')
    .action((names: string[]) => usage(context, names));
  command
    .command('retry')
    .description('let runs and deliveries that wait for a destination try again now')
    .action(() => retry(context));
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

async function usage(context: Context, names: string[]): Promise<void> {
  const loaded = await context.load();
  const { findDestination, usage: measure } = await control();
  for (const name of names) findDestination(loaded.config, name);
  const [{ openLog }, { secretRegistry }] = await Promise.all([
    import('../../control/log.js'),
    import('../../config/redact.js'),
  ]);
  const wanted = names.length > 0 ? names : Object.keys(loaded.config.destinations);
  const log = await openLog(loaded.config, { stderr: 'warn' });
  const all = (await measure(loaded, wanted, log)).map((one) =>
    one.error === null ? one : { ...one, error: { ...one.error, message: secretRegistry.redact(one.error.message) } },
  );
  const rows = all.flatMap((one): { one: Usage; job?: JobUsage }[] =>
    one.jobs.length > 0 ? one.jobs.map((job) => ({ one, job })) : [{ one }],
  );
  context.result(all, () =>
    [
      table(rows, [
        { title: 'DESTINATION', value: ({ one }) => one.name },
        { title: 'JOB', value: ({ job }) => job?.job ?? '-' },
        { title: 'SNAPSHOTS', value: ({ job }) => humanCount(job?.snapshots ?? 0), align: 'right' },
        { title: 'PACKS', value: ({ job }) => humanCount(job?.packs ?? 0), align: 'right' },
        { title: 'SIZE', value: ({ job }) => humanBytes(job?.bytes ?? 0), align: 'right' },
        { title: 'FREE', value: ({ one }) => (one.free === null ? '-' : humanBytes(one.free)), align: 'right' },
      ]),
      ...all.flatMap(({ name, error }) => (error === null ? [] : [printable(`${name}: ${error.message}`)])),
    ].join('\n'),
  );
  if (all.some(({ error }) => error !== null)) context.exit(1);
}

async function retry(context: Context): Promise<void> {
  const loaded = await context.load();
  const [{ openIfUp }, { retryNow }] = await Promise.all([
    import('../../control/session.js'),
    import('../../control/runs.js'),
  ]);
  const session = await openIfUp(loaded);
  try {
    const told = session === undefined ? 0 : await retryNow(session);
    context.result({ told }, () =>
      told === 0 ? 'nothing waits' : `told ${plural(told, 'run or delivery', 'runs and deliveries')}`,
    );
  } finally {
    await session?.close();
  }
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
