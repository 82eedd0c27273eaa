import type { Client } from '@temporalio/client';
import { expectedWithin } from '../config/expectation.js';
import type { MessengerConfig } from '../config/schema.js';
import { weekdays } from '../config/schema-notify-common.js';
import { aroundNow } from '../config/wall-clock.js';
import { HoldfastError } from '../errors.js';
import { backAgain, digestNotification, missedNotification, together } from '../notifiers/message.js';
import type { DigestJob, Notification } from '../notifiers/notifier.js';
import type { RunDocument } from '../run-document.js';
import { type Expectation, lookSignal, type Notice, type Observation, watchId } from '../workflows/watch-types.js';
import type { Host } from './host.js';
import { noteLater } from './notify.js';
import type { Held } from './outbox.js';
import { isMessenger, quietUntil, send, type Told, tell, wants } from './tell.js';

const retryMs = 15 * 60_000;
const giveUpMs = 3 * 86_400_000;
const openStatuses: readonly string[] = ['running', 'paused'];

/** Says what is expected of this host's jobs and how they stand. */
export function observe(host: Host): Observation {
  try {
    host.reload();
  } catch (error) {
    // A config that is being edited: what was read last counts on.
    if (!(error instanceof HoldfastError)) throw error;
    host.log.warn({ reason: error.message }, 'the config cannot be read; the last one counts on');
  }
  const jobs: Expectation[] = [];
  for (const [job, config] of Object.entries(host.config.jobs)) {
    const withinMs = expectedWithin(config);
    if (withinMs === undefined) continue;
    const partial = config.expect !== false && config.expect?.partial === true;
    const runs = host.history.list({ job, limit: 500 });
    const success = runs.find(({ status }) => status === 'succeeded' || (partial && status === 'partial'));
    jobs.push({
      job,
      withinMs,
      lastSuccess: success === undefined ? null : endOf(success),
      running: runs.find(({ status }) => openStatuses.includes(status))?.run ?? null,
      notify: config.notify,
    });
  }
  return { jobs, flushAt: nextFlush(host) };
}

const endOf = (run: RunDocument): number => Date.parse(run.endedAt ?? run.startedAt);

function nextFlush(host: Host): number | null {
  const times = digesters(host).map(({ due, next }) => (due ? Date.now() : next));
  const due = host.outbox.nextDue();
  if (due !== null) times.push(due);
  return times.length === 0 ? null : Math.min(...times);
}

/** Asks the watch to look at this host now; whether it runs and hears it does not matter. */
export async function alertWatch(client: Client | undefined, host: string): Promise<void> {
  await client
    ?.withDeadline(Date.now() + 2000, () => client.workflow.getHandle(watchId(host)).signal(lookSignal))
    .catch(() => undefined);
}

/** What a notice says. */
export function noticeOf(host: string, notice: Notice): Notification {
  if (notice.kind === 'back') return backAgain(host, notice.job, iso(notice.due), iso(notice.lastSuccess));
  const { job, lastSuccess, withinMs, due, hostGone, running } = notice;
  return missedNotification(host, job, {
    lastSuccess: lastSuccess === null ? null : iso(lastSuccess),
    withinMs,
    dueAt: iso(due),
    hostGone,
    running,
  });
}

const iso = (ms: number): string => new Date(ms).toISOString();

/** Tells one notifier of a job that was missed, or is back. */
export async function tellNotice(
  host: Host,
  owner: string,
  name: string,
  notice: Notice,
  signal: AbortSignal,
): Promise<Told> {
  const config = host.config.notify[name];
  if (config === undefined) return 'unwanted';
  const notification = noticeOf(owner, notice);
  if (!wants(config, notification.event)) return 'unwanted';
  if (notice.kind === 'missed') {
    host.log.warn({ job: notice.job, notifier: name }, notification.subject);
    if (owner === host.config.host) {
      host.outbox.fail(name, notice.job, 'missed', iso(notice.due), notice.due);
      host.outbox.told(name, notice.job, Date.now());
    }
  }
  return tell(host, name, notification, signal);
}

/** Sends what was held back and is due, and digests. What does not get through is tried again later. */
export async function flush(host: Host, signal: AbortSignal): Promise<{ sent: number; failed: number }> {
  let sent = 0;
  let failed = 0;
  const attempt = async (name: string, action: () => Promise<void>): Promise<void> => {
    try {
      await action();
      sent++;
    } catch (error) {
      signal.throwIfAborted();
      failed++;
      host.log.error({ err: error, notifier: name }, 'notifications not delivered; they are tried again later');
    }
  };
  await Promise.all(host.outbox.due(Date.now()).map((name) => attempt(name, () => sendHeld(host, name, signal))));
  const digests = digesters(host).filter(({ due }) => due);
  await Promise.all(digests.map((digester) => attempt(digester.name, () => sendDigest(host, digester, signal))));
  return { sent, failed };
}

