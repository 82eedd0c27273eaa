import { cronLongestGap } from './cron.js';
import type { JobConfig } from './schema.js';

const minuteMs = 60_000;
const dayMs = 86_400_000;

/**
 * The longest time from one success of a job to the next, milliseconds: what `expect` says, else its schedule's longest
 * interval plus grace; undefined: nobody expects anything.
 */
export function expectedWithin({ expect, schedule }: Pick<JobConfig, 'expect' | 'schedule'>): number | undefined {
  if (expect === false) return undefined;
  if (expect?.within !== undefined) return expect.within;
  if (schedule === undefined) return undefined;
  const interval = 'every' in schedule ? schedule.every : cronLongestGap(schedule.cron);
  if (interval === undefined) return undefined;
  const usual = schedule.jitter + Math.min(dayMs, Math.max(15 * minuteMs, interval / 12));
  return Math.round(interval + (expect?.grace ?? usual));
}
