import type { LoadedConfig } from '../config/load.js';
import type { Session } from '../control/session.js';
import { HoldfastError } from '../errors.js';
import type { Context } from './context.js';

/** What a session tells on the way, for stderr. */
export function sessionLog(context: Context): { info(message: string): void; warn(message: string): void } {
  return { info: (message) => context.say(message), warn: (message) => context.warn(message) };
}

/** Opens a session for as long as `action` takes; without `worker` only Temporal is brought up. */
export async function withSession<T>(
  context: Context,
  loaded: LoadedConfig,
  options: { command: string; worker?: boolean },
  action: (session: Session) => Promise<T>,
): Promise<T> {
  const { openSession } = await import('../control/session.js');
  if (options.worker === true && loaded.keyPair !== undefined) await refuseOtherWorker(loaded, options.command);
  const session = await openSession(loaded, {
    worker: options.worker ?? false,
    command: `holdfast ${options.command}`,
    log: sessionLog(context),
    verbose: context.options.verbose,
  });
  try {
    return await action(session);
  } finally {
    await session.close();
  }
}

/** What another process's worker does it does without this one's private key. */
async function refuseOtherWorker({ config }: LoadedConfig, command: string): Promise<void> {
  const { workerHolder } = await import('../control/hosted-worker.js');
  const holder = workerHolder(config.state);
  if (holder === undefined) return;
  const who = holder === 'unknown' ? 'another process' : `${holder.command} (process ${holder.pid})`;
  throw new HoldfastError(
    'AlreadyRunning',
    `--identity: ${who} would do this ${command}, and has not got the private key`,
    {
      hint: 'Stop it for that time, or run the same command where the private key is.',
    },
  );
}