async function sendHeld(host: Host, name: string, signal: AbortSignal): Promise<void> {
  const { outbox } = host;
  const all = outbox.held(name);
  const config = host.config.notify[name];
  const old = all.filter(
    ({ since, reason }) => config === undefined || (reason === 'unsent' && Date.now() - since > giveUpMs),
  );
  for (const one of old) {
    host.log.error({ notifier: name, subject: one.notification.subject }, 'this notification is given up');
    noteOutcome(host, one, 'it was given up');
  }
  outbox.drop(old);
  const held = all.filter((one) => !old.includes(one));
  const notification = together(held.map((one) => one.notification));
  if (config === undefined || notification === undefined) return;
  // Before the attempt: whatever happens to it, the next one is later.
  const until = quietUntil(config, notification.event);
  outbox.postpone(name, until ?? Date.now() + retryMs);
  if (until !== undefined) return;
  await send(host, name, config, notification, signal);
  outbox.sent(
    name,
    held.map((one) => one.notification.id),
    Date.now(),
  );
  outbox.drop(held);
  for (const one of held) noteOutcome(host, one, `it was told at ${iso(Date.now())}`);
}

function noteOutcome(host: Host, { reason, notification, notifier }: Held, outcome: string): void {
  if (reason === 'unsent' && notification.run !== null) noteLater(host, notification.run.run, notifier, outcome);
}

interface Digester {
  name: string;
  config: MessengerConfig;
  /** The period that has ended last. */
  from: number;
  to: number;
  /** When the current one ends. */
  next: number;
  /** Whether the last one has still to be told. */
  due: boolean;
}

/** Notifiers with a digest. One that is new begins with the current period. */
function digesters(host: Host): Digester[] {
  const now = Date.now();
  return Object.entries(host.config.notify).flatMap(([name, config]): Digester[] => {
    if (!isMessenger(config) || config.digest === undefined) return [];
    const settings =
      typeof config.digest === 'string' ? { every: config.digest, at: '07:00', day: 'monday' as const } : config.digest;
    const timezone = 'timezone' in settings ? settings.timezone : undefined;
    const time = {
      at: settings.at,
      ...(settings.every === 'weekly' ? { weekday: weekdays.indexOf(settings.day) } : {}),
      timezone,
    };
    const { last: to, next } = aroundNow(time, now);
    const { last: from } = aroundNow(time, to - 1);
    if (!host.outbox.wasSent(name, 'digests')) host.outbox.sent(name, ['digests', digestKey(to)], now);
    return [{ name, config, from, to, next, due: !host.outbox.wasSent(name, digestKey(to)) }];
  });
}

const digestKey = (to: number): string => `digest ${iso(to)}`;

async function sendDigest(host: Host, digester: Digester, signal: AbortSignal): Promise<void> {
  const { name, config, from, to } = digester;
  const jobs = Object.entries(host.config.jobs)
    .filter(([, job]) => job.notify.includes(name))
    .map(([job]) => digestOf(host, job, from, to));
  const notification = digestNotification(host.config.host, { from: iso(from), to: iso(to), jobs });
  if (!host.outbox.wasSent(name, notification.id)) await send(host, name, config, notification, signal);
  host.outbox.sent(name, ['digests', digestKey(to)], Date.now());
}

function digestOf(host: Host, job: string, from: number, to: number): DigestJob {
  const all = host.history.list({ job, limit: 5000 });
  const runs = { succeeded: 0, partial: 0, failed: 0, cancelled: 0, skipped: 0 };
  let stored = 0;
  let unusual = 0;
  let trouble: string | null = null;
  for (const run of all) {
    const at = endOf(run);
    if (run.endedAt === null || at <= from || at > to) continue;
    const { status } = run;
    if (status === 'queued' || status === 'running' || status === 'paused') continue;
    runs[status]++;
    stored += run.bytes.stored;
    const anomaly = run.warnings.find(({ code }) => code === 'Anomaly');
    if (anomaly !== undefined) unusual++;
    if (status === 'failed' || status === 'partial')
      trouble ??= run.error?.message ?? run.warnings.find(({ code }) => code !== 'Unencrypted')?.message ?? status;
    else if (anomaly !== undefined) trouble ??= anomaly.message;
  }
  const success = all.find(
    ({ status, endedAt }) => status === 'succeeded' && endedAt !== null && Date.parse(endedAt) <= to,
  );
  const lastSuccess = success?.endedAt ?? null;
  const config = host.config.jobs[job];
  const within = config === undefined ? undefined : expectedWithin(config);
  const overdue = within !== undefined && lastSuccess !== null && to - Date.parse(lastSuccess) > within;
  return { job, runs, lastSuccess, overdue, unusual, stored, trouble };
}
