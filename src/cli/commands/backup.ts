import type { Command } from 'commander';
import type { LoadedConfig } from '../../config/load.js';
import type { StartedRun } from '../../control/backup.js';
import type { RunUpdate } from '../../control/follow.js';
import type { Session } from '../../control/session.js';
import { HoldfastError } from '../../errors.js';
import type { BackupOptions, RunDocument } from '../../workflows/types.js';
import type { Context } from '../context.js';
import { type Interrupt, onInterrupt } from '../interrupt.js';
import { type Display, makeDisplay } from '../print/display.js';
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
  const { checkBackup } = await import('../../control/check-backup.js');
  for (const job of jobs) checkBackup(loaded.config, job, optionsOf(options));

  const interrupt = onInterrupt();
  try {
    if (await byUp(context, loaded, jobs, options, interrupt)) return;
    const worker = !options.detach;
    await withSession(context, loaded, { command: 'backup', worker }, async (session) => {
      const { startBackup } = await import('../../control/backup.js');
      const started = await Promise.all(jobs.map((job) => startBackup(session, job, optionsOf(options))));
      if (options.detach) detach(context, started, session.hosted());
      else await followHere(context, session, started, interrupt);
    });
  } finally {
    interrupt.dispose();
  }
}

/** Lets the `holdfast up` of this state folder start and follow the runs; false where there is none that can. */
async function byUp(
  context: Context,
  loaded: LoadedConfig,
  jobs: string[],
  options: Options,
  interrupt: Interrupt,
): Promise<boolean> {
  const display = makeDisplay(context);
  const { askUp, UpGone } = await import('../../control/ask-up.js');
  const order = { jobs, options: optionsOf(options) };
  const asked = await askUp<RunUpdate, RunDocument>(loaded, order, display.intervalMs);
  if (asked === undefined) return false;
  interrupt.signal.addEventListener('abort', asked.close, { once: true });
  try {
    if (interrupt.signal.aborted) asked.close();
    if (options.detach) detach(context, asked.started, true);
    else await follow(context, asked.started, interrupt, display, ({ run }) => asked.follow(run));
  } catch (error) {
    if (!(error instanceof UpGone)) throw error;
    await withSession(context, loaded, { command: 'backup', worker: true }, (session) =>
      followHere(context, session, asked.started, interrupt),
    );
  } finally {
    asked.close();
  }
  return true;
}

function optionsOf({ full, differential, reread, takeOver }: Options): BackupOptions {
  return {
    ...(full ? { full } : {}),
    ...(differential ? { differential } : {}),
    ...(reread ? { reread } : {}),
    ...(takeOver ? { takeOver } : {}),
  };
}

function detach(context: Context, started: StartedRun[], hosted: boolean): void {
  if (!hosted) {
    context.warn('no worker is up on this host: the run waits for the next `holdfast up` or `holdfast backup`');
  }
  printStarted(context, started);
}

async function followHere(
  context: Context,
  session: Session,
  started: StartedRun[],
  interrupt: Interrupt,
): Promise<void> {
  const { followRun } = await import('../../control/follow.js');
  const display = makeDisplay(context);
  const { intervalMs } = display;
  await follow(context, started, interrupt, display, ({ run }) =>
    followRun(session, run, { intervalMs, signal: interrupt.signal }),
  );
}

async function follow(
  context: Context,
  started: StartedRun[],
  interrupt: Interrupt,
  display: Display,
  updatesOf: (run: StartedRun) => AsyncGenerator<RunUpdate, RunDocument>,
): Promise<void> {
  for (const { run, status } of started) {
    if (status === 'queued') context.say(`queued behind the run in progress: ${run}`);
  }
  const end = async (run: StartedRun): Promise<RunDocument> => {
    const updates = updatesOf(run);
    for (;;) {
      const next = await updates.next();
      if (next.done) return next.value;
      display.update(next.value, run.job);
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
