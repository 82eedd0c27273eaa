import type { Command } from 'commander';
import { browse, offlineOption } from '../browse.js';
import type { Context } from '../context.js';
import { entryLine } from '../print/entry.js';
import { streamList } from '../print/stream.js';

interface Options {
  snapshot: string;
  recursive?: boolean;
  offline?: boolean;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<job>', 'a job in the config')
    .argument('[path]', 'an absolute source path')
    .option('-s, --snapshot <snapshot>', 'an id, its beginning, `latest`, or a time', 'latest')
    .option('-r, --recursive', 'everything below')
    .option(...offlineOption)
    .action((job: string, path: string | undefined, options: Options) =>
      browse(context, job, options, async (browser) => {
        const { ls, resolveSnapshot } = await import('../../control/snapshots.js');
        const { root } = resolveSnapshot(browser.catalog, options.snapshot);
        await streamList(context, ls(browser, root, path, { recursive: options.recursive ?? false }), entryLine);
      }),
    );
}
