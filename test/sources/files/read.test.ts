import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdtempSync,
  readSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeNode, setTimes } from '../../../src/platform/native.js';
import { openForReading, ReadProblem, sameStat } from '../../../src/sources/files/read.js';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-read-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function problem(path: string): ReadProblem {
  try {
    closeSync(openForReading(path).fd);
  } catch (error) {
    if (error instanceof ReadProblem) return error;
    throw error;
  }
  throw new Error(`${path} opened`);
}

describe('openForReading', () => {
  it('opens a file, by string and by bytes, without touching its access time', () => {
    const path = join(dir, 'file');
    writeFileSync(path, 'content');
    setTimes(path, { atimeNs: 1n, mtimeNs: 2n });
    for (const name of [path, Buffer.from(path)]) {
      const { fd, stat } = openForReading(name);
      const buffer = Buffer.alloc(12, '.');
      expect(readSync(fd, buffer, 2, 10, 3)).toBe(4);
      expect(buffer.toString()).toBe('..tent......');
      expect(readSync(fd, buffer, 0, 10, 7)).toBe(0);
      expect(stat.mtimeNs).toBe(2n);
      closeSync(fd);
      if (process.platform === 'linux') expect(openForReading(path).stat.atimeNs).toBe(1n);
    }
  });

  it('opens a file of another user, who alone may leave the access time', () => {
    const path = join(dir, 'others');
    writeFileSync(path, 'x');
    chmodSync(path, 0o644);
    chmodSync(dir, 0o755);
    process.seteuid?.(process.geteuid?.() || 65534);
    try {
      const { fd } = openForReading(path);
      expect(readSync(fd, Buffer.alloc(1), 0, 1, 0)).toBe(1);
      closeSync(fd);
    } finally {
      process.seteuid?.(process.getuid?.() ?? 0);
    }
  });

  it('says what became of a file', () => {
    symlinkSync('file', join(dir, 'link'));
    makeNode(join(dir, 'fifo'), 'fifo', 0o600);
    makeNode(join(dir, 'socket'), 'socket', 0o600);
    expect(problem(join(dir, 'none'))).toMatchObject({ code: 'Vanished', message: expect.stringContaining('ENOENT') });
    expect(problem(join(dir, 'link')).code).toBe('Changed');
    expect(problem(join(dir, 'fifo')).code).toBe('Changed');
    expect(problem(join(dir, 'socket')).code).toBe('Changed');
    expect(problem(dir).code).toBe('Changed');
    expect(problem(`${dir}/${'x'.repeat(300)}`)).toMatchObject({ code: 'Unreadable' });
  });
});

it('sameStat sees every kind of change', () => {
  const path = join(dir, 'changing');
  writeFileSync(path, 'content');
  const stats = [openForReading(path)];
  const same = (): boolean => {
    stats.push(openForReading(path));
    return sameStat(stats.at(-2)!.stat, stats.at(-1)!.stat);
  };
  expect(same()).toBe(true);
  appendFileSync(path, 'more');
  expect(same()).toBe(false);
  truncateSync(path, 3);
  expect(same()).toBe(false);
  setTimes(path, { mtimeNs: 5n });
  expect(same()).toBe(false);
  chmodSync(path, 0o600);
  setTimes(path, { mtimeNs: 5n });
  expect(same()).toBe(false);
  for (const { fd } of stats) closeSync(fd);
});
