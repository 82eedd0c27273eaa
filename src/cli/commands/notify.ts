import type { Command } from 'commander';
import { secretRegistry } from '../../config/redact.js';
import type { Context } from '../context.js';
import { type ErrorDocument, errorDocument, errorText, toHoldfastError } from '../errors.js';
import { humanDuration } from '../print/format.js';
import { table } from '../print/table.js';

const control = () => import('../../control/notifiers.js');

export function register(command: Command, context: Context): void {
  command
    .command('list')
    .description('list the notifiers, what they hear of, and what waits for them')
    .action(() => list(context));
  command
    .command('test')
    .description('send a test message, at once')
    .argument('<name...>', 'notifiers of the config')
    .action((names: string[]) => test(context, names));
}

async function list(context: Context): Promise<void> {
  const { config } = await context.load();
  const rows = (await control()).listNotifiers(config);
  context.result(rows, () =>
    table(
      rows,
      [
        { title: 'NAME', value: (row) => row.name },
        { title: 'TYPE', value: (row) => row.type },
        { title: 'EVENTS', value: (row) => row.on.join(', ') },
        { title: 'JOBS', value: (row) => row.jobs.join(', ') || '-' },
        {
          title: 'WAITING',
          value: (row) => `${row.waiting}${row.undelivered ? ' (undelivered)' : ''}`,
          align: 'right',
        },
      ],
      'the config has no notifiers',
    ),
  );
}

type Result =
  | { name: string; status: 'sent'; ms: number }
  | ({ name: string; status: 'failed'; text: string } & ErrorDocument);

async function test(context: Context, names: string[]): Promise<void> {
  const { config } = await context.load();
  const { testNotifier } = await control();
  const redact = (text: string): string => secretRegistry.redact(text);
  const results: Result[] = [];
  for (const name of names) {
    try {
      const { ms } = await testNotifier(config, name);
      results.push({ name, status: 'sent', ms });
    } catch (error) {
      const known = toHoldfastError(error);
      if (known.code === 'UsageInvalid') throw known;
      results.push({ name, status: 'failed', ...errorDocument(known, redact), text: errorText(known, redact) });
    }
  }
  context.result(
    results.map((result) => {
      if (result.status === 'sent') return result;
      const { text: _, ...document } = result;
      return document;
    }),
    () =>
      results
        .map((result) =>
          result.status === 'sent'
            ? `${result.name}: sent in ${humanDuration(result.ms)}; see whether it arrived`
            : `${result.name}: not sent\n${result.text.trimEnd()}`,
        )
        .join('\n'),
  );
  if (results.some(({ status }) => status === 'failed')) context.exit(1);
}
