import type { BackupStatusAnswer } from './types.js';

const mib = (bytes: number): string => `${(bytes / 1048576).toFixed(bytes < 10 * 1048576 ? 1 : 0)} MiB`;

/** What the Temporal Web UI shows of a running backup, in Markdown. */
export function detailsText(answer: BackupStatusAnswer): string {
  const { totals, batches } = answer;
  const lines = [
    `**${answer.status}**, ${answer.phase}${batches.total > 0 ? `, batch ${batches.done} of ${batches.total}` : ''}`,
    `${totals.files} files, ${mib(totals.sourceBytes)}; read ${mib(totals.readBytes)}, new ${mib(totals.newBytes)}, stored ${mib(totals.storedBytes)}`,
    ...answer.destinations.map(
      ({ name, state, packs, bytes, error }) =>
        `- ${name}: ${state}, ${packs} packs, ${mib(bytes)}${error === undefined ? '' : ` (${error})`}`,
    ),
  ];
  return lines.join('\n\n');
}
