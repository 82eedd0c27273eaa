import type { NotifyConfig } from '../config/schema.js';
import { HoldfastError } from '../errors.js';
import { alarmKindOf, alarmsOf } from '../notifiers/alarms.js';
import { runNotification } from '../notifiers/message.js';
import { codeOf, notStored } from '../notifiers/next-step.js';
import type { Notification } from '../notifiers/notifier.js';
import type { RunDocument, Warning } from '../run-document.js';
import { type Unsent, unsentWarning, withNotifyWarning } from '../workflows/unsent.js';
import type { Host } from './host.js';
import type { Trouble } from './outbox.js';
import { isMessenger, redacted, type Told, tell, unsentRetryMs, wants } from './tell.js';

export type RunEvent = 'start' | 'success' | 'recovery' | 'anomaly' | 'warning' | 'failure' | 'auth';

/** The events a run stands for, the most telling last. `troubled`: something failed, or was unusual, since the last success. */
export function eventsOf(run: RunDocument, troubled: boolean): RunEvent[] {
  if (run.status === 'running') return ['start'];
  const alarms = alarmsOf(run);
  // What alarms in a run that went well is a warning; in others it is in what is told of them.
  const warning: RunEvent[] = alarms.some(({ code }) => code !== 'Anomaly') ? ['warning'] : [];
  const unusual: RunEvent[] = alarms.some(({ code }) => code === 'Anomaly') ? ['anomaly'] : [];
  if (run.status === 'failed' || run.status === 'partial') {
    const event = run.status === 'failed' ? 'failure' : 'warning';
    return [...unusual, event, ...(refusedBy(run).length > 0 ? (['auth'] as const) : [])];
  }
  if (run.status !== 'succeeded') return [];
  return ['success', ...(troubled ? (['recovery'] as const) : []), ...warning, ...unusual];
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
}

/** Under what name a notifier's outbox counts a job's unusual runs, beside its failures. No job is called that. */
const unusualKey = (job: string): string => `${job}:unusual`;

const isBad = ({ status }: RunDocument): boolean => status === 'failed' || status === 'partial';

/** What one notifier of the job is to be told of a run. Counts failures and unusual runs, each run once. */
function plan(host: Host, job: string, run: string, name: string): Planned | 'folded' | 'unwanted' {
  const document = host.history.get(run);
  const config = host.config.notify[name];
  if (!document || !config) throw new HoldfastError('ConfigInvalid', `there is no notifier ${name} or no run ${run}`);
  const { outbox } = host;
  const bad = isBad(document);
  const alarm = alarmKindOf(document);
  const at = Date.parse(document.endedAt ?? document.startedAt);
  const before = outbox.trouble(name, job);
  const failures = bad ? outbox.fail(name, job, kindOf(document), run, at) : before;
  const oddBefore = outbox.trouble(name, unusualKey(job));
  const oddities = alarm === undefined ? oddBefore : outbox.fail(name, unusualKey(job), alarm, run, at);

  const failed = failures !== undefined || previousFailed(host, document);
  const calm = alarm === undefined && oddBefore !== undefined && oddBefore.told > 0;
  const wanted = eventsOf(document, failed || calm).filter((event) => isHeard(config, document, event));
  const seriesOf = (event: RunEvent): Trouble | undefined => {
    if (event === 'start' || event === 'success') return undefined;
    if (event === 'recovery') return failed ? failures : oddBefore;
    return event === 'anomaly' || !bad ? oddities : failures;
  };
  const event = wanted.findLast((one) => one === 'recovery' || !isFolded(config, seriesOf(one)));
  if (event === undefined) {
    if (document.status === 'succeeded') settle(host, document, name, undefined);
    return wanted.length > 0 ? 'folded' : 'unwanted';
  }
  const series = seriesOf(event);
  const repeated =
    series === undefined
      ? null
      : { count: event === 'recovery' ? series.total : series.same, since: new Date(series.since).toISOString() };
  const was = failed ? 'failed' : 'unusual';
  return { config, event, notification: runNotification(host.config.host, event, document, repeated, was) };
}

/** Whether a notifier has an ear for it. Services that watch pings are to know how runs end, and no more than that. */
function isHeard(config: NotifyConfig, run: RunDocument, event: RunEvent): boolean {
  return wants(config, event) && (isMessenger(config) || event !== 'warning' || isBad(run));
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
  if (typeof planned === 'string') return { sent: false, told: planned };
  const { event, notification } = planned;
  // A repetition must not take the recovery that was told for a success that was not.
  const occasion = `${event === 'start' ? 'start' : 'end'} ${run}`;
  if (host.outbox.wasSent(name, occasion)) return { sent: true, told: 'sent' };
  const told = await tell(host, name, notification, signal);
  settle(host, host.history.get(run), name, event);
  host.outbox.sent(name, [occasion], Date.now());
  return { sent: told === 'sent', told };
}

/** Whether what repeats is not told this time. */
function isFolded(config: NotifyConfig, series: Trouble | undefined): boolean {
  if (!isMessenger(config) || series === undefined || series.told === 0) return false;
  const { count, every } = config.repeat;
  return series.same - series.told < count && Date.now() - series.toldAt < every;
}

/** What was told, or will be, of a run counts for the next one. `event`: as what; undefined: nothing was. */
function settle(host: Host, run: RunDocument | undefined, name: string, event: RunEvent | undefined): void {
  if (run === undefined || event === 'start') return;
  const { outbox } = host;
  const { job } = run;
  const unusual = alarmKindOf(run) !== undefined;
  if (run.status === 'succeeded') outbox.recover(name, job);
  else if (isBad(run) && event !== 'anomaly') outbox.told(name, job, Date.now());
  if (unusual && event !== undefined && event !== 'success' && event !== 'recovery')
    outbox.told(name, unusualKey(job), Date.now());
  else if (!unusual && run.status === 'succeeded') outbox.recover(name, unusualKey(job));
}

/** Records on the run that a notifier could not be reached, so that `runs show` tells; how it ended is sent later. */
export function noteUnsent(host: Host, run: string, unsent: Unsent): void {
  const { name, reason, start } = unsent;
  const later = start === true ? '' : '; it is tried again later';
  host.log.error({ run, notifier: name, reason }, `notification not delivered${later}`);
  const document = host.history.get(run);
  if (!document) return;
  warn(host, document, name, unsentWarning(unsent));
  if (start === true || host.config.notify[name] === undefined) return;
  const planned = plan(host, document.job, run, name);
  if (typeof planned === 'string' || !isMessenger(planned.config)) return;
  host.outbox.hold(name, redacted(planned.notification), 'unsent', Date.now() + unsentRetryMs);
  settle(host, document, name, planned.event);
}

/** Records on the run what became of a notification that did not get through at first. */
export function noteLater(host: Host, run: string, name: string, outcome: string): void {
  const document = host.history.get(run);
  const message = `notifier ${name} could not be reached at first: ${outcome}`;
  if (document) warn(host, document, name, { code: 'NotifyFailed', message });
}

function warn(host: Host, document: RunDocument, name: string, warning: Warning): void {
  host.history.put(host.config.host, { ...document, warnings: withNotifyWarning(document.warnings, name, warning) });
}
