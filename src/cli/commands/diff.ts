import type { Command } from 'commander';
import { HoldfastError } from '../../errors.js';
import { browse, offlineOption } from '../browse.js';
import type { Context } from '../context.js';
import { diffLine } from '../print/entry.js';
import { streamList } from '../print/stream.js';

interface Options {
  below?: string;
  offline?: boolean;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .argument('[before]', 'a snapshot (default: the one before `after`)')
    .argument('[after]', 'a snapshot (default: the latest)', 'latest')
    .option('--below <path>', 'only below this absolute source path')
    .option(...offlineOption)
    .action((job: string, before: string | undefined, after: string, options: Options) =>
      browse(context, job, options, async (browser) => {
        const { diff, resolveSnapshot } = await import('../../control/snapshots.js');
        const now = resolveSnapshot(browser.catalog, after);
        const old =
          before === undefined
            ? browser.catalog.snapshots().find((row) => row.seq < now.seq)
            : resolveSnapshot(browser.catalog, before);
        if (old === undefined) {
          throw new HoldfastError('SnapshotUnknown', `there is no snapshot of ${job} before ${now.id}`, {
            hint: '`holdfast snapshots` lists them.',
          });
        }
        const below = options.below === undefined ? {} : { below: options.below };
        const count = await streamList(context, diff(browser, old.root, now.root, below), diffLine);
        if (count === 0) context.say(`no difference between ${old.id} and ${now.id}`);
      }),
    );
}
