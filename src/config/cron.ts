/** Cron expressions as Temporal schedules take them: five fields, or a name such as @daily; optionally after CRON_TZ=zone. */

const named: ReadonlyMap<string, string> = new Map([
  ['@yearly', '0 0 1 1 *'],
  ['@annually', '0 0 1 1 *'],
  ['@monthly', '0 0 1 * *'],
  ['@weekly', '0 0 * * 0'],
  ['@daily', '0 0 * * *'],
  ['@midnight', '0 0 * * *'],
  ['@hourly', '0 * * * *'],
]);

interface Field {
  name: string;
  min: number;
  max: number;
  words?: readonly string[];
}
const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const fields: readonly Field[] = [
  { name: 'minute', min: 0, max: 59 },
  { name: 'hour', min: 0, max: 23 },
  { name: 'day of month', min: 1, max: 31 },
  { name: 'month', min: 1, max: 12, words: months },
  { name: 'day of week', min: 0, max: 7, words: weekdays },
];
const longestMonth = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** The expression without its CRON_TZ= prefix, and the zone it named. */
export function splitCron(text: string): { expression: string; timezone?: string } {
  const match = /^\s*(?:CRON_)?TZ=(\S+)\s+(.*)$/.exec(text);
  const expression = (match?.[2] ?? text).trim().replace(/\s+/g, ' ');
  return match?.[1] === undefined ? { expression } : { expression, timezone: match[1] };
}

/** What is wrong with a cron expression, in words; undefined if nothing is. */
export function cronProblem(text: string): string | undefined {
  const parsed = parseCron(text);
  return typeof parsed === 'string' ? parsed : undefined;
}

/** Milliseconds between the two closest times of day the expression names; undefined when it is not valid. */
export function cronInterval(text: string): number | undefined {
  const parsed = parseCron(text);
  if (typeof parsed === 'string') return undefined;
  const [minutes = [], hours = []] = parsed;
  const times = hours.flatMap((hour) => minutes.map((minute) => hour * 60 + minute)).sort((a, b) => a - b);
  const first = times[0] ?? 0;
  let least = 24 * 60;
  for (let at = 0; at < times.length; at++)
    least = Math.min(least, (times[at + 1] ?? first + 24 * 60) - (times[at] ?? 0));
  return least * 60_000;
}

/** Milliseconds of the longest time from one firing to the next, within four years and but for clock changes; undefined when it is not valid. */
export function cronLongestGap(text: string): number | undefined {
  const parsed = parseCron(text);
  if (typeof parsed === 'string') return undefined;
  const [minutes = [], hours = [], days = [], inMonths = [], weekdays = []] = parsed;
  const times = hours.flatMap((hour) => minutes.map((minute) => hour * 60 + minute)).sort((a, b) => a - b);
  const first = times[0] ?? 0;
  let longest = Math.max(0, ...times.slice(1).map((time, at) => time - (times[at] ?? 0)));
  let last: number | undefined;
  // 2023 to 2028: two leap years' distance, so that the 29th of February is there twice.
  for (let at = Date.UTC(2023, 0, 1); at < Date.UTC(2029, 0, 1); at += 86_400_000) {
    const day = new Date(at);
    const weekday = day.getUTCDay();
    const fires =
      days.includes(day.getUTCDate()) &&
      inMonths.includes(day.getUTCMonth() + 1) &&
      (weekdays.includes(weekday) || (weekday === 0 && weekdays.includes(7)));
    if (!fires) continue;
    const begins = at / 60_000 + first;
    if (last !== undefined) longest = Math.max(longest, begins - last);
    last = at / 60_000 + (times.at(-1) ?? 0);
  }
  return longest * 60_000;
}

/** Whether both days of the month and weekdays are restricted: Temporal then asks for both, where cron asks for either. */
export function cronRestrictsBothDays(text: string): boolean {
  const expression = splitCron(text).expression;
  const parts = (named.get(expression.toLowerCase()) ?? expression).split(' ');
  return parts.length === 5 && !parts[2]?.startsWith('*') && !parts[4]?.startsWith('*');
}

function parseCron(text: string): number[][] | string {
  let { expression } = splitCron(text);
  if (expression.startsWith('@')) {
    const known = named.get(expression.toLowerCase());
    if (known === undefined) {
      const hint = expression.startsWith('@every') ? '; write `every: 6h` in place of `cron`' : '';
      return `unknown cron name ${JSON.stringify(expression)}${hint} (known: ${[...named.keys()].join(', ')})`;
    }
    expression = known;
  }
  const parts = expression.split(' ');
  if (parts.length !== fields.length) {
    return `expected five cron fields (minute hour day-of-month month day-of-week), found ${expression === '' ? 0 : parts.length}`;
  }
  const values: number[][] = [];
  for (const [at, field] of fields.entries()) {
    const parsed = parseField(parts[at] ?? '', field);
    if (typeof parsed === 'string') return parsed;
    values.push(parsed);
  }
  const [, , days = [], inMonths = []] = values;
  const longest = Math.max(...inMonths.map((month) => longestMonth[month - 1] ?? 31));
  if (Math.min(...days) > longest) return 'this date never comes';
  return values;
}

function parseField(text: string, field: Field): number[] | string {
  const found = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^(\*|[A-Za-z0-9]+)(?:-([A-Za-z0-9]+))?(?:\/(\d{1,3}))?$/.exec(part);
    const wrong = `the ${field.name} ${JSON.stringify(part.slice(0, 40))} is not valid (${field.min}-${field.max}${field.words === undefined ? '' : `, ${field.words[0]}-${field.words.at(-1)}`}, *, lists, ranges, /steps)`;
    if (match === null || (match[1] === '*' && match[2] !== undefined)) return wrong;
    const step = match[3] === undefined ? 1 : Number(match[3]);
    const from = match[1] === '*' ? field.min : numberOf(match[1] ?? '', field);
    let to = from;
    if (match[2] !== undefined) to = numberOf(match[2], field);
    else if (match[1] === '*' || match[3] !== undefined) to = field.max;
    if (from === undefined || to === undefined || step < 1 || from > to) return wrong;
    for (let value = from; value <= to; value += step) found.add(value);
  }
  return [...found].sort((a, b) => a - b);
}

function numberOf(text: string, field: Field): number | undefined {
  const word = field.words?.indexOf(text.toLowerCase()) ?? -1;
  if (word >= 0) return word + field.min;
  const value = /^\d{1,2}$/.test(text) ? Number(text) : Number.NaN;
  return value >= field.min && value <= field.max ? value : undefined;
}
