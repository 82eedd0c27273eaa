import { createHash } from 'node:crypto';
import type { NotifyEvent } from '../config/schema.js';
import { humanBytes, humanDuration, plural } from '../format.js';
import type { RunDocument } from '../run-document.js';
import { alarmsOf } from './alarms.js';
import { nextStep, notStored, unusualStep } from './next-step.js';
import type { Digest, Missed, Notification, Severity } from './notifier.js';
import { cut, utcTime } from './text.js';

const severities: Readonly<Record<NotifyEvent | 'test', Severity>> = {
  success: 'info',
  recovery: 'info',
  start: 'info',
  digest: 'info',
  test: 'info',
  warning: 'warning',
  anomaly: 'warning',
  failure: 'error',
  missed: 'error',
  drill: 'error',
  damage: 'error',
  auth: 'error',
};
const longestProblem = 500;
const mostProblems = 10;

type Parts = Pick<Notification, 'event' | 'host' | 'job' | 'subject' | 'next'> &
  Partial<Omit<Notification, 'text' | 'severity'>> & {
    /** What tells this notification from any other, for its id. */
    key: string;
  };

/** Puts a notification together: cuts what is long, and writes its text, what to do first. */
export function compose({ key, ...parts }: Parts): Notification {
  const all = parts.problems ?? [];
  const problems = all.slice(0, mostProblems).map((problem) => cut(problem, longestProblem));
  if (all.length > mostProblems) problems.push(`and ${all.length - mostProblems} more`);
  const whole = {
    time: new Date().toISOString(),
    facts: [],
    run: null,
    repeated: null,
    missed: null,
    digest: null,
    ...parts,
    id: createHash('sha256').update(`${parts.host}\n${parts.event}\n${key}`).digest('hex').slice(0, 32),
    severity: severities[parts.event],
    subject: cut(parts.subject, 200),
    next: parts.next === null ? null : cut(parts.next, longestProblem),
    problems,
  };
  return { ...whole, text: plainText(whole) };
}

/** What to do stands first. */
function plainText({ subject, next, facts, problems }: Omit<Notification, 'text'>): string {
  const width = Math.max(0, ...facts.map(({ name }) => name.length));
  const blocks = [
    ...(next === null ? [] : [`What to do: ${next}`]),
    subject,
    ...(problems.length === 0 ? [] : [problems.map((problem) => `- ${problem}`).join('\n')]),
    ...(facts.length === 0 ? [] : [facts.map(({ name, value }) => `${name.padEnd(width)}  ${value}`).join('\n')]),
  ];
  return `${blocks.join('\n\n')}\n`;
}

/** A restore that was tried by schedule failed. */
export function drillNotification(
  host: string,
  drill: { drill: string; job: string; snapshot: string | null; problems: { message: string }[]; durationMs: number },
): Notification {
  return compose({
    key: drill.drill,
    event: 'drill',
    host,
    job: drill.job,
    subject: `${drill.job}: drill FAILED, its backup may not restore`,
    next: `See what failed: \`holdfast drills show ${drill.drill}\`. Then \`holdfast check ${drill.job} --read-data\`.`,
    facts: [
      { name: 'Host', value: host },
      { name: 'Drill', value: drill.drill },
      { name: 'Snapshot', value: drill.snapshot ?? 'none could be chosen' },
      { name: 'Took', value: humanDuration(drill.durationMs) },
    ],
    problems: drill.problems.map(({ message }) => message),
  });
}

/** A check found damage that is not repaired. */
export function damageNotification(
  host: string,
  check: { run: string; job: string; moreFindings: number },
  open: readonly {
    destination: string;
    message: string;
    snapshots: readonly string[];
    files: readonly { path: string }[];
  }[],
  repeated: Notification['repeated'],
): Notification {
  const snapshots = new Set(open.flatMap((finding) => finding.snapshots));
  const files = new Set(open.flatMap((finding) => finding.files.map(({ path }) => path)));
  const places = [...new Set(open.map(({ destination }) => destination))].filter((name) => name !== '*');
  return compose({
    key: check.run,
    event: 'damage',
    host,
    job: check.job,
    subject: `${check.job}: DAMAGED backups found${places.length === 0 ? '' : ` on ${places.join(', ')}`}`,
    next: `Heal what can be healed: \`holdfast check ${check.job} --repair\`. Look at the disk or service that lost data.`,
    facts: [
      { name: 'Snapshots', value: snapshots.size === 0 ? 'none is known to be harmed' : [...snapshots].join(', ') },
      ...(files.size === 0 ? [] : [{ name: 'Files', value: plural(files.size, 'file') }]),
      { name: 'Check', value: check.run },
    ],
    problems: open.map(({ message }) => message),
    repeated: repeated !== null && repeated.count > 1 ? repeated : null,
  });
}

