import type { Command } from 'commander';
import type { Up } from '../../control/up.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { localTime } from '../print/format.js';
import { changesText } from '../print/schedule.js';
import { whenAborted } from '../wait.js';

export function register(command: Command, context: Context): void {
  command
    .addHelpText('after', '\nRuns in the foreground until Ctrl-C or SIGTERM; runs in progress go on at the next start.')
    .action(() => up(context));
}

async function up(context: Context): Promise<void> {
  const loaded = await context.load();
  const [{ openLog, logFile }, { startUp }] = await Promise.all([
    import('../../control/log.js'),
    import('../../control/up.js'),
  ]);
  const { quiet, verbose } = context.options;
  const log = await openLog(loaded.config, { stderr: quiet ? 'warn' : verbose ? 'debug' : 'config', debug: verbose });
  const interrupt = onInterrupt();
  try {
    const running = await startUp(loaded, log);
    try {
      context.result(documentOf(running), () => textOf(running, logFile(loaded.config)));
      const worker = running.session.worker;
      await Promise.race([whenAborted(interrupt.signal), ...(worker === undefined ? [] : [worker.failure])]);
      log.info(`${interrupt.name ?? 'the end'}: stopping; once more to stop at once`);
    } finally {
      await running.stop();
    }
    log.info('stopped');
  } finally {
    interrupt.dispose();
  }
}

function documentOf({ session, changes, schedules }: Up) {
  const { path, config } = session.loaded;
  return {
    host: config.host,
    config: path,
    temporal: { address: session.temporal.address, namespace: session.temporal.namespace },
    ui: session.embedded?.ui ?? null,
    changes,
    schedules,
  };
}

function textOf({ session, changes, schedules }: Up, log: string): string {
  const { path, config } = session.loaded;
  const { temporal, embedded } = session;
  const changed = changes.filter((change) => change.action !== 'keep' || change.orphan);
  const lines = [
    `Holdfast is up on ${config.host}.`,
    embedded === undefined
      ? `  Temporal         ${temporal.address}, namespace ${temporal.namespace}`
      : `  Temporal Web UI  ${embedded.ui}`,
    `  config           ${path}`,
    `  log              ${log}`,
  ];
  if (changed.length > 0) lines.push('Changed schedules:', ...indented(changesText(changed)));
  if (changed.some((change) => change.orphan)) {
    lines.push('  hint: `holdfast schedule apply --prune` deletes those that are not in the config any more');
  }
  lines.push(schedules.length === 0 ? 'No job has a schedule.' : 'Schedules:');
  for (const { job, schedule, paused, nextRuns } of schedules) {
    lines.push(`  ${job}: ${schedule}, ${paused ? 'paused' : `next ${localTime(nextRuns[0])}`}`);
  }
  return lines.join('\n');
}

function indented(text: string): string[] {
  return text.split('\n').map((line) => `  ${line}`);
}
