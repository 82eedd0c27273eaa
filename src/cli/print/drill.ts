import type { DrillReport } from '../../workflows/drill-types.js';
import type { ExitCode } from '../context.js';
import { humanBytes, humanCount, humanDuration, localTime, plural } from './format.js';
import { printable, table } from './table.js';

export const exitCodeOfDrill = ({ status }: DrillReport): ExitCode => (status === 'passed' ? 0 : 1);

/** A drill in a few lines: what was restored, what was asked, and what is wrong. */
export function drillText(report: DrillReport): string {
  const { job, status, snapshot, files, bytes, sampled, total, restoreMs, wholeRestoreMs } = report;
  const whole = wholeRestoreMs === null ? '' : `; at that pace everything takes ${humanDuration(wholeRestoreMs)}`;
  const lines = [
    `${job}: drill ${status} after ${humanDuration(report.durationMs)}, snapshot ${snapshot ?? 'none'} (${report.drill})`,
    `  files: ${humanCount(files)} of ${humanCount(sampled.files)} chosen are good (${humanBytes(bytes)}; the snapshot has ${plural(total.files, 'file')}, ${humanBytes(total.bytes)}), restored in ${humanDuration(restoreMs)}${whole}`,
  ];
  for (const { source, name, status: state, tables, rows, durationMs } of report.databases)
    lines.push(
      printable(
        `  database ${source} ${name}: ${state}, ${plural(tables, 'table')}, ${plural(rows, 'row')} in ${humanDuration(durationMs)}`,
      ),
    );
  for (const { kind, assert, status: state } of report.asserts) lines.push(printable(`  ${kind} ${assert}: ${state}`));
  for (const { path, message, code } of report.problems)
    lines.push(printable(`  PROBLEM: ${path === undefined ? '' : `${path}: `}${message} [${code}]`));
  if (report.moreProblems > 0) lines.push(`  and ${plural(report.moreProblems, 'problem')} more`);
  for (const { message, code } of report.warnings) lines.push(printable(`  warning: ${message} [${code}]`));
  return lines.join('\n');
}

export const drillsTable = (reports: readonly DrillReport[]): string =>
  table(
    reports,
    [
      { title: 'DRILL', value: (row) => row.drill },
      { title: 'JOB', value: (row) => row.job },
      { title: 'STARTED', value: (row) => localTime(row.startedAt) },
      { title: 'STATUS', value: (row) => row.status },
      { title: 'FILES', value: (row) => humanCount(row.files) },
      { title: 'SIZE', value: (row) => humanBytes(row.bytes) },
      { title: 'TOOK', value: (row) => humanDuration(row.durationMs) },
      { title: 'PROBLEM', value: (row) => row.problems[0]?.message.split('\n')[0] ?? '' },
    ],
    'No drill has ended yet.',
  );
