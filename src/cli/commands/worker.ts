import { type Command, Option } from 'commander';
import type { WorkerRole } from '../../control/hosted-worker.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { whenAborted } from '../wait.js';

export function register(command: Command, context: Context): void {
  command
    .addOption(
      new Option(
        '--role <role>',
        "control: workflows and notifications; host: work on this host's disks (default: both)",
      ).choices(['control', 'host']),
    )
    .action((options: { role?: WorkerRole }) => worker(context, options.role));
}

async function worker(context: Context, role: WorkerRole | undefined): Promise<void> {
  const loaded = await context.load();
  const [{ openLog }, { startWorkerAlone }] = await Promise.all([
    import('../../control/log.js'),
    import('../../control/up.js'),
  ]);
  const { quiet, verbose } = context.options;
  const log = await openLog(loaded.config, {
    stderr: quiet ? 'warn' : verbose ? 'debug' : 'config',
    debug: verbose,
  });
  const roles: WorkerRole[] = role === undefined ? ['control', 'host'] : [role];
  const interrupt = onInterrupt();
  try {
    const session = await startWorkerAlone(loaded, roles, log);
    try {
      const { address, namespace } = session.temporal;
      context.result(
        { host: loaded.config.host, roles, temporal: { address, namespace } },
        () =>
          `The worker (${roles.join(', ')}) of ${loaded.config.host} serves Temporal at ${address}, namespace ${namespace}.`,
      );
      await Promise.race([
        whenAborted(interrupt.signal),
        ...(session.worker === undefined ? [] : [session.worker.failure]),
      ]);
      log.info(`${interrupt.name ?? 'the end'}: stopping; once more to stop at once`);
    } finally {
      await session.close();
    }
  } finally {
    interrupt.dispose();
  }
}
