/** What a line of a dump is. */
export type LineKind =
  /** `INSERT INTO ...`, one row. */
  | 'row'
  /** A part of a stored program's text. */
  | 'program'
  | 'statement';

const insert = Buffer.from('INSERT INTO `');
const lock = 'LOCK TABLES `';
const events = '-- Dumping events for database ';
const routines = '-- Dumping routines for database ';

/**
 * Follows where in a dump its lines are. Rows are only between LOCK TABLES and UNLOCK TABLES, stored programs between
 * DELIMITER lines, so that no text within a program is taken for a row.
 */
export class DumpState {
  /** The table whose rows follow. */
  table: string | undefined;
  /** Whether the lines are those of events. */
  events = false;
  private inProgram = false;

  /** The kind of a line (of its first part); moves on by it. */
  see(data: Buffer, start: number, end: number): LineKind {
    if (this.table !== undefined && !this.inProgram && startsWith(data, start, end, insert)) return 'row';
    if (end - start > 1000) return this.inProgram ? 'program' : 'statement';
    const line = data.toString('utf8', start, end).trimEnd();
    if (line.startsWith('DELIMITER ')) {
      this.inProgram = line !== 'DELIMITER ;';
      return 'statement';
    }
    if (this.inProgram) return 'program';
    if (line.startsWith(lock)) this.table = firstName(line.slice(lock.length - 1));
    else if (line === 'UNLOCK TABLES;') this.table = undefined;
    else if (line.startsWith(events)) this.events = true;
    else if (line.startsWith(routines)) this.events = false;
    return 'statement';
  }
}

/** Whether the line from `start` to `end` begins with `text`. */
export function startsWith(data: Buffer, start: number, end: number, text: Buffer): boolean {
  return end - start >= text.length && text.compare(data, start, start + text.length) === 0;
}

/** The quoted name that `text` begins with, without its quotes. */
export function firstName(text: string): string | undefined {
  return /^`((?:[^`]|``)*)`/.exec(text)?.[1]?.replaceAll('``', '`');
}
