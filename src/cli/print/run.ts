import type { DeliveryStatus, RunDocument, RunStatus, Warning } from '../../workflows/types.js';
import type { ExitCode } from '../context.js';
import { humanBytes, humanCount, humanDuration, localTime, plural, timeOfDay } from './format.js';
import { type Column, printable, table } from './table.js';

const codes: Readonly<Record<RunStatus, ExitCode>> = {
  queued: 0,
  running: 0,
  paused: 0,
  succeeded: 0,
  partial: 3,
  skipped: 3,
  failed: 1,
  cancelled: 1,
};

export function exitCodeOfRun(status: RunStatus): ExitCode {
  return codes[status];
}

const shownWarnings = 20;

/** A run's outcome in a few lines. */
export function runText(document: RunDocument): string {
  const { job, status, files, bytes, snapshot, mode, durationMs, run } = document;
  const took = durationMs === null ? '' : ` in ${humanDuration(durationMs)}`;
  const lines = [`${job}: ${status}${took}`];
  if (snapshot !== null) lines.push(`  snapshot   ${snapshot}${mode === null ? '' : ` (${mode})`}`);
  if (snapshot !== null || files.total > 0) {
    const unreadable = files.unreadable > 0 ? `, ${humanCount(files.unreadable)} unreadable` : '';
    lines.push(
      `  files      ${humanCount(files.total)} (${humanCount(files.new)} new, ${humanCount(files.changed)} changed${unreadable})`,
      `  data       ${humanBytes(bytes.source)} (${humanBytes(bytes.read)} read, ${humanBytes(bytes.new)} new, ${humanBytes(bytes.stored)} stored)`,
    );
  }
  for (const { name, status: state, packs, bytes: stored, error, delivery } of document.destinations) {
    const wrote = packs > 0 ? ` (${plural(packs, 'pack')}, ${humanBytes(stored)})` : '';
    lines.push(`  ${name.padEnd(10)} ${state}${wrote}${error === null ? '' : `: ${printable(error)}`}`);
    if (delivery !== undefined) lines.push(`  ${''.padEnd(10)} ${printable(deliveryText(delivery))}`);
  }
  lines.push(...warningLines(document.warnings));
  if (document.error !== undefined) {
    lines.push(`  error: ${printable(document.error.message)}`);
    if (document.error.hint !== undefined) lines.push(`  hint: ${printable(document.error.hint)}`);
  }
  if (document.joined !== undefined) lines.push(`  gave way to ${document.joined}`);
  lines.push(`  run        ${run}`);
  return lines.join('\n');
}

function deliveryText({ left, error, nextTry }: DeliveryStatus): string {
  const what = left === null ? 'delivery' : `delivery of ${plural(left, 'snapshot')}`;
  if (nextTry === null) return `${what}: in progress`;
  return `${what}: tried again at ${timeOfDay(nextTry)}${error === null ? '' : `: ${error}`}`;
}

function warningLines(warnings: readonly Warning[]): string[] {
  const lines = warnings.slice(0, shownWarnings).map(({ code, message, path }) => {
    const where = path === undefined || message.includes(path) ? '' : ` (${path})`;
    return `  warning: ${printable(`${message}${where}`)} [${code}]`;
  });
  if (warnings.length > shownWarnings) {
    lines.push(`  and ${plural(warnings.length - shownWarnings, 'warning')} more; --json shows all`);
  }
  return lines;
}

const columns: Column<RunDocument>[] = [
  { title: 'RUN', value: (row) => row.run },
  { title: 'STATUS', value: (row) => row.status },
  { title: 'STARTED', value: (row) => localTime(row.startedAt) },
  { title: 'TOOK', value: (row) => (row.durationMs === null ? '-' : humanDuration(row.durationMs)), align: 'right' },
  { title: 'FILES', value: (row) => humanCount(row.files.total), align: 'right' },
  { title: 'STORED', value: (row) => humanBytes(row.bytes.stored), align: 'right' },
  { title: 'SNAPSHOT', value: (row) => row.snapshot ?? '-' },
];

export function runsTable(runs: readonly RunDocument[]): string {
  return table(runs, columns, 'no runs yet');
}
