import type { Command } from 'commander';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { copyText, makeCopyDisplay } from '../print/copy.js';
import { exitCodeOfRun } from '../print/run.js';
import { withSession } from '../session.js';

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .requiredOption('--from <destination>', 'the destination that holds the repository')
    .requiredOption('--to <destination>', 'the destination to bring it to')
    .action((job: string, options: { from: string; to: string }) => run(context, { job, ...options }));
}

async function run(context: Context, request: { job: string; from: string; to: string }): Promise<void> {
  const loaded = await context.load();
  const [{ openLog }, { checkCopy, copy }] = await Promise.all([
    import('../../control/log.js'),
    import('../../control/copy.js'),
  ]);
  checkCopy(loaded.config, request);
  const log = await openLog(loaded.config, { stderr: context.options.verbose ? 'info' : 'silent' });
  const interrupt = onInterrupt();
  const display = makeCopyDisplay(context);
  try {
    await withSession(context, loaded, { command: 'copy' }, async (session) => {
      const document = await copy(session, request, {
        log,
        signal: interrupt.signal,
        intervalMs: display.intervalMs,
        onUpdate: (update) => display.update(update),
        onStart: (id, resumed) => {
          if (resumed) context.say(`going on with ${id}, which was left unfinished`);
        },
      });
      display.clear();
      context.result(document, () => copyText(document));
      context.exit(exitCodeOfRun(document.status));
    });
  } catch (error) {
    display.clear();
    if (!interrupt.signal.aborted) throw error;
    process.stderr.write('\ninterrupted; the same command goes on where this one stopped\n');
    if (context.options.json) context.result({ error: { code: 'Cancelled', message: 'interrupted' } }, () => '');
    context.exit(130);
  } finally {
    interrupt.dispose();
  }
}
