import { type FileInfo, parseList } from 'basic-ftp';

const month = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const dayMs = 86_400_000;

/** Like the library's parser, but a line that it does not understand is an error: an object must not vanish from a listing. */
export function strictList(text: string): FileInfo[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !/^total\b/.test(line));
  const entries = lines.filter((line) => !/(?:^|\s)\.\.?$/.test(line) && !/type=[cp]dir;/i.test(line));
  // A connection that was cut may end within a line: that is worth another try.
  const isCut = text !== '' && !text.endsWith('\n');
  let found: FileInfo[];
  try {
    found = parseList(text).filter(({ name }) => name !== '.' && name !== '..');
  } catch (error) {
    throw isCut ? cutInLine() : error;
  }
  if (found.length < entries.length) {
    if (isCut) throw cutInLine();
    throw new Error(`${entries.length - found.length} lines of the listing cannot be understood`);
  }
  return found;
}

const cutInLine = (): Error => new Error('the connection was cut in the middle of a line');

/**
 * When a listing says a file was modified. MLSD tells it in UTC; LIST to the minute or the day, in a time zone that the
 * server does not tell and that is taken for UTC.
 */
export function modifiedOf(info: FileInfo, now = new Date()): Date {
  if (info.modifiedAt !== undefined) return info.modifiedAt;
  const [, name = '', day = '1', time = ''] = /^(\S{3})\s+(\d{1,2})\s+([\d:]+)$/.exec(info.rawModifiedAt) ?? [];
  const at = month.indexOf(name.toLowerCase());
  if (at === -1) {
    const parsed = Date.parse(info.rawModifiedAt);
    return new Date(Number.isNaN(parsed) ? 0 : parsed);
  }
  if (!time.includes(':')) return new Date(Date.UTC(Number(time), at, Number(day)));
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  const inYear = (year: number): Date => new Date(Date.UTC(year, at, Number(day), hours, minutes));
  const thisYear = inYear(now.getUTCFullYear());
  // Without a year it is one of the last months, or up to a day ahead in another time zone.
  return thisYear.getTime() > now.getTime() + dayMs ? inYear(now.getUTCFullYear() - 1) : thisYear;
}
