import { secretRegistry } from '../config/redact.js';
import type { MessengerConfig, NotifyConfig } from '../config/schema.js';
import { resolveSecrets } from '../config/secrets.js';
import { leaves } from '../config/sensitive.js';
import { insideUntil } from '../config/wall-clock.js';
import { HoldfastError } from '../errors.js';
import type { Notification } from '../notifiers/notifier.js';
import { openNotifier } from '../notifiers/open.js';
import type { Host } from './host.js';

/** How long after a notifier could not be reached it is tried again, ms. */
export const unsentRetryMs = 15 * 60_000;

/** What became of a notification: `held` back in quiet hours, `folded` into one that was told before or will be. */
export type Told = 'sent' | 'held' | 'folded' | 'unwanted';

/** Services that only watch pings get every one of them, when it happens. */
export function isMessenger(config: NotifyConfig): config is MessengerConfig {
  return config.type !== 'healthchecks' && config.type !== 'uptimekuma';
}

export const wants = (config: NotifyConfig, event: Notification['event']): boolean =>
  config.on.some((one) => one === event);

/** The job's notifiers that want to hear of the event. They are told side by side: one that hangs holds back no other. */
export const listenersOf = (host: Host, job: string, event: Notification['event']): string[] =>
  (host.config.jobs[job]?.notify ?? []).filter((name) => {
    const config = host.config.notify[name];
    return config !== undefined && wants(config, event);
  });

/**
 * Tells one notifier, or holds it back in its quiet hours. Once: the same again is not sent again.
 *
 * @throws HoldfastError what the notifier throws; `SecretMissing`.
 */
export async function tell(host: Host, name: string, notification: Notification, signal: AbortSignal): Promise<Told> {
  const config = host.config.notify[name];
  if (config === undefined) throw new HoldfastError('ConfigInvalid', `there is no notifier ${name}`);
  const { outbox } = host;
  if (outbox.wasSent(name, notification.id)) return 'sent';
  const until = quietUntil(config, notification.event);
  if (until !== undefined) {
    outbox.hold(name, redacted(notification), 'quiet', until);
    return 'held';
  }
  await send(host, name, config, notification, signal);
  return 'sent';
}

/** The same, for what no run waits for: what does not get through is logged, kept, and tried again later. */
export async function tellOrKeep(
  host: Host,
  name: string,
  notification: Notification,
  signal: AbortSignal,
): Promise<void> {
  try {
    await tell(host, name, notification, signal);
  } catch (error) {
    const about = { err: error, notifier: name, event: notification.event };
    host.log.error(about, 'notification not delivered; it is tried again later');
    host.outbox.hold(name, redacted(notification), 'unsent', Date.now() + unsentRetryMs);
  }
}

/** Sends it now. */
export async function send(
  host: Host,
  name: string,
  config: NotifyConfig,
  notification: Notification,
  signal: AbortSignal,
): Promise<void> {
  const resolved = await resolveSecrets(config, `notify.${name}`, { signal });
  await openNotifier(name, resolved).send(redacted(notification), signal);
  host.outbox.sent(name, [notification.id], Date.now());
  host.log.info(
    { notifier: name, event: notification.event, ...(notification.run === null ? {} : { run: notification.run.run }) },
    'notified',
  );
}

export function quietUntil(config: NotifyConfig, event: Notification['event']): number | undefined {
  if (!isMessenger(config) || config.quiet === undefined) return undefined;
  if (config.quiet.urgent.some((one) => one === event)) return undefined;
  return insideUntil(config.quiet, Date.now());
}

/** With every secret that this process knows taken out, wherever it got in. */
export function redacted<T>(value: T): T {
  const copy = structuredClone({ value });
  for (const leaf of leaves(copy)) leaf.set(secretRegistry.redact(leaf.value));
  return copy.value;
}
