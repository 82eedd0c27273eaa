import { machineTimezone } from './timezone.js';

/** When a time of day comes, by the clock on the wall of a time zone. Times are milliseconds. */

const minuteMs = 60_000;
const dayMs = 86_400_000;

/** A moment as that zone's clock and calendar show it, as if they were UTC's. */
function wallTime(at: number, timezone: string): number {
  const parts = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  }).formatToParts(at);
  const part = (type: string): number => Number(parts.find((one) => one.type === type)?.value);
  return Date.UTC(part('year'), part('month') - 1, part('day'), part('hour'), part('minute'), part('second'));
}

/** The moment at which that zone's clock shows `wall`; where it skips it, the moment of the jump or just after. */
function momentOf(wall: number, timezone: string): number {
  let at = wall;
  // The offset at a guess gives a better guess; twice, since it may change in between.
  for (let turn = 0; turn < 2; turn++) at = wall - (wallTime(at, timezone) - Math.floor(at / 1000) * 1000);
  return at;
}

/** Minutes after midnight of '07:00'. */
export function minutesOf(time: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  return hours * 60 + minutes;
}

export interface TimeOfDay {
  /** '07:00'. */
  at: string;
  /** 0 is Sunday; left out: every day. */
  weekday?: number;
  /** Default: this machine's. */
  timezone?: string | undefined;
}

/** The last moment not after `now`, and the first after it, at which the clock shows this time. */
export function aroundNow(time: TimeOfDay, now: number): { last: number; next: number } {
  const timezone = time.timezone ?? machineTimezone();
  const midnight = Math.floor(wallTime(now, timezone) / dayMs) * dayMs;
  const moments: number[] = [];
  for (let day = -8; day <= 8; day++) {
    const date = midnight + day * dayMs;
    if (time.weekday !== undefined && new Date(date).getUTCDay() !== time.weekday) continue;
    moments.push(momentOf(date + minutesOf(time.at) * minuteMs, timezone));
  }
  const last = moments.findLast((moment) => moment <= now) ?? now;
  return { last, next: moments.find((moment) => moment > now) ?? now + dayMs };
}

/** When the hours that `now` is in end; undefined when it is in none. */
export function insideUntil(
  hours: { from: string; to: string; timezone?: string | undefined },
  now: number,
): number | undefined {
  const { timezone } = hours;
  const begin = aroundNow({ at: hours.from, timezone }, now);
  const end = aroundNow({ at: hours.to, timezone }, now);
  // Inside: the last thing that happened was that they began.
  return begin.last > end.last ? end.next : undefined;
}
