import { copyFileSync, linkSync, rmSync } from 'node:fs';
import { errnoOf, HoldfastError } from '../../errors.js';
import { readLines } from '../../repository/lines.js';
import { LineWriter } from './line-writer.js';
import { spoolFiles } from './spool-files.js';

/**
 * Writes what a walk found, in order. Lines that stand in the parent's manifest as they are, nearly all of them from one night to
 * the next, are not repeated: `#N` copies its next N lines, `-N` passes over as many.
 */
export class WalkedLines {
  private readonly lines: LineWriter;
  private copied = 0;
  private passed = 0;

  /** @param parent the parent's manifest, which stays beside the lines: its own place may be tidied up meanwhile. */
  constructor(run: string, source: number, parent: string | undefined) {
    this.lines = new LineWriter(spoolFiles.entries(run, source));
    if (parent !== undefined) keep(parent, spoolFiles.parent(run, source));
  }

  add(line: string): void {
    this.endCopy();
    this.lines.add(line);
  }

  /** The parent's next line holds for this snapshot, too. */
  copy(): void {
    if (this.passed > 0) {
      this.lines.add(`-${this.passed}`);
      this.passed = 0;
    }
    this.copied++;
  }

  /** The parent's next lines do not. */
  pass(lines = 1): void {
    this.endCopy();
    this.passed += lines;
  }

  finish(): void {
    this.endCopy();
    this.lines.finish();
  }

  private endCopy(): void {
    if (this.copied === 0) return;
    this.lines.add(`#${this.copied}`);
    this.copied = 0;
  }
}

function keep(file: string, target: string): void {
  rmSync(target, { force: true });
  try {
    linkSync(file, target);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    // Another file system, or one without links.
    copyFileSync(file, target);
  }
}

/** What `WalkedLines` wrote: lines that stand for themselves, and those copied from the parent with `=` in front. */
export function* walkedLines(run: string, source: number): Generator<string> {
  let parent: Iterator<string> | undefined;
  try {
    for (const line of readLines(spoolFiles.entries(run, source))) {
      if (line[0] !== '#' && line[0] !== '-') {
        yield line;
        continue;
      }
      parent ??= readLines(spoolFiles.parent(run, source));
      for (let left = Number(line.slice(1)); left > 0; left--) {
        const next = parent.next();
        if (next.done) throw new HoldfastError('SpoolLost', 'the parent in the spool is shorter than it was');
        if (line[0] === '#') yield `=${next.value}`;
      }
    }
  } finally {
    parent?.return?.();
  }
}
