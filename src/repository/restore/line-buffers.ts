import { appendFileSync } from 'node:fs';

const limit = 4 * 1024 * 1024;

/** Appends lines to many files, few of them at a time, holding at most about 4 MiB. */
export class LineBuffers {
  private readonly pending = new Map<string, string[]>();
  private held = 0;

  add(file: string, line: string): void {
    let lines = this.pending.get(file);
    if (!lines) {
      lines = [];
      this.pending.set(file, lines);
    }
    lines.push(line);
    this.held += line.length + 1;
    if (this.held > limit) this.flush();
  }

  flush(): void {
    for (const [file, lines] of this.pending) appendFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 });
    this.pending.clear();
    this.held = 0;
  }
}