/** A run waits for somebody to renew a destination's credentials. */
export function authNotification(host: string, run: RunDocument, destination: string, reason: string): Notification {
  return compose({
    key: `${run.run} waits for ${destination}`,
    event: 'auth',
    host,
    job: run.job,
    subject: `${run.job}: waits for new credentials for ${destination}`,
    next: `Renew the credentials of ${destination}: \`holdfast login ${destination}\`, or put fresh ones where the config points to. The run goes on by itself.`,
    facts: [
      { name: 'Host', value: host },
      { name: 'Run', value: run.run },
      { name: 'Started', value: utcTime(run.startedAt) },
    ],
    problems: [`${destination}: ${reason}`],
    run,
  });
}

/**
 * What a run's notification says.
 *
 * @param repeated how often it, or what it recovers from, happened.
 * @param was what it recovers from: runs that failed, or ones that were unusual.
 */
export function runNotification(
  host: string,
  event: NotifyEvent,
  run: RunDocument,
  repeated: Notification['repeated'] = null,
  was: 'failed' | 'unusual' = 'failed',
): Notification {
  return compose({
    key: run.run,
    event,
    host,
    job: run.job,
    ...(event === 'start' ? { time: run.startedAt } : run.endedAt === null ? {} : { time: run.endedAt }),
    subject: `${run.job}: ${event === 'recovery' && was === 'unusual' ? 'usual again' : headline(event, run)}${timesText(event, repeated, was)}`,
    next: event === 'start' ? null : event === 'anomaly' ? unusualStep(run) : nextStep(run),
    facts: factsOf(host, run),
    problems: problemsOf(run),
    run,
    repeated,
  });
}

function headline(event: NotifyEvent, run: RunDocument): string {
  const names = notStored(run).map(({ name }) => name);
  const at = names.length === 0 ? '' : ` on ${names.join(', ')}`;
  const total = run.destinations.length;
  const count = total === 0 ? '' : ` (${total - names.length} of ${total} stored)`;
  switch (event) {
    case 'start':
      return 'started';
    case 'success':
      return `stored at ${run.destinations.map(({ name }) => name).join(', ')}`;
    case 'recovery':
      return 'recovered';
    case 'anomaly':
      return `UNUSUAL: ${cut(run.warnings.find(({ code }) => code === 'Anomaly')?.message ?? '', 150)}`;
    case 'auth':
      return names.length > 0
        ? `ACCESS DENIED${at}${count}`
        : `ACCESS DENIED: ${cut(run.error?.message ?? run.status, 120)}`;
    case 'warning': {
      const [first] = run.status === 'succeeded' ? alarmsOf(run) : run.warnings;
      if (run.status === 'succeeded') return `WARNING: ${cut(first?.message ?? '', 150)}`;
      const { unreadable } = run.files;
      const files = unreadable === 0 ? '' : `, ${plural(unreadable, 'file')} unreadable`;
      if (names.length === 0 && files === '' && first !== undefined) return `PARTIAL: ${cut(first.message, 150)}`;
      return `PARTIAL${names.length === 0 ? '' : `, missed${at}${count}`}${files}`;
    }
    default: {
      // Destinations that got nothing, because there was nothing to send, are not what failed.
      const failing = notStored(run).some(({ error }) => error !== null);
      return names.length > 0 && (failing || run.error === undefined || run.error.code === 'DestinationMissing')
        ? `FAILED${at}${count}`
        : `FAILED: ${cut(run.error?.message ?? run.status, 120)}`;
    }
  }
}

function timesText(event: NotifyEvent, repeated: Notification['repeated'], was: 'failed' | 'unusual'): string {
  if (repeated === null) return '';
  const since = utcTime(repeated.since).slice(0, 16);
  if (event === 'recovery')
    return ` after ${plural(repeated.count, was === 'unusual' ? 'unusual run' : 'failure')} since ${since}`;
  return repeated.count > 1 ? `, ${repeated.count} times in a row since ${since}` : '';
}

function factsOf(host: string, run: RunDocument): Notification['facts'] {
  const { files, bytes } = run;
  const facts = [
    { name: 'Host', value: host },
    { name: 'Run', value: run.run },
    { name: 'Started', value: utcTime(run.startedAt) },
  ];
  if (run.status === 'running') return facts;
  if (run.durationMs !== null) facts.push({ name: 'Took', value: humanDuration(run.durationMs) });
  if (run.snapshot !== null)
    facts.push({ name: 'Snapshot', value: `${run.snapshot}${run.mode ? ` (${run.mode})` : ''}` });
  if (files.total > 0) {
    facts.push(
      {
        name: 'Files',
        value: `${files.total} (${files.new} new, ${files.changed} changed, ${files.unreadable} unreadable)`,
      },
      {
        name: 'Data',
        value: `${humanBytes(bytes.source)} (${humanBytes(bytes.read)} read, ${humanBytes(bytes.stored)} stored)`,
      },
    );
  }
  for (const { name, status } of run.destinations) facts.push({ name: `At ${name}`, value: status });
  return facts;
}

function problemsOf(run: RunDocument): string[] {
  const errors = run.error === undefined ? [] : [`${run.error.code}: ${run.error.message}`];
  for (const { name, error } of notStored(run)) if (error !== null) errors.push(`${name}: ${error}`);
  // What is wrong with destinations has been said.
  const warnings = run.warnings
    .filter(({ code }) => code !== 'DestinationMissed' && code !== 'Unencrypted')
    .map(
      ({ code, message, path }) =>
        `${code}: ${message}${path === undefined || message.includes(path) ? '' : ` (${path})`}`,
    );
  return [...errors, ...warnings];
}

