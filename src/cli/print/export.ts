import type { RestoreUpdate } from '../../control/restore.js';
import type { ExportDocument } from '../../workflows/export-types.js';
import type { Context } from '../context.js';
import { humanBytes, humanCount, humanDuration, humanRate } from './format.js';
import { RateMeter } from './progress.js';
import { problemLines, type RestoreDisplay } from './restore.js';
import { printable } from './table.js';

/** An export's outcome in a few lines. */
export function exportText(document: ExportDocument): string {
  const { job, snapshot, status, files, bytes, file, format, encrypted, archiveBytes, durationMs, run } = document;
  const failed = files.failed > 0 ? `, ${humanCount(files.failed)} failed` : '';
  return [
    `${job}: ${status} in ${humanDuration(durationMs)}`,
    `  snapshot   ${snapshot}`,
    `  files      ${humanCount(files.exported)} exported${failed} (${humanBytes(bytes)})`,
    printable(
      `  to         ${file === '-' ? 'stdout' : file} (${encrypted ? 'encrypted ' : ''}${format}, ${humanBytes(archiveBytes)})`,
    ),
    ...problemLines(document),
    `  run        ${run}`,
  ].join('\n');
}

/** One line that is drawn over on a terminal, a line now and then elsewhere, nothing with --quiet. */
export function makeExportDisplay(context: Context): RestoreDisplay {
  if (context.options.quiet) return { intervalMs: undefined, update: () => undefined, clear: () => undefined };
  const live = process.stderr.isTTY && process.env.TERM !== 'dumb';
  const meter = new RateMeter();
  let drawn = false;
  return {
    intervalMs: live ? 500 : 10_000,
    update({ heartbeats }: RestoreUpdate) {
      const [beat] = heartbeats;
      if (beat === undefined) return;
      meter.add(Date.now(), beat.bytes);
      const rate = meter.rate > 0 ? ` · ${humanRate(meter.rate)}` : '';
      const line = `export: ${humanCount(beat.files)} files · ${humanBytes(beat.bytes)}${rate}`;
      process.stderr.write(live ? `\r\u001b[K${line}` : `${line}\n`);
      drawn = live;
    },
    clear() {
      if (drawn) process.stderr.write('\r\u001b[K');
      drawn = false;
    },
  };
}
