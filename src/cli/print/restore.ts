import type { RestoreUpdate } from '../../control/restore.js';
import type { RestoreDocument } from '../../workflows/restore-types.js';
import type { Context } from '../context.js';
import { humanBytes, humanCount, humanDuration, humanRate } from './format.js';
import { RateMeter, timeLeft } from './progress.js';
import { printable } from './table.js';

const shownProblems = 20;

/** A restore's outcome in a few lines. */
export function restoreText(document: RestoreDocument): string {
  const { job, snapshot, status, files, bytes, target, database, durationMs, run } = document;
  const counts = [`${humanCount(files.restored)} restored`];
  if (files.skipped > 0) counts.push(`${humanCount(files.skipped)} kept`);
  if (files.failed > 0) counts.push(`${humanCount(files.failed)} failed`);
  return [
    `${job}: ${status} in ${humanDuration(durationMs)}`,
    `  snapshot   ${snapshot}`,
    `  files      ${counts.join(', ')} (${humanBytes(bytes)})`,
    ...(database === undefined
      ? [`  to         ${printable(target)}`]
      : [
          `  to         ${printable(`${database.into} (${database.server})`)}`,
          `  tables     ${humanCount(database.tables)}, ${humanCount(database.rows)} rows`,
        ]),
    ...problemLines(document),
    `  run        ${run}`,
  ].join('\n');
}

/** What was lost and what is to be said, a line each. */
export function problemLines({
  damaged,
  warnings,
  more,
}: Pick<RestoreDocument, 'damaged' | 'warnings' | 'more'>): string[] {
  const hidden = Math.max(0, damaged.length - shownProblems) + more.damaged;
  return [
    ...damaged.slice(0, shownProblems).map(({ path, message }) => printable(`  failed: ${path}: ${message}`)),
    ...(hidden > 0 ? [`  and ${humanCount(hidden)} more`] : []),
    ...warnings.slice(0, shownProblems).map(({ code, message, path, count }) => {
      const where = path === undefined || message.includes(path) ? '' : ` (${path})`;
      const often = count > 1 ? `, ${humanCount(count)} times` : '';
      return printable(`  warning: ${message}${where} [${code}${often}]`);
    }),
  ];
}

export interface RestoreProgress {
  phase: string;
  files: { done: number; total: number };
  bytes: { done: number; total: number };
}

/** What is counted with what the activities in progress have done on top. */
export function restoreProgress({ status, heartbeats }: RestoreUpdate): RestoreProgress {
  const working = heartbeats.filter((heartbeat) => heartbeat.phase === 'files');
  const files = working.reduce((total, heartbeat) => total + heartbeat.files, 0);
  const bytes = working.reduce((total, heartbeat) => total + heartbeat.bytes, 0);
  const counted = status?.files;
  const done = counted === undefined ? 0 : counted.restored + counted.skipped + counted.failed;
  const total = status?.bytes.total ?? 0;
  return {
    phase: status?.phase ?? 'plan',
    files: { done: Math.min(done + files, counted?.total ?? files), total: counted?.total ?? 0 },
    bytes: { done: Math.min((status?.bytes.restored ?? 0) + bytes, total || bytes), total },
  };
}

export interface RestoreDisplay {
  readonly intervalMs: number | undefined;
  update(update: RestoreUpdate): void;
  clear(): void;
}

/** One line that is drawn over on a terminal, a line now and then elsewhere, nothing with --quiet. */
export function makeRestoreDisplay(context: Context): RestoreDisplay {
  if (context.options.quiet) return { intervalMs: undefined, update: () => undefined, clear: () => undefined };
  const live = process.stderr.isTTY && process.env.TERM !== 'dumb';
  const meter = new RateMeter();
  const since = Date.now();
  let drawn = false;
  return {
    intervalMs: live ? 500 : 10_000,
    update(update) {
      const { phase, files, bytes } = restoreProgress(update);
      meter.add(Date.now(), bytes.done);
      const fraction = bytes.total > 0 ? bytes.done / bytes.total : null;
      const left = timeLeft(fraction, Date.now() - since);
      const parts = [`restore: ${phase}`];
      if (fraction !== null) parts.push(`${Math.floor(fraction * 100)} %`);
      if (files.total > 0) parts.push(`${humanCount(files.done)} of ${humanCount(files.total)} files`);
      if (bytes.total > 0) parts.push(`${humanBytes(bytes.done)} of ${humanBytes(bytes.total)}`);
      if (meter.rate > 0) parts.push(humanRate(meter.rate));
      if (left !== undefined && left > 0) parts.push(`${humanDuration(left)} left`);
      const line = parts.join(' · ').slice(0, (process.stderr.columns ?? 80) - 1);
      process.stderr.write(live ? `\r\u001b[K${line}` : `${line}\n`);
      drawn = live;
    },
    clear() {
      if (drawn) process.stderr.write('\r\u001b[K');
      drawn = false;
    },
  };
}
