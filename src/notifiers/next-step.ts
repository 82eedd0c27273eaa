import type { RunDocument } from '../run-document.js';

/** What helps against a code, where the error has no hint of its own. */
const steps: Readonly<Record<string, (name: string) => string>> = {
  AuthDenied: (name) =>
    `Renew or correct the credentials of ${name}; \`holdfast destinations test ${name}\` shows whether they work.`,
  AuthExpired: (name) =>
    `\`holdfast login ${name}\`, or put fresh credentials where the config points to; nothing has to be restarted.`,
  DestinationFull: (name) =>
    `Free some space at ${name}, or keep fewer snapshots; what it missed is delivered by itself.`,
  DestinationReadOnly: (name) =>
    `${name} refuses writing: a disk with errors is often mounted read-only. Look at the system's log.`,
  DestinationMissing: (name) => `Plug ${name} in or mount it; what it missed is delivered by itself.`,
  DestinationUnreachable: (name) =>
    `Check the network and the endpoint of ${name}; what it missed is delivered by itself.`,
  DestinationLost: (name) =>
    `Mount or reconnect ${name}. If it was emptied on purpose: \`holdfast destinations adopt ${name}\`.`,
};

/** An error text's code: they begin with it. */
export const codeOf = (error: string): string => /^([A-Z][A-Za-z]+): /.exec(error)?.[1] ?? '';

/** Destinations that did not take the run's snapshot. */
export const notStored = (run: RunDocument): RunDocument['destinations'] =>
  run.destinations.filter(({ status }) => status !== 'stored' && status !== 'healed');

/** What somebody who hears of this run should do; null: nothing. */
export function nextStep(run: RunDocument): string | null {
  if (run.status === 'succeeded' || run.status === 'running') return null;
  const missed = notStored(run);
  const step = missed.map(({ name, error }) => steps[codeOf(error ?? '')]?.(name)).find((text) => text !== undefined);
  // A run that failed for want of destinations says no more than that; what is wrong with them says more.
  const ownHint = run.error?.hint;
  if (ownHint !== undefined && (step === undefined || run.error?.code !== 'DestinationMissing')) return ownHint;
  if (step !== undefined) return step;
  if (run.files.unreadable > 0)
    return `Let the worker's user read the files named below, or exclude them. \`holdfast runs show ${run.run}\` has all of them.`;
  return `\`holdfast runs show ${run.run}\` and \`holdfast logs ${run.run}\` say more.`;
}

/** What to do about a run that is unlike the ones before. */
export const unusualStep = ({ job }: RunDocument): string =>
  `Is this meant? \`holdfast stats ${job}\` shows the runs before. If retention is held: \`holdfast anomalies accept ${job}\` lets it go on.`;
