import type { CopyUpdate } from '../../control/copy.js';
import type { CopyDocument } from '../../workflows/copy-types.js';
import type { Context } from '../context.js';
import { humanBytes, humanCount, humanDuration, plural } from './format.js';
import { printable } from './table.js';

const shownProblems = 20;

/** A copy's outcome in a few lines. */
export function copyText(document: CopyDocument): string {
  const { job, from, to, status, snapshots, packs, bytes, damaged, durationMs, run } = document;
  const hidden = damaged.length - shownProblems;
  return [
    `${job}: ${status} in ${humanDuration(durationMs)}`,
    `  copied     ${plural(snapshots.copied, 'snapshot')}, ${plural(packs.copied, 'pack')} (${humanBytes(bytes)}) from ${from} to ${to}`,
    `  there now  ${humanCount(snapshots.present)} of ${plural(snapshots.total, 'snapshot')}`,
    ...damaged.slice(0, shownProblems).map(({ name, message }) => printable(`  not copied: ${name}: ${message}`)),
    ...(hidden > 0 ? [`  and ${humanCount(hidden)} more`] : []),
    `  run        ${run}`,
  ].join('\n');
}

export interface CopyDisplay {
  readonly intervalMs: number | undefined;
  update(update: CopyUpdate): void;
  clear(): void;
}

/** One line that is drawn over on a terminal, a line now and then elsewhere, nothing with --quiet. */
export function makeCopyDisplay(context: Context): CopyDisplay {
  if (context.options.quiet) return { intervalMs: undefined, update: () => undefined, clear: () => undefined };
  const live = process.stderr.isTTY && process.env.TERM !== 'dumb';
  let drawn = false;
  return {
    intervalMs: live ? 500 : 10_000,
    update({ status, heartbeats }) {
      const sum = (pick: 'packs' | 'bytes'): number =>
        heartbeats.reduce((total, heartbeat) => total + heartbeat[pick], status?.[pick].copied ?? 0);
      const parts = [`copy: ${status?.phase ?? 'waiting'}`];
      if (status !== undefined && status.packs.total > 0) {
        parts.push(`${humanCount(sum('packs'))} of ${plural(status.packs.total, 'pack')}`);
        parts.push(`${humanBytes(sum('bytes'))} of ${humanBytes(status.bytes.total)}`);
      }
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
