import type { Command } from 'commander';
import { browse, offlineOption } from '../browse.js';
import type { Context } from '../context.js';
import { entryLine } from '../print/entry.js';
import { streamList } from '../print/stream.js';

interface Options {
  snapshot?: string;
  all?: boolean;
  ignoreCase?: boolean;
  offline?: boolean;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .argument('<pattern>', "a glob such as '*.php': of names, or of whole paths where it has a /")
    .option('-s, --snapshot <snapshot>', 'only in this snapshot: an id, its beginning, `latest`, or a time')
    .option('--all', 'in each snapshot, also where the file is the same as in the next')
    .option('-i, --ignore-case', 'upper and lower case are the same')
    .option(...offlineOption)
    .action((job: string, pattern: string, options: Options) =>
      browse(context, job, options, async (browser) => {
        const { find, resolveSnapshot } = await import('../../control/snapshots.js');
        const { catalog } = browser;
        const roots =
          options.snapshot === undefined
            ? catalog.snapshots().map((row) => row.root)
            : [resolveSnapshot(catalog, options.snapshot).root];
        const found = find(browser, roots, pattern, {
          ignoreCase: options.ignoreCase ?? false,
          unique: !options.all,
        });
        const count = await streamList(context, found, (entry) => `${entry.snapshot} ${entryLine(entry)}`);
        if (count === 0) context.say('nothing found');
      }),
    );
}
