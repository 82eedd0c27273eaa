import type { Command } from 'commander';
import { HoldfastError } from '../../errors.js';
import type { RunStatus } from '../../workflows/types.js';
import type { Context } from '../context.js';
import { toCount } from '../count.js';
import { onInterrupt } from '../interrupt.js';
import { makeDisplay } from '../print/display.js';
import { progressLines, progressOf } from '../print/progress.js';
import { exitCodeOfRun, runsTable, runText } from '../print/run.js';
import { withSession } from '../session.js';

export function register(command: Command, context: Context): void {
  command
    .command('list')
    .description("list this host's runs, newest first")
    .argument('[job]', 'only runs of this job')
    .option('--limit <count>', 'at most so many', toCount, 50)
    .action((job: string | undefined, options: { limit: number }) => list(context, job, options.limit));
  command
    .command('show')
    .description('show one run')
    .argument('<run>', 'a run id')
    .action((run: string) => show(context, run));
  command
    .command('watch')
    .description('follow a run to its end; the worker is brought up where none is')
    .argument('<run>', 'a run id')
    .action((run: string) => watch(context, run));
  command
    .command('pause')
    .description('hold a run between batches')
    .argument('<run>', 'a run id')
    .action((run: string) => signal(context, run, 'pause'));
  command
    .command('resume')
    .description('let a paused run go on')
    .argument('<run>', 'a run id')
    .action((run: string) => signal(context, run, 'resume'));
  command
    .command('cancel')
    .description('cancel a run')
    .argument('<run>', 'a run id')
    .action((run: string) => cancel(context, run));
}

const noServer = 'no Temporal server is up: this is what the history of this host says (`holdfast up` starts it)';
const noWorker = 'no worker is up on this host: runs in progress wait for the next `holdfast up` or `holdfast backup`';

async function list(context: Context, job: string | undefined, limit: number): Promise<void> {
  const loaded = await context.load();
  const [{ openIfUp }, { listRuns }] = await Promise.all([
    import('../../control/session.js'),
    import('../../control/runs.js'),
  ]);
  const session = await openIfUp(loaded);
  try {
    const runs = await listRuns(loaded, session, { limit, ...(job === undefined ? {} : { job }) });
    if (session === undefined) context.say(noServer);
    else if (runs.some((run) => isOpen(run.status)) && !session.hosted()) context.say(noWorker);
    context.result(runs, () => runsTable(runs));
  } finally {
    await session?.close();
  }
}

async function show(context: Context, run: string): Promise<void> {
  const loaded = await context.load();
  const [{ openIfUp }, { showRun }] = await Promise.all([
    import('../../control/session.js'),
    import('../../control/runs.js'),
  ]);
  const session = await openIfUp(loaded);
  try {
    const { document, update } = await showRun(loaded, session, run);
    if (session === undefined) context.say(noServer);
    else if (update?.waiting === 'worker') context.say(noWorker);
    context.result(document, () => {
      if (update === undefined) return runText(document);
      const progress = progressOf(update, document.job);
      return [...progressLines({ ...progress, status: document.status }, 0, undefined), `  run ${run}`].join('\n');
    });
  } finally {
    await session?.close();
  }
}

async function watch(context: Context, run: string): Promise<void> {
  const loaded = await context.load();
  const interrupt = onInterrupt();
  try {
    await withSession(context, loaded, { command: 'runs watch', worker: true }, async (session) => {
      const [{ followRun }, { showRun }] = await Promise.all([
        import('../../control/follow.js'),
        import('../../control/runs.js'),
      ]);
      const { document, update } = await showRun(loaded, session, run);
      const display = makeDisplay(context, true);
      let end = document;
      if (update !== undefined) {
        const updates = followRun(session, run, { intervalMs: display.intervalMs, signal: interrupt.signal });
        try {
          for (let next = await updates.next(); ; next = await updates.next()) {
            if (next.done) {
              end = next.value;
              break;
            }
            display.update(next.value, document.job);
          }
        } catch (error) {
          if (!interrupt.signal.aborted) throw error;
          context.exit(130);
          return;
        } finally {
          display.clear();
        }
      }
      // Following is NDJSON: the run's document is its last line.
      if (context.options.json) context.event(end);
      else context.result(end, () => runText(end));
      context.exit(exitCodeOfRun(end.status));
    });
  } finally {
    interrupt.dispose();
  }
}

async function signal(context: Context, run: string, name: 'pause' | 'resume'): Promise<void> {
  await control(context, run, `runs ${name}`, async (session) => {
    const { signalRun } = await import('../../control/runs.js');
    return signalRun(session, run, name);
  });
}

async function cancel(context: Context, run: string): Promise<void> {
  await control(context, run, 'runs cancel', async (session) => {
    const { cancelRun } = await import('../../control/runs.js');
    const status = await cancelRun(session, run);
    if (isOpen(status)) context.say('asked to stop; it ends once it has left everything in order');
    return status;
  });
}

type SessionOf = Parameters<Parameters<typeof withSession>[3]>[0];

async function control(
  context: Context,
  run: string,
  command: string,
  action: (session: SessionOf) => Promise<RunStatus>,
): Promise<void> {
  if (!run.startsWith('backup/')) {
    throw new HoldfastError('RunUnknown', `there is no run ${run}`, { hint: '`holdfast runs list` shows them.' });
  }
  const loaded = await context.load();
  await withSession(context, loaded, { command }, async (session) => {
    const status = await action(session);
    if (isOpen(status) && !session.hosted()) context.say(noWorker);
    context.result({ run, status }, () => `${run}: ${status}`);
  });
}

function isOpen(status: RunStatus): boolean {
  return status === 'queued' || status === 'running' || status === 'paused';
}
