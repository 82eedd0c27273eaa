import { isAbsolute, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { RestoreRequest } from '../../control/restore.js';
import { HoldfastError } from '../../errors.js';
import type { OverwriteMode } from '../../workflows/restore-types.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { makeRestoreDisplay, restoreText } from '../print/restore.js';
import { exitCodeOfRun } from '../print/run.js';
import { withSession } from '../session.js';

interface Options {
  to: string;
  snapshot: string;
  overwrite: OverwriteMode;
  from?: string;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .argument('[path...]', 'absolute source paths (default: everything)')
    .requiredOption('--to <dir>', 'restore below this folder: /srv/www goes to DIR/srv/www')
    .option('-s, --snapshot <snapshot>', 'an id, its beginning, `latest`, or a time', 'latest')
    .addOption(
      new Option('--overwrite <mode>', 'what to do with files that are there and differ')
        .choices(['never', 'changed', 'always'])
        .default('never'),
    )
    .option('--from <destination>', 'take it from this destination alone')
    .action((job: string, paths: string[], options: Options) => run(context, job, paths, options));
}

async function run(context: Context, job: string, paths: string[], options: Options): Promise<void> {
  const relative = paths.find((path) => !isAbsolute(path));
  if (relative !== undefined) {
    throw new HoldfastError('UsageInvalid', `expected absolute source paths, found '${relative}'`, {
      hint: `'holdfast ls ${job}' shows where they begin.`,
    });
  }
  const loaded = await context.load();
  const { findJob } = await import('../../config/load.js');
  findJob(loaded.config, job);
  if (options.from !== undefined)
    (await import('../../control/destinations.js')).findDestination(loaded.config, options.from);
  const { expandHome } = await import('../../config/paths.js');
  const request: RestoreRequest = {
    job,
    snapshot: options.snapshot,
    paths,
    target: resolve(expandHome(options.to)),
    overwrite: options.overwrite,
    ...(options.from === undefined ? {} : { destination: options.from }),
  };
  const [{ openLog }, { restore }] = await Promise.all([
    import('../../control/log.js'),
    import('../../control/restore.js'),
  ]);
  const log = await openLog(loaded.config.state, { stderr: context.options.verbose ? 'info' : 'silent' });
  const interrupt = onInterrupt();
  const display = makeRestoreDisplay(context);
  try {
    await withSession(context, loaded, { command: 'restore' }, async (session) => {
      const document = await restore(session, request, {
        log,
        signal: interrupt.signal,
        intervalMs: display.intervalMs,
        onUpdate: (update) => display.update(update),
        onStart: (id, resumed) => {
          if (resumed) context.say(`going on with ${id}, which was left unfinished`);
        },
      });
      display.clear();
      context.result(document, () => restoreText(document));
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
