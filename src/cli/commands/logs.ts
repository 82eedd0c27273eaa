import { type Command, InvalidArgumentError, Option } from 'commander';
import type { LogEntry } from '../../control/log-line.js';
import type { Context } from '../context.js';
import { onInterrupt } from '../interrupt.js';
import { printable } from '../print/table.js';

interface Options {
  follow?: boolean;
  level: string;
  lines?: number;
}

export function register(command: Command, context: Context): void {
  command
    .argument('[what]', 'a job, or the id of a run')
    .option('-f, --follow', 'go on with what is written from now on')
    .addOption(
      new Option('--level <level>', 'at least this').choices(['debug', 'info', 'warn', 'error']).default('debug'),
    )
    .option('-n, --lines <count>', 'the last so many (default: 200; of a run: all)', toCount)
    .action((what: string | undefined, options: Options) => logs(context, what, options));
}

function toCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 0) throw new InvalidArgumentError('expected a whole number.');
  return count;
}

async function logs(context: Context, what: string | undefined, { follow, level, lines }: Options): Promise<void> {
  const { config } = await context.load();
  const [{ readLogs, followLogs }, { lineText }] = await Promise.all([
    import('../../control/logs.js'),
    import('../../control/log-line.js'),
  ]);
  const limit = lines ?? (what?.includes('/') ? undefined : 200);
  const query = { level, ...(what === undefined ? {} : { of: what }), ...(limit === undefined ? {} : { limit }) };
  const text = (entry: LogEntry): string => printable(lineText(entry, { date: true }).trimEnd());
  const entries = readLogs(config, query);
  if (!follow) {
    context.result(entries, () => (entries.length === 0 ? 'nothing is logged' : entries.map(text).join('\n')));
    return;
  }
  // Following is NDJSON.
  const print = (entry: LogEntry): void => {
    if (context.options.json) context.event(entry);
    else process.stdout.write(`${text(entry)}\n`);
  };
  const interrupt = onInterrupt();
  try {
    for (const entry of entries) print(entry);
    for await (const entry of followLogs(config, query, interrupt.signal)) print(entry);
  } finally {
    interrupt.dispose();
  }
}