export function missedNotification(host: string, job: string, missed: Missed): Notification {
  const { lastSuccess, withinMs, dueAt, hostGone, running } = missed;
  const age =
    lastSuccess === null ? 'no backup yet' : `no backup for ${humanDuration(Date.now() - Date.parse(lastSuccess))}`;
  const next = hostGone
    ? `Is ${host} on, and does \`holdfast up\` (or \`holdfast worker\`) run there? Nothing takes its work.`
    : running !== null
      ? `A run is in progress: \`holdfast runs show ${running}\` says how it stands.`
      : `\`holdfast runs list ${job}\` and \`holdfast schedule show ${job}\` on ${host} say why; \`holdfast backup ${job}\` makes one now.`;
  return compose({
    key: `${job} ${dueAt}`,
    event: 'missed',
    host,
    job,
    subject: `${job}: MISSED, ${age}${hostGone ? `, ${host} is not there` : ''}`,
    next,
    facts: [
      { name: 'Host', value: host },
      { name: 'Last success', value: lastSuccess === null ? 'none' : utcTime(lastSuccess) },
      { name: 'Expected', value: `every ${humanDuration(withinMs)} at the latest` },
      { name: 'Was due', value: utcTime(dueAt) },
    ],
    missed,
  });
}

/** A job succeeded again that had been missed. */
export function backAgain(host: string, job: string, since: string, success: string): Notification {
  return compose({
    key: `${job} ${success}`,
    event: 'recovery',
    host,
    job,
    subject: `${job}: recovered, after it was missed since ${utcTime(since).slice(0, 16)}`,
    next: null,
    facts: [
      { name: 'Host', value: host },
      { name: 'Last success', value: utcTime(success) },
    ],
    repeated: { count: 1, since },
  });
}

export function digestNotification(host: string, digest: Digest): Notification {
  const bad = digest.jobs.filter(
    ({ runs, lastSuccess, overdue, unusual }) =>
      runs.failed + runs.partial + unusual > 0 || overdue || lastSuccess === null,
  );
  const well = digest.jobs.length - bad.length;
  return compose({
    key: `${digest.from} ${digest.to}`,
    event: 'digest',
    host,
    job: null,
    time: digest.to,
    subject:
      bad.length === 0
        ? `${host}: digest, all is well (${plural(well, 'job')})`
        : `${host}: digest, ${bad.length} of ${plural(digest.jobs.length, 'job')} had problems`,
    next:
      bad.length === 0
        ? null
        : `Look at ${bad.map(({ job }) => job).join(', ')}: \`holdfast runs list ${bad[0]?.job ?? ''}\`.`,
    facts: [
      { name: 'From', value: utcTime(digest.from) },
      { name: 'To', value: utcTime(digest.to) },
      ...digest.jobs.map(({ job, runs, lastSuccess, overdue, unusual, stored }) => ({
        name: job,
        value: [
          `${runs.succeeded} succeeded`,
          ...(runs.partial > 0 ? [`${runs.partial} partial`] : []),
          ...(runs.failed > 0 ? [`${runs.failed} FAILED`] : []),
          ...(unusual > 0 ? [`${unusual} UNUSUAL`] : []),
          ...(overdue ? ['OVERDUE'] : []),
          `${humanBytes(stored)} stored`,
          `last success ${lastSuccess === null ? 'never' : utcTime(lastSuccess)}`,
        ].join(', '),
      })),
    ],
    problems: digest.jobs.flatMap(({ job, trouble }) => (trouble === null ? [] : [`${job}: ${trouble}`])),
    digest,
  });
}

const order: readonly Severity[] = ['info', 'warning', 'error'];

/** Several notifications that were held back, as one; the worst of them says what it is. */
export function together(notifications: readonly Notification[]): Notification | undefined {
  const [first] = notifications;
  if (first === undefined || notifications.length === 1) return first;
  const worst = notifications.reduce((a, b) => (order.indexOf(b.severity) > order.indexOf(a.severity) ? b : a), first);
  return compose({
    key: notifications.map(({ id }) => id).join(' '),
    event: worst.event,
    host: first.host,
    job: notifications.every(({ job }) => job === first.job) ? first.job : null,
    subject: `${plural(notifications.length, 'notification')} held back, among them: ${worst.subject}`,
    next: worst.next,
    facts: notifications.map(({ time, subject }) => ({ name: utcTime(time), value: subject })),
    problems: notifications.flatMap(({ problems }) => problems),
    run: worst.run,
  });
}

/** What `notify test` sends. */
export function testNotification(host: string, name: string): Notification {
  return compose({
    key: `${name} ${Date.now()}`,
    event: 'test',
    host,
    job: null,
    subject: `${host}: a test of the notifier ${name}`,
    next: 'Nothing: this is a test, and it arrived.',
    facts: [{ name: 'Host', value: host }],
  });
}
