import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { errnoOf, HoldfastError } from '../../errors.js';

/** Writes lines to a temporary name and shows the file only when it is whole. */
export class LineWriter {
  private readonly fd: number;
  private pending: string[] = [];
  private pendingLength = 0;
  lines = 0;

  constructor(private readonly file: string) {
    this.fd = openSync(`${file}.tmp`, 'w', 0o600);
  }

  add(line: string): void {
    this.pending.push(line);
    this.lines++;
    this.pendingLength += line.length + 1;
    if (this.pendingLength > 1 << 18) this.flush();
  }

  finish(): void {
    this.flush();
    closeSync(this.fd);
    renameSync(`${this.file}.tmp`, this.file);
  }

  abandon(): void {
    closeSync(this.fd);
  }

  private flush(): void {
    if (this.pending.length === 0) return;
    const data = Buffer.from(`${this.pending.join('\n')}\n`, 'utf8');
    for (let at = 0; at < data.length; ) at += writeSync(this.fd, data, at);
    this.pending = [];
    this.pendingLength = 0;
  }
}

/** Shows a JSON file whole or not at all; with `sync` also after a power cut. */
export function writeJson(file: string, value: unknown, sync = false): void {
  const temporary = `${file}.${process.pid}.tmp`;
  writeFileSync(temporary, JSON.stringify(value), { mode: 0o600 });
  if (sync) {
    const fd = openSync(temporary, 'r+');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
  renameSync(temporary, file);
}

/** The JSON file's value, or undefined when there is no such file. */
export function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    // After a power cut a file may be there without its content.
    if (error instanceof SyntaxError) throw new HoldfastError('SpoolLost', `${file} is damaged`, { cause: error });
    throw error;
  }
}
