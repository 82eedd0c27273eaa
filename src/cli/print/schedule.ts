import type { ScheduleChange, ScheduleInfo } from '../../control/schedules.js';
import { kindOf } from '../../control/schedules.js';
import { localTime } from './format.js';
import { table } from './table.js';

const signs: Readonly<Record<ScheduleChange['action'], string>> = { create: '+', update: '~', delete: '-', keep: ' ' };

/** A diff: what is, or would be, created (+), updated (~) and deleted (-). */
export function changesText(changes: readonly ScheduleChange[]): string {
  if (changes.length === 0) return 'no job has a schedule';
  return changes
    .flatMap(({ action, id, job, changes: fields, orphan }) => [
      `${signs[action]} ${job}${kindOf(id) === 'backup' ? '' : `, ${kindOf(id)}`}${orphan ? ' (not in the config any more)' : action === 'keep' ? ' (unchanged)' : ''}`,
      ...fields.map(({ field, from, to }) => {
        if (action === 'update') return `    ${field}: ${from || '(none)'} -> ${to || '(none)'}`;
        return `    ${field}: ${action === 'delete' ? from : to}`;
      }),
    ])
    .join('\n');
}

export function schedulesTable(schedules: readonly ScheduleInfo[]): string {
  return table(
    schedules,
    [
      { title: 'JOB', value: (row) => row.job },
      { title: 'WHAT', value: (row) => row.kind },
      { title: 'SCHEDULE', value: (row) => row.schedule },
      { title: 'STATE', value: (row) => (row.paused ? 'paused' : row.running.length > 0 ? 'running' : 'waiting') },
      { title: 'NEXT', value: (row) => localTime(row.nextRuns[0]) },
      { title: 'LAST', value: (row) => localTime(row.lastRun?.startedAt) },
    ],
    'no schedules; `holdfast schedule apply` makes those of the config',
  );
}

export function scheduleText(schedule: ScheduleInfo): string {
  const { job, host, id, paused, note, nextRuns, lastRun, running, counts } = schedule;
  return [
    `${job} on ${host}: ${schedule.schedule}`,
    `  id       ${id}`,
    `  state    ${paused ? 'paused' : 'active'}${note === null ? '' : ` (${note})`}`,
    `  next     ${nextRuns.slice(0, 3).map(localTime).join(', ') || '-'}`,
    `  last     ${lastRun === null ? '-' : `${localTime(lastRun.startedAt)} ${lastRun.run}`}`,
    `  running  ${running.join(', ') || '-'}`,
    `  counts   ${counts.started} started, ${counts.skippedOverlap} skipped while another ran`,
  ].join('\n');
}
