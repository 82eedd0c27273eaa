import type { Command } from 'commander';
import { HoldfastError } from '../../errors.js';
import type { DrillReport } from '../../workflows/drill-types.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { drillText, exitCodeOfDrill } from '../print/drill.js';
import { withSession } from '../session.js';

interface Options {
  sample?: string;
  snapshot?: string;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .option('--sample <percent>', 'how many of the files to restore, such as 5%')
    .option('-s, --snapshot <snapshot>', 'a snapshot; by default the newest complete one')
    .action((job: string, options: Options) => drill(context, job, options));
}

async function drill(context: Context, job: string, { sample: text, snapshot }: Options): Promise<void> {
  const sample = text === undefined ? undefined : percentOf(text);
  const loaded = await context.load();
  const { checkDrill, startDrill, waitFor } = await import('../../control/care.js');
  checkDrill(loaded.config, job);
  const interrupt = onInterrupt();
  try {
    await withSession(context, loaded, { command: 'drill', worker: true }, async (session) => {
      const run = await startDrill(session, {
        job,
        ...(sample === undefined ? {} : { sample }),
        ...(snapshot === undefined ? {} : { snapshot }),
      });
      const report = await waitFor<DrillReport>(session, run, interrupt.signal);
      context.result(report, () => drillText(report));
      context.exit(exitCodeOfDrill(report));
    });
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.stderr.write('\ninterrupted; the drill goes on with `holdfast up` or the next command\n');
    if (context.options.json) context.result({ error: { code: 'Cancelled', message: 'interrupted' } }, () => '');
    context.exit(130);
  } finally {
    interrupt.dispose();
  }
}

function percentOf(value: string): number {
  const percent = /^\d+(\.\d+)?%?$/.test(value) ? Number(value.replace(/%$/, '')) : Number.NaN;
  if (percent > 0 && percent <= 100) return percent;
  throw new HoldfastError('UsageInvalid', `--sample: expected a percentage above 0 and at most 100, found '${value}'`);
}
