import type { CheckDocument, PruneDocument } from '../../workflows/care-types.js';
import type { ExitCode } from '../context.js';
import { humanBytes, humanCount, humanDuration, localTime, plural } from './format.js';
import { printable } from './table.js';

/** A prune in a few lines: why each snapshot stays or goes, and what was done. */
export function pruneText({ job, dryRun, destinations }: PruneDocument): string {
  const lines: string[] = [];
  for (const { name, status, error, removed, marked, deleted, freed, repacked, snapshots, warnings } of destinations) {
    const what = dryRun
      ? `${plural(removed, 'snapshot')} would go`
      : `${plural(removed, 'snapshot')} removed, ${plural(marked, 'object')} marked, ${plural(deleted, 'object')} deleted (${humanBytes(freed)}), ${humanCount(repacked)} repacked`;
    lines.push(
      printable(
        `${job} at ${name}: ${status === 'pruned' || status === 'planned' ? what : `${status}: ${error ?? ''}`}`,
      ),
    );
    for (const { id, time, mode, complete, keep, reasons } of snapshots) {
      const state = complete ? mode : `${mode}, incomplete`;
      lines.push(printable(`  ${keep ? 'keep  ' : 'remove'} ${id} ${localTime(time)} ${state}: ${reasons.join(', ')}`));
    }
    for (const { message, code } of warnings ?? []) lines.push(printable(`  warning: ${message} [${code}]`));
  }
  return lines.join('\n');
}

/** 0: all done; 3: a destination was left out; 1: none was pruned. */
export function exitCodeOfPrune({ destinations }: PruneDocument): ExitCode {
  const done = destinations.filter(({ status }) => status === 'pruned' || status === 'planned').length;
  return done === destinations.length ? 0 : done === 0 ? 1 : 3;
}

const checkCodes: Readonly<Record<CheckDocument['status'], ExitCode>> = {
  clean: 0,
  partial: 3,
  repaired: 3,
  damaged: 1,
};
export const exitCodeOfCheck = ({ status }: CheckDocument): ExitCode => checkCodes[status];

const shownFiles = 10;

export function checkText(document: CheckDocument): string {
  const { job, status, destinations, findings, moreFindings, warnings, durationMs } = document;
  const lines = [`${job}: ${status} after ${humanDuration(durationMs)}`];
  for (const { name, error, snapshots, objects, bytes, read, unneeded } of destinations) {
    const spare =
      unneeded.packs > 0 ? `; ${plural(unneeded.packs, 'pack')} (${humanBytes(unneeded.bytes)}) not needed` : '';
    lines.push(
      error === null
        ? `  ${name}: ${plural(snapshots, 'snapshot')}, ${plural(objects, 'object')}, ${humanBytes(bytes)}; ${plural(read.packs, 'pack')} (${humanBytes(read.bytes)}) read${spare}`
        : printable(`  ${name}: not checked: ${error}`),
    );
  }
  for (const { message, files, moreFiles, snapshots, repaired } of findings) {
    lines.push(
      printable(
        `  ${repaired === undefined ? 'DAMAGE' : 'repaired'}: ${message}${repaired === undefined ? '' : ` (from ${repaired})`}`,
      ),
    );
    if (snapshots.length > 0) lines.push(`    snapshots: ${snapshots.slice(0, shownFiles).join(', ')}`);
    for (const { path } of files.slice(0, shownFiles)) lines.push(printable(`    ${path}`));
    const more = moreFiles + Math.max(0, files.length - shownFiles);
    if (more > 0) lines.push(`    and ${plural(more, 'file')} more`);
  }
  if (moreFindings > 0) lines.push(`  and ${plural(moreFindings, 'finding')} more`);
  for (const { message, code } of warnings) lines.push(printable(`  warning: ${message} [${code}]`));
  return lines.join('\n');
}
