import { closeSync, existsSync, fstatSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tryExclusive } from '../worker/locks.js';

export interface Rotation {
  /** A file that would become larger, bytes, is put aside first. */
  size: number;
  /** How many older files are kept: `<path>.1` is the newest of them. */
  count: number;
}

const checkEveryBytes = 64 << 10;
const checkEveryMs = 1000;

/**
 * A log file that several processes append to. Each line is written at once, so that nothing is lost when the process is
 * killed; a file that is large enough is put aside by whichever process finds it so, and the others follow.
 */
export class LogFile {
  private fd: number | undefined;
  private size = 0;
  private unchecked = 0;
  private checkedAt = 0;

  constructor(
    readonly path: string,
    private readonly rotation: Rotation,
  ) {}

  /** @param line with its line break. */
  write(line: string): void {
    const bytes = Buffer.from(line);
    this.check(bytes.length);
    this.fd ??= this.open();
    writeSync(this.fd, bytes);
    this.size += bytes.length;
    this.unchecked += bytes.length;
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
  }

  private open(): number {
    const fd = openSync(this.path, 'a', 0o600);
    this.size = fstatSync(fd).size;
    this.unchecked = 0;
    this.checkedAt = Date.now();
    return fd;
  }

  private check(more: number): void {
    if (this.fd === undefined) this.fd = this.open();
    const stale = this.unchecked > checkEveryBytes || Date.now() - this.checkedAt > checkEveryMs;
    if (stale) {
      this.unchecked = 0;
      this.checkedAt = Date.now();
      // Others write to it too, and may have put it aside.
      if (!this.isCurrent()) this.close();
      else this.size = fstatSync(this.fd).size;
    }
    if (this.fd !== undefined && this.size > 0 && this.size + more > this.rotation.size) this.rotate();
  }

  private isCurrent(): boolean {
    if (this.fd === undefined) return false;
    const own = fstatSync(this.fd);
    const there = statSync(this.path, { throwIfNoEntry: false });
    return there !== undefined && there.ino === own.ino && there.dev === own.dev;
  }

  private rotate(): void {
    const lock = tryExclusive(join(dirname(this.path), '.rotate.lock'));
    // Another process is at it: this line still goes to the old file.
    if (lock === undefined) return;
    try {
      if (this.isCurrent()) {
        const { count } = this.rotation;
        rmSync(`${this.path}.${count}`, { force: true });
        for (let at = count - 1; at >= 1; at--) {
          if (existsSync(`${this.path}.${at}`)) renameSync(`${this.path}.${at}`, `${this.path}.${at + 1}`);
        }
        renameSync(this.path, `${this.path}.1`);
      }
      this.close();
    } finally {
      lock.release();
    }
  }
}

/** The log's files that are there, oldest first. */
export function logFiles(path: string): string[] {
  const files = existsSync(path) ? [path] : [];
  for (let at = 1; existsSync(`${path}.${at}`); at++) files.unshift(`${path}.${at}`);
  return files;
}
