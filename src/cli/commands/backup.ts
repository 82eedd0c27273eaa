import type { Command } from 'commander';
import type { StartedRun } from '../../control/backup.js';
import type { Session } from '../../control/session.js';
import { HoldfastError } from '../../errors.js';
import type { BackupOptions, RunDocument } from '../../workflows/types.js';
import type { Context } from '../context.js';
import { type Interrupt, onInterrupt } from '../interrupt.js';
import { makeDisplay } from '../print/display.js';
import { exitCodeOfRun, runText } from '../print/run.js';
import { withSession } from '../session.js';

interface Options {
  full?: boolean;
  differential?: boolean;
  reread?: boolean;
  takeOver?: boolean;
  detach?: boolean;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<job...>', 'names of jobs in the config')
    .option('--full', 'start a new generation')
    .option('--differential', 'refer to the last full snapshot alone')
    .option('--reread', 'read every file, changed or not, and still deduplicate')
    .option('--take-over', 'take over a repository that another state folder owns')
    .option('--detach', "start the runs and don't follow them")
    .action((jobs: string[], options: Options) => backup(context, jobs, options));
}

async function backup(context: Context, jobs: string[], options: Options): Promise<void> {
  if (options.full && options.differential) {
    throw new HoldfastError('UsageInvalid', '--full and --differential exclude each other');
  }
  const repeated = jobs.find((job, at) => jobs.indexOf(job) !== at);
  if (repeated !== undefined) throw new HoldfastError('UsageInvalid', `the job '${repeated}' is named twice`);
  const loaded = await context.load();
  const { checkBackup } = await import('../../control/backup.js');
  for (const job of jobs) checkBackup(loaded.config, job, optionsOf(options));

  const interrupt = onInterrupt();
  try {
    const worker = !options.detach;
    await withSession(context, loaded, { command: 'backup', worker }, async (session) => {
      const { startBackup } = await import('../../control/backup.js');
      const started = await Promise.all(jobs.map((job) => startBackup(session, job, optionsOf(options))));
      if (options.detach) await detach(context, session, started);
      else await follow(context, session, started, interrupt);
    });
  } finally {
    interrupt.dispose();
  }
}

function optionsOf({ full, differential, reread, takeOver }: Options): BackupOptions {
  return {
    ...(full ? { full } : {}),
    ...(differential ? { differential } : {}),
    ...(reread ? { reread } : {}),
    ...(takeOver ? { takeOver } : {}),
  };
}

async function detach(context: Context, session: Session, started: StartedRun[]): Promise<void> {
  if (!session.hosted()) {
    context.warn('no worker is up on this host: the run waits for the next `holdfast up` or `holdfast backup`');
  }
  printStarted(context, started);
}

async function follow(context: Context, session: Session, started: StartedRun[], interrupt: Interrupt): Promise<void> {
  const { followRun } = await import('../../control/follow.js');
  const display = makeDisplay(context);
  for (const { run, status } of started) {
    if (status === 'queued') context.say(`queued behind the run in progress: ${run}`);
  }
  const end = async ({ run, job }: StartedRun): Promise<RunDocument> => {
    const updates = followRun(session, run, { intervalMs: display.intervalMs, signal: interrupt.signal });
    for (;;) {
      const next = await updates.next();
      if (next.done) return next.value;
      display.update(next.value, job);
    }
  };
  let documents: RunDocument[];
  try {
    documents = await Promise.all(started.map(end));
  } catch (error) {
    display.clear();
    if (!interrupt.signal.aborted) throw error;
    leave(context, started);
    return;
  }
  display.clear();
  context.result(documents.length === 1 ? documents[0] : documents, () => documents.map(runText).join('\n\n'));
  for (const { status } of documents) context.exit(exitCodeOfRun(status));
}

function leave(context: Context, started: StartedRun[]): void {
  const noun = started.length === 1 ? 'the run goes' : 'the runs go';
  process.stderr.write(`\ninterrupted; ${noun} on with \`holdfast up\` or the next \`holdfast backup\`. To follow:\n`);
  for (const { run } of started) process.stderr.write(`  holdfast runs watch ${run}\n`);
  if (context.options.json) printStarted(context, started);
  context.exit(130);
}

function printStarted(context: Context, started: StartedRun[]): void {
  const documents = started.map(({ run, job, status }) => ({ run, job, status }));
  context.result(documents.length === 1 ? documents[0] : documents, () =>
    documents.map(({ run, status }) => `${run} ${status}`).join('\n'),
  );
}
