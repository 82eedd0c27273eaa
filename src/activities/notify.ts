import type { NotifyConfig } from '../config/schema.js';
import { HoldfastError } from '../errors.js';
import { runNotification } from '../notifiers/message.js';
import { codeOf, notStored } from '../notifiers/next-step.js';
import type { Notification } from '../notifiers/notifier.js';
import type { RunDocument } from '../run-document.js';
import type { Host } from './host.js';
import type { Trouble } from './outbox.js';
import { isMessenger, redacted, type Told, tell, wants } from './tell.js';

export type RunEvent = 'start' | 'success' | 'recovery' | 'anomaly' | 'warning' | 'failure' | 'auth';

/** How long after a notifier could not be reached it is tried again, ms. */
export const unsentRetryMs = 15 * 60_000;

/** The events a run stands for, the most telling last. `troubled`: something failed since the last success. */
export function eventsOf(run: RunDocument, troubled: boolean): RunEvent[] {
  if (run.status === 'running') return ['start'];
  const unusual: RunEvent[] = run.warnings.some(({ code }) => code === 'Anomaly') ? ['anomaly'] : [];
  if (run.status === 'failed' || run.status === 'partial') {
    const event = run.status === 'failed' ? 'failure' : 'warning';
    return [...unusual, event, ...(refusedBy(run).length > 0 ? (['auth'] as const) : [])];
  }
  if (run.status !== 'succeeded') return [];
  return ['success', ...(troubled ? (['recovery'] as const) : []), ...unusual];
}

const refusals: readonly string[] = ['AuthDenied', 'AuthExpired'];

/** What refused the run's credentials, by name. */
function refusedBy(run: RunDocument): string[] {
  const names = notStored(run)
    .filter(({ error }) => refusals.includes(codeOf(error ?? '')))
    .map(({ name }) => name);
  return refusals.includes(run.error?.code ?? '') ? ['', ...names] : names;
}

/** What makes two failures the same: what failed, not when or after how many bytes. */
function kindOf(run: RunDocument): string {
  const places = notStored(run).map(({ name, status, error }) => `${name} ${status} ${codeOf(error ?? '')}`);
  return [run.status, run.error?.code ?? '', ...places, run.files.unreadable > 0 ? 'unreadable' : ''].join('|');
}

interface Planned {
  config: NotifyConfig;
  event: RunEvent;
  notification: Notification;
  trouble: Trouble | undefined;
}

/** What one notifier of the job is to be told of a run; undefined: nothing. Counts failures, each run once. */
function plan(host: Host, job: string, run: string, name: string): Planned | undefined {
  const document = host.history.get(run);
  const config = host.config.notify[name];
  if (!document || !config) throw new HoldfastError('ConfigInvalid', `there is no notifier ${name} or no run ${run}`);
  const { outbox } = host;
  const failed = document.status === 'failed' || document.status === 'partial';
  let trouble = outbox.trouble(name, job);
  const events = eventsOf(document, trouble !== undefined || previousFailed(host, document));
  if (failed) {
    const at = Date.parse(document.endedAt ?? document.startedAt);
    trouble = outbox.fail(name, job, kindOf(document), run, at);
  }
  const event = events.findLast((one) => wants(config, one));
  if (event === undefined) {
    if (document.status === 'succeeded') outbox.recover(name, job);
    return undefined;
  }
  const repeated =
    trouble === undefined || event === 'start' || event === 'success' || event === 'anomaly'
      ? null
      : { count: failed ? trouble.same : trouble.total, since: new Date(trouble.since).toISOString() };
  return { config, event, trouble, notification: runNotification(host.config.host, event, document, repeated) };
}

function previousFailed(host: Host, document: RunDocument): boolean {
  const previous = host.history
    .list({ job: document.job, limit: 20 })
    .find(
      (other) =>
        other.run !== document.run &&
        other.startedAt < document.startedAt &&
        ['succeeded', 'partial', 'failed'].includes(other.status),
    );
  return previous?.status === 'failed' || previous?.status === 'partial';
}

/** Tells one notifier of the job about a run, unless it has no ear for it or the same was told lately. */
export async function notifyOne(
  host: Host,
  job: string,
  run: string,
  name: string,
  signal: AbortSignal,
): Promise<{ sent: boolean; told: Told }> {
  const planned = plan(host, job, run, name);
  if (planned === undefined) return { sent: false, told: 'unwanted' };
  const { config, event, notification, trouble } = planned;
  // A repetition must not take the recovery that was told for a success that was not.
  const occasion = `${event === 'start' ? 'start' : 'end'} ${run}`;
  if (host.outbox.wasSent(name, occasion)) return { sent: true, told: 'sent' };
  if (isFolded(config, event, trouble)) return { sent: false, told: 'folded' };
  const told = await tell(host, name, notification, signal);
  settle(host, run, job, name);
  host.outbox.sent(name, [occasion], Date.now());
  return { sent: told === 'sent', told };
}

/** Whether a failure that repeats is not told this time. */
function isFolded(config: NotifyConfig, event: RunEvent, trouble: Trouble | undefined): boolean {
  if (!isMessenger(config) || trouble === undefined || trouble.told === 0) return false;
  if (event === 'start' || event === 'success' || event === 'recovery' || event === 'anomaly') return false;
  const { count, every } = config.repeat;
  return trouble.same - trouble.told < count && Date.now() - trouble.toldAt < every;
}

/** What was told, or will be, of a run counts for the next one. */
function settle(host: Host, run: string, job: string, name: string): void {
  const status = host.history.get(run)?.status;
  if (status === 'succeeded') host.outbox.recover(name, job);
  else if (status === 'failed' || status === 'partial') host.outbox.told(name, job, Date.now());
}

/** Records on the run that a notifier could not be reached, so that `runs show` tells; what it was to be told is sent later. */
export function noteUnsent(host: Host, run: string, name: string, reason: string): void {
  host.log.error({ run, notifier: name, reason }, 'notification not delivered; it is tried again later');
  const document = host.history.get(run);
  if (!document) return;
  warn(host, document, `notifier ${name} could not be reached: ${reason}`);
  if (host.config.notify[name] === undefined) return;
  const planned = plan(host, document.job, run, name);
  if (planned === undefined || !isMessenger(planned.config)) return;
  host.outbox.hold(name, redacted(planned.notification), 'unsent', Date.now() + unsentRetryMs);
  settle(host, run, document.job, name);
}

/** Records on the run what became of a notification that did not get through at first. */
export function noteLater(host: Host, run: string, name: string, outcome: string): void {
  const document = host.history.get(run);
  if (document) warn(host, document, `notifier ${name} could not be reached at first: ${outcome}`);
}

function warn(host: Host, document: RunDocument, message: string): void {
  const [, name = ''] = /^notifier (\S+) /.exec(message) ?? [];
  const others = document.warnings.filter(
    (warning) => warning.code !== 'NotifyFailed' || !warning.message.startsWith(`notifier ${name} `),
  );
  host.history.put(host.config.host, { ...document, warnings: [...others, { code: 'NotifyFailed', message }] });
}
