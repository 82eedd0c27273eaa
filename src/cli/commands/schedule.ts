import type { Command } from 'commander';
import type { ScheduleInfo } from '../../control/schedules.js';
import type { Session } from '../../control/session.js';
import type { Context } from '../context.js';
import { changesText, schedulesTable, scheduleText } from '../print/schedule.js';
import { withSession } from '../session.js';

const schedules = () => import('../../control/schedules.js');

export function register(command: Command, context: Context): void {
  command
    .command('apply')
    .description("make this host's schedules match the config")
    .option('--dry-run', 'only say what would be done')
    .option('--prune', 'delete schedules of jobs that are not in the config any more')
    .action((options: { dryRun?: boolean; prune?: boolean }) => apply(context, options));
  command
    .command('list')
    .description("list this host's schedules")
    .action(() =>
      using(context, 'list', async (session) => {
        const { config } = session.loaded;
        const list = await (await schedules()).listSchedules(
          session.temporal.client,
          config.host,
          Object.keys(config.jobs),
        );
        context.result(list, () => schedulesTable(list));
      }),
    );
  one(command, context, 'show', "show a job's schedule", async (session, job) =>
    (await schedules()).showSchedule(session.temporal.client, session.loaded.config.host, job),
  );
  one(command, context, 'pause', "pause a job's schedule", async (session, job, note) =>
    (await schedules()).pauseSchedule(session.temporal.client, session.loaded.config.host, job, note),
  );
  one(command, context, 'resume', 'let it go on', async (session, job, note) =>
    (await schedules()).resumeSchedule(session.temporal.client, session.loaded.config.host, job, note),
  );
  command
    .command('trigger')
    .description('start the scheduled backup of a job now')
    .argument('<job>', 'a job with a schedule')
    .action((job: string) =>
      using(context, 'trigger', async (session) => {
        const { triggerSchedule } = await schedules();
        const result = await triggerSchedule(session.temporal.client, session.loaded.config.host, job);
        if (result.outcome === 'skipped') context.exit(3);
        else if (!session.hosted())
          context.say('no worker is up on this host: the run waits for the next `holdfast up`');
        context.result(result, () =>
          result.outcome === 'started'
            ? `started ${result.run ?? job}`
            : `skipped: ${result.run ?? 'another run'} is in progress`,
        );
      }),
    );
  command
    .command('delete')
    .description("delete a job's schedule; `schedule apply` makes it again while the config has it")
    .argument('<job>', 'a job with a schedule')
    .action((job: string) =>
      using(context, 'delete', async (session) => {
        const { deleteSchedule } = await schedules();
        const result = await deleteSchedule(session.temporal.client, session.loaded.config.host, job);
        context.result(result, () => `deleted ${result.id}`);
      }),
    );
}

function one(
  parent: Command,
  context: Context,
  name: 'show' | 'pause' | 'resume',
  summary: string,
  action: (session: Session, job: string, note: string | undefined) => Promise<ScheduleInfo>,
): void {
  const command = parent.command(name).description(summary).argument('<job>', 'a job with a schedule');
  if (name !== 'show') command.option('--note <text>', 'why, for whoever looks at the schedule next');
  command.action((job: string, options: { note?: string }) =>
    using(context, name, async (session) => {
      const info = await action(session, job, options.note);
      context.result(info, () => scheduleText(info));
    }),
  );
}

async function apply(context: Context, options: { dryRun?: boolean; prune?: boolean }): Promise<void> {
  await using(context, 'apply', async (session) => {
    const { applyConfig } = await import('../../control/apply.js');
    const changes = await applyConfig(session, options);
    context.result({ dryRun: options.dryRun ?? false, changes }, () => changesText(changes));
    if (options.dryRun) context.say('nothing was changed (--dry-run)');
    if (changes.some((change) => change.orphan)) {
      context.say('hint: `holdfast schedule apply --prune` deletes those that are not in the config any more');
    }
    if (!session.hosted()) context.say('no worker is up on this host: schedules fire while `holdfast up` runs');
  });
}

async function using(context: Context, name: string, action: (session: Session) => Promise<void>): Promise<void> {
  const loaded = await context.load();
  await withSession(context, loaded, { command: `schedule ${name}` }, action);
}
