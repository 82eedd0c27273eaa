import { createReadStream } from 'node:fs';
import { DumpState, type LineKind, startsWith } from './dump-state.js';
import { InsertJoiner } from './insert-joiner.js';
import { LineSplitter } from './line-splitter.js';
import { inOwnDatabase, isTrigger, type Renamed, sequencesRenamed, viewRenamed } from './rename.js';

export interface RestoreStreamOptions {
  /** Leave events out: they would begin to run. */
  withoutEvents: boolean;
  /** Views and programs become the restoring user's, who may not make them anybody else's. */
  withoutDefiners: boolean;
  /** Leave out the line by which MariaDB's client locks itself in, which other clients refuse. */
  withoutSandbox: boolean;
  /** Into a database of another name: nothing may be made in the old one. */
  renamed?: Renamed | undefined;
  onProgress(bytes: number): void;
  signal: AbortSignal;
}

/**
 * Nobody else writes here, so that locks are of no use, and a table whose column takes its default from a sequence can't be
 * filled under its own. One transaction for a whole table is for rows one by one; for large INSERTs it is slower.
 */
const leftOut = [
  'LOCK TABLES `',
  'UNLOCK TABLES;\n',
  'SET @OLD_AUTOCOMMIT=@@AUTOCOMMIT, @@AUTOCOMMIT=0;\n',
  'SET AUTOCOMMIT=@OLD_AUTOCOMMIT;\n',
  'COMMIT;\n',
  'set autocommit=0;\n',
  'commit;\n',
].map((text) => Buffer.from(text));
/** A server lets in dates like the 31st of February only when told, and a restore has to take what was there. */
const setsMode = Buffer.from("/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO'");
const anyDate = Buffer.from(',ALLOW_INVALID_DATES');
const sandbox = Buffer.from('/*M!999999');

/**
 * A dump on its way into the server: rows that were dumped one per INSERT, so that dumps of similar data have long equal
 * stretches, are joined to large INSERTs, which are many times faster; and the few lines that can't be restored as they
 * are, are changed.
 */
export async function* restoreStream(file: string, options: RestoreStreamOptions): AsyncGenerator<Buffer> {
  const stream = new RestoreStream(options);
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 18, signal: options.signal })) {
    yield stream.push(chunk);
    options.onProgress(chunk.length);
  }
  yield stream.end();
}

class RestoreStream {
  private out: Buffer[] = [];
  private readonly state = new DumpState();
  private readonly inserts = new InsertJoiner((part) => this.out.push(part));
  private readonly splitter = new LineSplitter((data, start, end, first, last) =>
    this.line(data, start, end, first, last),
  );
  private skipping = false;
  /** The lines so far of a trigger that has to be changed as a whole. */
  private trigger: string[] | undefined;
  private before: LineKind = 'statement';

  constructor(private readonly options: RestoreStreamOptions) {}

  push(chunk: Buffer): Buffer {
    this.splitter.push(chunk);
    return this.take();
  }

  end(): Buffer {
    this.splitter.end();
    this.inserts.flush();
    return this.take();
  }

  private take(): Buffer {
    const whole = Buffer.concat(this.out);
    this.out = [];
    return whole;
  }

  private line(data: Buffer, start: number, end: number, first: boolean, last: boolean): void {
    if (!first) {
      if (!this.skipping) this.out.push(data.subarray(start, end));
      return;
    }
    const kind = this.state.see(data, start, end);
    if (kind === 'row' && last) {
      this.inserts.add(data, start, end);
      return;
    }
    this.inserts.flush();
    if (kind === 'continued') {
      if (!this.skipping) this.out.push(data.subarray(start, end));
      return;
    }
    const { withoutEvents, withoutSandbox } = this.options;
    this.skipping =
      (withoutEvents && this.state.events) ||
      (withoutSandbox && startsWith(data, start, end, sandbox)) ||
      (kind === 'statement' && leftOut.some((text) => startsWith(data, start, end, text)));
    if (this.skipping) return;
    if (kind === 'statement' && startsWith(data, start, end, setsMode)) {
      const quote = start + setsMode.length - 1;
      this.out.push(data.subarray(start, quote), anyDate, data.subarray(quote, end));
      return;
    }
    if (kind === 'row' || !last) this.out.push(data.subarray(start, end));
    else this.text(data.subarray(start, end), kind);
  }

  /** A line of anything but rows. Programs are in the character set they were made with: Latin 1 keeps all bytes. */
  private text(line: Buffer, kind: LineKind): void {
    const before = this.before;
    this.before = kind;
    const { renamed, withoutDefiners } = this.options;
    if (renamed === undefined && !withoutDefiners) {
      this.out.push(line);
      return;
    }
    let text = line.toString('latin1');
    if (withoutDefiners) text = withoutDefiner(text);
    if (renamed !== undefined) {
      if (kind === 'program') {
        if (before !== 'program' && isTrigger(text)) this.trigger = [];
        if (this.trigger !== undefined) {
          this.trigger.push(text);
          return;
        }
      } else if (this.trigger !== undefined) {
        this.out.push(Buffer.from(inOwnDatabase(this.trigger.join('')), 'latin1'));
        this.trigger = undefined;
      } else {
        text = this.state.named?.kind === 'view' ? viewRenamed(text, renamed) : sequencesRenamed(text, renamed);
      }
    }
    this.out.push(Buffer.from(text, 'latin1'));
  }
}

const account = '`(?:[^`]|``)*`@`(?:[^`]|``)*`';
const definerPatterns = [
  // /*!50003 CREATE*/ /*!50017 DEFINER=`u`@`h`*/ /*!50003 TRIGGER ...
  new RegExp(`^(/\\*!\\d+ CREATE\\*/ )/\\*!\\d+ DEFINER=${account}\\*/ `),
  // /*!50013 DEFINER=`u`@`h` SQL SECURITY DEFINER */
  new RegExp(`^(/\\*!\\d+ )DEFINER=${account} (?=SQL SECURITY)`),
  // CREATE ALGORITHM=MERGE DEFINER=`u`@`h` SQL SECURITY DEFINER VIEW ...
  new RegExp(`^(CREATE (?:ALGORITHM=\\w+ )?)DEFINER=${account} (?=SQL SECURITY \\w+ VIEW)`),
  // CREATE DEFINER=`u`@`h` PROCEDURE ...
  new RegExp(`^(CREATE )DEFINER=${account} (?=(?:AGGREGATE )?(?:PROCEDURE|FUNCTION|PACKAGE|EVENT|TRIGGER))`),
];

/** The statement without the account as whom its view or program runs. */
export function withoutDefiner(line: string): string {
  const pattern = definerPatterns.find((one) => one.test(line));
  return pattern === undefined ? line : line.replace(pattern, '$1');
}
