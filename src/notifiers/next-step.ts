import type { RunDocument } from '../run-document.js';
import { alarmsOf } from './alarms.js';

/** What helps against a code at destinations, where the error has no hint of its own. */
const steps: Readonly<Record<string, (names: readonly string[]) => string>> = {
  AuthDenied: (names) =>
    `Renew or correct the credentials of ${listed(names)}; \`holdfast destinations test ${names[0]}\` shows whether they work.`,
  AuthExpired: (names) =>
    `${listed(names.map((name) => `\`holdfast login ${name}\``))}, or put fresh credentials where the config points to; nothing has to be restarted.`,
  DestinationFull: (names) =>
    `Free some space at ${listed(names)}, or keep fewer snapshots; what was missed is delivered by itself.`,
  DestinationReadOnly: (names) =>
    `${listed(names)} refused to be written to: a disk with errors is often mounted read-only. Look at the system's log.`,
  DestinationMissing: (names) => `Plug in or mount ${listed(names)}; what was missed is delivered by itself.`,
  DestinationUnreachable: (names) =>
    `Check the network and the endpoint of ${listed(names)}; what was missed is delivered by itself.`,
  DestinationLost: (names) =>
    `Mount or reconnect ${listed(names)}. If it was emptied on purpose: \`holdfast destinations adopt ${names[0]}\`.`,
  HostKeyMismatch: (names) =>
    `Was ${listed(names)} set up anew? Compare the fingerprint there and put it in the config; else somebody may be in between.`,
};

/** What helps against what failed a run as a whole, where the error has no hint of its own. */
const runSteps: Readonly<Record<string, string>> = {
  SourceMissing:
    'Is its disk or share mounted? Mount it, or correct the path in the config; nothing that was stored before is removed meanwhile.',
};

/** What helps against what alarms in a run that went well. */
const alarmSteps: Readonly<Record<string, (job: string) => string>> = {
  RepositoryRolledBack: (job) =>
    `Find out who put it back or removed snapshots; \`holdfast check ${job} --repair\` brings back what another destination has.`,
  IntegrityMismatch: (job) =>
    `Look after the disk that holds it; \`holdfast check ${job} --repair\` heals what can be healed.`,
  CheckFailed: (job) => `\`holdfast check ${job} --repair\` heals it from another destination or the sources.`,
  NotMounted: () =>
    'Is the disk mounted? `mountPoint` at the destination sees to it that nothing is written while it is not.',
  PruneFailed: () => 'Nothing yet: the next run tries again. If it stays: `holdfast destinations test`.',
  SnapshotDamaged: (job) =>
    `\`holdfast check ${job} --repair\` names the files and heals what can be healed; else a rule lets them go in time.`,
  PruneDenied: () =>
    'Let the credentials delete there, or say `deletes: false` at the destination if they are not meant to.',
  SpaceLow: () => 'Free some space there, or keep fewer snapshots (`retention`), before a run fails for want of it.',
};

/** An error text's code: they begin with it. */
export const codeOf = (error: string): string => /^([A-Z][A-Za-z]+): /.exec(error)?.[1] ?? '';

/** Destinations that did not take the run's snapshot. */
export const notStored = (run: RunDocument): RunDocument['destinations'] =>
  run.destinations.filter(({ status }) => status !== 'stored' && status !== 'healed');

/** What somebody who hears of this run should do; null: nothing. */
export function nextStep(run: RunDocument): string | null {
  if (run.status === 'running') return null;
  if (run.status === 'succeeded') return alarmStep(run);
  const step = stepsOf(run);
  // A run that failed for want of destinations says no more than that; what is wrong with them says more.
  const ownHint = run.error?.hint;
  if (ownHint !== undefined && (step === null || run.error?.code !== 'DestinationMissing')) return ownHint;
  if (step !== null) return step;
  const runStep = runSteps[run.error?.code ?? ''];
  if (runStep !== undefined) return runStep;
  if (run.files.unreadable > 0)
    return `Let the worker's user read the files named below, or exclude them. \`holdfast runs show ${run.run}\` has all of them.`;
  return `\`holdfast runs show ${run.run}\` and \`holdfast logs ${run.run}\` say more.`;
}

/** One step for each kind of trouble at destinations. */
function stepsOf(run: RunDocument): string | null {
  const byCode = new Map<string, string[]>();
  for (const { name, error } of notStored(run)) {
    const code = codeOf(error ?? '');
    byCode.set(code, [...(byCode.get(code) ?? []), name]);
  }
  const found = [...byCode].flatMap(([code, names]) => steps[code]?.(names) ?? []);
  return found.length === 0 ? null : found.join(' ');
}

function alarmStep(run: RunDocument): string | null {
  const found = alarmsOf(run).flatMap(({ code }) => alarmSteps[code]?.(run.job) ?? []);
  return found.length === 0 ? null : [...new Set(found)].join(' ');
}

/** What to do about a run that is unlike the ones before. */
export function unusualStep(run: RunDocument): string {
  const { job, warnings } = run;
  const look = `Is this meant? \`holdfast stats ${job}\` shows the runs before.`;
  const then = warnings.some(({ code }) => code === 'RetentionHeld')
    ? `No snapshot is removed meanwhile; if all is well, \`holdfast anomalies accept ${job}\` lets retention go on.`
    : `If not, keep a good snapshot before retention removes it: \`holdfast snapshots ${job}\`, \`holdfast snapshots pin ${job} SNAPSHOT\`.`;
  return [look, then, alarmStep(run)].filter((step) => step !== null).join(' ');
}

const listed = (names: readonly string[]): string =>
  names.length < 2 ? (names[0] ?? '') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
