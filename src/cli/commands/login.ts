import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { HoldfastError } from '../../errors.js';
import type { Context } from '../context.js';

interface Options {
  paste?: true;
  device?: true;
}

export function register(command: Command, context: Context): void {
  command
    .argument('<destination>', 'a Google Drive or Dropbox destination, or its type where there is one of it')
    .option('--paste', 'for servers: agree in a browser elsewhere and paste the address it ends at')
    .option('--device', 'for servers: enter a code in a browser elsewhere (Google, client for limited-input devices)')
    .action((destination: string, options: Options) => login(context, destination, options));
}

async function login(context: Context, destination: string, options: Options): Promise<void> {
  if (options.paste && options.device)
    throw new HoldfastError('UsageInvalid', '--paste and --device exclude each other');
  const way = options.paste ? 'paste' : options.device ? 'device' : 'browser';
  const { config } = await context.load();
  const control = await import('../../control/login.js');
  const result = await control.login(config, destination, way, {
    // Without these lines there is nothing to do, so they come with --quiet too.
    show: (text) => void process.stderr.write(`${text}\n`),
    ask,
  });
  const told = await wakeWaiting(context);
  context.result(
    result,
    () => `${result.destination} is logged in as ${result.account}${told > 0 ? '; what waited for it goes on' : ''}`,
  );
}

/** Lets runs and deliveries that wait for the login try again now; without this they would within a minute. */
async function wakeWaiting(context: Context): Promise<number> {
  const [{ openIfUp }, { retryNow }] = await Promise.all([
    import('../../control/session.js'),
    import('../../control/runs.js'),
  ]);
  try {
    const session = await openIfUp(await context.load());
    if (session === undefined) return 0;
    return await retryNow(session).finally(() => session.close());
  } catch {
    // The login is kept: that it is told of is a courtesy.
    return 0;
  }
}

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const closed = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
    return await Promise.race([lines.question(question), closed]);
  } finally {
    lines.close();
  }
}
