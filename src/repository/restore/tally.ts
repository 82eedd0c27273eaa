import type { Failure, RestoreWarningCount, Tally } from './plan-files.js';

const maxFailures = 200;
const maxWarnings = 50;

export const newTally = (): Tally => ({
  restored: 0,
  skipped: 0,
  skippedOther: 0,
  failed: 0,
  failedOther: 0,
  bytes: 0,
  failures: [],
  warnings: [],
});

/** Counts a failed file and keeps its name while there is room. */
export function fail(tally: Tally, failure: Failure): void {
  tally.failed++;
  keep(tally, failure);
}

/** Counts and names something lost that is no regular file. */
export function note(tally: Tally, failure: Failure): void {
  tally.failedOther++;
  keep(tally, failure);
}

function keep(tally: Tally, failure: Failure): void {
  if (tally.failures.length < maxFailures) {
    tally.failures.push({ path: failure.path.slice(0, 4096), message: failure.message.slice(0, 500) });
  }
}

/** Warnings are counted by code, with the first one's words and path; those about packs each by its words. */
export function warn(tally: Tally, code: string, message: string, path?: string): void {
  addWarning(tally.warnings, { code, message, count: 1, ...(path === undefined ? {} : { path }) });
}

function addWarning(list: RestoreWarningCount[], warning: RestoreWarningCount): void {
  const known = list.find(
    (other) => other.code === warning.code && (!warning.code.startsWith('Pack') || other.message === warning.message),
  );
  if (known) known.count += warning.count;
  else if (list.length < maxWarnings) list.push({ ...warning });
}

export function addTally(sum: Tally, more: Tally): void {
  sum.restored += more.restored;
  sum.skipped += more.skipped;
  sum.skippedOther += more.skippedOther;
  sum.failed += more.failed;
  sum.failedOther += more.failedOther;
  sum.bytes += more.bytes;
  for (const failure of more.failures) keep(sum, failure);
  for (const warning of more.warnings) addWarning(sum.warnings, warning);
}
