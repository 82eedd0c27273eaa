/** What a line of a dump is. */
export type LineKind =
  /** `INSERT INTO ...`, one row. */
  | 'row'
  /** A part of a stored program's text. */
  | 'program'
  | 'statement'
  /** The rest of a name that holds line feeds: belongs to the line before. */
  | 'continued';

const insert = Buffer.from('INSERT INTO `');
/** Lines whose name is asked for; each ends with the quote that opens it. */
const naming = { table: 'LOCK TABLES `', view: '/*!50001 VIEW `', sequence: 'CREATE SEQUENCE `' } as const;
type Naming = keyof typeof naming;
/** Bytes; a name has 64 characters, and a quote is doubled. */
const longestName = 1000;
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
  /** What the last line named. */
  named: { kind: Naming; name: string } | undefined;
  private inProgram = false;
  /** The beginning of a name that goes on in the next line. */
  private begun: { kind: Naming; text: string } | undefined;

  /** The kind of a line (of its first part); moves on by it. */
  see(data: Buffer, start: number, end: number): LineKind {
    this.named = undefined;
    if (this.begun !== undefined) {
      this.name(this.begun.kind, this.begun.text + data.toString('utf8', start, Math.min(end, start + longestName)));
      return 'continued';
    }
    if (this.table !== undefined && !this.inProgram && startsWith(data, start, end, insert)) return 'row';
    const text = data.toString('utf8', start, Math.min(end, start + longestName));
    const line = text.trimEnd();
    if (line.startsWith('DELIMITER ')) {
      this.inProgram = line !== 'DELIMITER ;';
      return 'statement';
    }
    if (this.inProgram) return 'program';
    const kind = namingKinds.find((one) => line.startsWith(naming[one]));
    if (kind !== undefined) this.name(kind, text.slice(naming[kind].length - 1));
    else if (line === 'UNLOCK TABLES;') this.table = undefined;
    else if (line.startsWith(events)) this.events = true;
    else if (line.startsWith(routines)) this.events = false;
    return 'statement';
  }

  /** @param text from the quote that opens the name on. */
  private name(kind: Naming, text: string): void {
    const name = firstName(text);
    this.begun = name === undefined ? { kind, text } : undefined;
    if (name === undefined) return;
    this.named = { kind, name };
    if (kind === 'table') this.table = name;
  }
}

const namingKinds = ['table', 'view', 'sequence'] as const satisfies Naming[];

/** Whether the line from `start` to `end` begins with `text`. */
export function startsWith(data: Buffer, start: number, end: number, text: Buffer): boolean {
  return end - start >= text.length && text.compare(data, start, start + text.length) === 0;
}

/** The quoted name that `text` begins with, without its quotes. */
export function firstName(text: string): string | undefined {
  return /^`((?:[^`]|``)*)`(?!`)/.exec(text)?.[1]?.replaceAll('``', '`');
}
