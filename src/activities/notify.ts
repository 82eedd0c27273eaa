import { resolveSecrets } from '../config/secrets.js';
import { HoldfastError } from '../errors.js';
import type { NotifyEvent } from '../notifiers/notifier.js';
import { Webhook } from '../notifiers/webhook.js';
import type { RunDocument } from '../workflows/types.js';
import type { Host } from './host.js';

/** The events a finished run stands for. */
export function eventsOf(run: RunDocument, previous: RunDocument | undefined): NotifyEvent[] {
  if (run.status === 'running') return ['start'];
  if (run.status === 'failed') return ['failure'];
  if (run.status === 'partial') return ['warning'];
  if (run.status !== 'succeeded') return [];
  return previous?.status === 'failed' || previous?.status === 'partial' ? ['success', 'recovery'] : ['success'];
}

/** Tells one notifier of the job about a run; resolves without sending when it does not ask for this event. */
export async function notifyOne(
  host: Host,
  job: string,
  run: string,
  name: string,
  signal: AbortSignal,
): Promise<{ sent: boolean }> {
  const document = host.history.get(run);
  const config = host.config.notify[name];
  if (!document || !config) throw new HoldfastError('ConfigInvalid', `there is no notifier ${name} or no run ${run}`);
  const previous = host.history
    .list({ job, limit: 20 })
    .find(
      (other) =>
        other.run !== run &&
        other.startedAt < document.startedAt &&
        ['succeeded', 'partial', 'failed'].includes(other.status),
    );
  const event = eventsOf(document, previous)
    .filter((one) => config.on.includes(one))
    .at(-1);
  if (event === undefined) return { sent: false };
  await sendTo(host, name, event, document, signal);
  return { sent: true };
}

/** Sends an event to one notifier. */
export async function sendTo(
  host: Host,
  name: string,
  event: NotifyEvent,
  run: RunDocument,
  signal: AbortSignal,
): Promise<void> {
  const config = host.config.notify[name];
  if (!config) throw new HoldfastError('ConfigInvalid', `there is no notifier ${name}`);
  const resolved = await resolveSecrets(config, `notify.${name}`);
  await new Webhook(name, resolved).send({ event, host: host.config.host, run }, signal);
}

/** Records on the run that a notifier could not be reached, so that `runs show` tells. */
export function noteUnsent(host: Host, run: string, name: string, reason: string): void {
  const document = host.history.get(run);
  if (!document) return;
  const warning = { code: 'NotifyFailed', message: `notifier ${name} could not be reached: ${reason}` };
  host.history.put(host.config.host, { ...document, warnings: [...document.warnings, warning] });
  host.log.warn({ run, notifier: name, reason }, 'notification not delivered');
}
