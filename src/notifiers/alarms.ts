import type { RunDocument, Warning } from '../run-document.js';

/** Warnings that somebody has to hear of, however well the run went. */
const alarming: ReadonlySet<string> = new Set([
  'Anomaly',
  'RepositoryRolledBack',
  'IntegrityMismatch',
  'CheckFailed',
  'NotMounted',
  'PruneFailed',
  'SnapshotDamaged',
  'PruneDenied',
  'SpaceLow',
]);

/** What of a run's warnings is alarming, those of unusual figures last. */
export function alarmsOf(run: RunDocument): Warning[] {
  const found = run.warnings.filter(({ code }) => alarming.has(code));
  return [...found.filter(({ code }) => code !== 'Anomaly'), ...found.filter(({ code }) => code === 'Anomaly')];
}

/** What makes two runs alarming in the same way: what is said, but for the figures in it; undefined: nothing is alarming. */
export function alarmKindOf(run: RunDocument): string | undefined {
  const kinds = new Set(alarmsOf(run).map(({ code, message }) => `${code} ${message.replace(figures, '#')}`));
  return kinds.size === 0 ? undefined : [...kinds].sort().join('|');
}

/** Numbers, with their unit. */
const figures = /\d[\d.,:]*(?: ?(?:%|[kMGTP]?B|s|min|days?))?(?![\w])/g;
