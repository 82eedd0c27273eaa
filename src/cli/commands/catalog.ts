import type { Command } from 'commander';
import type { Context } from '../context.js';
import { plural } from '../print/format.js';
import { printable } from '../print/table.js';

export function register(command: Command, context: Context): void {
  command
    .command('rebuild')
    .description("read a job's catalog again from its destinations")
    .argument('<job>', 'a job in the config')
    .action((job: string) => rebuild(context, job));
}

async function rebuild(context: Context, job: string): Promise<void> {
  const loaded = await context.load();
  const [{ openIfUp }, { rebuildCatalog }, { openLog }] = await Promise.all([
    import('../../control/session.js'),
    import('../../control/catalog.js'),
    import('../../control/log.js'),
  ]);
  const session = await openIfUp(loaded);
  try {
    const log = await openLog(loaded.config, { stderr: 'warn' });
    const rebuilt = await rebuildCatalog(loaded, session, job, log);
    context.result(rebuilt, () =>
      [
        `${job}: ${plural(rebuilt.snapshots, 'snapshot')} in ${plural(rebuilt.packs, 'pack')}`,
        ...rebuilt.destinations.map(({ name, objects, error }) =>
          printable(`  ${name}: ${error === null ? plural(objects, 'object') : `not read: ${error}`}`),
        ),
        ...rebuilt.damaged.map(({ message }) => printable(`  damaged: ${message}`)),
      ].join('\n'),
    );
    const missed = rebuilt.damaged.length > 0 || rebuilt.destinations.some((destination) => destination.error !== null);
    if (missed) context.exit(3);
  } finally {
    await session?.close();
  }
}
