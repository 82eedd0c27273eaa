import { HoldfastError } from '../errors.js';
import { authNotification } from '../notifiers/message.js';
import type { Host } from './host.js';
import { listenersOf, tellOrKeep } from './tell.js';

/** Whether other credentials could help. */
export function isAuth(error: unknown): boolean {
  return error instanceof HoldfastError && (error.code === 'AuthExpired' || error.code === 'AuthDenied');
}

/** Whether the error says no more than that a drive that comes and goes is not plugged in. */
export function isAway(host: Host, destination: string, error: unknown): boolean {
  const config = host.config.destinations[destination];
  const optional = config?.type === 'local' && config.presence === 'optional';
  return optional && error instanceof HoldfastError && error.code === 'DestinationMissing';
}

/** Tells, once, that a run waits for somebody to renew a destination's credentials: on the run, in the log, to the job's notifiers. */
export async function noteWaiting(
  host: Host,
  { input, run, destination, reason }: { input: { job: string }; run: string; destination: string; reason: string },
  signal: AbortSignal,
): Promise<void> {
  const document = host.history.get(run);
  if (!document) return;
  const message = `${destination} is waited for: ${reason}`;
  host.log.warn({ run, destination }, message);
  const noted = { ...document, warnings: [...document.warnings, { code: 'AuthExpired', message }] };
  // What has ended is recorded as it ended.
  if (document.endedAt === null) host.history.put(host.config.host, noted);
  const notification = authNotification(host.config.host, noted, destination, reason);
  await Promise.all(listenersOf(host, input.job, 'auth').map((name) => tellOrKeep(host, name, notification, signal)));
}
