/** One line of the log: pino's, with a level by name and a time as ISO 8601. */
export interface LogEntry {
  level: string;
  time: string;
  msg: string;
  /** The workflow that the line belongs to. */
  run?: string;
  job?: string;
  [field: string]: unknown;
}

const levelNames: readonly string[] = ['debug', 'info', 'warn', 'error', 'fatal'];

/** The line as data; undefined where it is none, such as one that was being written when the machine went off. */
export function parseLine(line: string): LogEntry | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { level, time, msg, ...rest } = entry as Record<string, unknown>;
    return { level: levelOf(level), time: timeOf(time), msg: typeof msg === 'string' ? msg : '', ...rest };
  } catch {
    return undefined;
  }
}

/** Older versions wrote pino's numbers. */
const levelOf = (level: unknown): string =>
  typeof level === 'number' ? (levelNames[level / 10 - 2] ?? 'info') : typeof level === 'string' ? level : 'info';

const timeOf = (time: unknown): string =>
  typeof time === 'number' ? new Date(time).toISOString() : typeof time === 'string' ? time : '';

export function atLeast(entry: LogEntry, level: string): boolean {
  const rank = (name: string): number => levelNames.indexOf(name);
  return rank(entry.level) >= rank(level);
}

const labels: Readonly<Record<string, string>> = {
  debug: 'debug: ',
  warn: 'warning: ',
  error: 'error: ',
  fatal: 'error: ',
};
const hidden: ReadonlySet<string> = new Set([
  'level',
  'time',
  'msg',
  'pid',
  'err',
  'sdk',
  'activity',
  'attempt',
  'job',
]);

/** `03:00:00 warning: message (run=backup/...)`; with `date` the day too, without `clock` no time at all. */
export function lineText(entry: LogEntry, options: { date?: boolean; clock?: boolean } = {}): string {
  const { level, msg, err } = entry;
  const reason = typeof err === 'object' && err !== null && 'message' in err ? `: ${String(err.message)}` : '';
  const details = Object.entries(entry)
    .filter(([key, value]) => !hidden.has(key) && (typeof value === 'string' || typeof value === 'number'))
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(' ');
  const time = options.clock === false ? '' : `${localText(entry.time, options.date ?? false)} `;
  return `${time}${labels[level] ?? ''}${msg}${reason}${details === '' ? '' : ` (${details})`}\n`;
}

function localText(iso: string, date: boolean): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return '-';
  const pad = (value: number): string => value.toString().padStart(2, '0');
  const clock = at.toTimeString().slice(0, 8);
  return date ? `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock}` : clock;
}

/** syslog's number for a level, as the journal reads it from `<4>` at a line's beginning. */
export function syslogPriority(level: string): number {
  if (level === 'debug') return 7;
  if (level === 'info') return 6;
  return level === 'warn' ? 4 : 3;
}
