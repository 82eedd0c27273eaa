import type { ScheduleDescription, ScheduleSpec } from '@temporalio/client';
import { splitCron } from '../config/cron.js';
import { formatDuration } from '../config/units.js';

/** A job's `schedule:` as the config has it; durations in milliseconds. */
export interface ScheduleConfig {
  cron?: string | undefined;
  every?: number | undefined;
  timezone?: string | undefined;
  jitter?: number | undefined;
  /** How late a missed start may still happen, ms. */
  catchupWindow?: number | undefined;
}

/** Where neither the schedule nor its cron expression names a time zone, the host's own counts, as with cron. */
export function hostTimezone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
}

/** The same as Temporal takes it. The cron expression is also its own comment: the server keeps only what it compiled from it. */
export function toSpec(schedule: ScheduleConfig): ScheduleSpec {
  const jitter = schedule.jitter ? { jitter: schedule.jitter } : {};
  if (schedule.every !== undefined) return { intervals: [{ every: schedule.every }], ...jitter };
  const { expression, timezone } = splitCron(schedule.cron ?? '');
  return {
    cronExpressions: [`${expression} # ${expression}`],
    timezone: schedule.timezone ?? timezone ?? hostTimezone(),
    ...jitter,
  };
}

/** `cron 0 3 * * * (Europe/Berlin), jitter 5m` or `every 6h`. */
export function timingText(schedule: ScheduleConfig): string {
  const suffix = schedule.jitter ? `, jitter ${formatDuration(schedule.jitter)}` : '';
  if (schedule.every !== undefined) return `every ${formatDuration(schedule.every)}${suffix}`;
  const { expression, timezone } = splitCron(schedule.cron ?? '');
  return `cron ${expression} (${schedule.timezone ?? timezone ?? hostTimezone()})${suffix}`;
}

/** What {@link timingText} says of a schedule made by {@link toSpec}; of one that somebody changed elsewhere, something different. */
export function specText(spec: ScheduleDescription['spec']): string {
  const calendars = spec.calendars ?? [];
  const intervals = spec.intervals ?? [];
  const jitter = spec.jitter ? `, jitter ${formatDuration(Number(spec.jitter))}` : '';
  const limits = spec.skip?.length || spec.startAt || spec.endAt ? ', with exceptions' : '';
  const parts = [
    ...calendars.map((calendar) => `cron ${calendar.comment || JSON.stringify(calendar)} (${spec.timezone || 'UTC'})`),
    ...intervals.map(({ every, offset }) => {
      const phase = offset ? ` after ${formatDuration(Number(offset))}` : '';
      return `every ${formatDuration(Number(every))}${phase}`;
    }),
  ];
  return `${parts.join(' and ') || 'never'}${jitter}${limits}`;
}
