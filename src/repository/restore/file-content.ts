import { closeSync, readSync } from 'node:fs';
import type { SafeRoot } from '../../platform/restore-fs.js';
import type { RelativePath } from '../../platform/restore-path.js';
import type { Entry } from '../entry.js';
import { sha256Hex } from '../hash.js';
import type { PlannedChunk } from './plan-files.js';

/** Sets each chunk's offset in the file, holes left out; false when chunks and holes do not make up the file's size. */
export function placeChunks(entry: Entry, chunks: PlannedChunk[]): boolean {
  const size = Number(entry.size);
  if (!Number.isSafeInteger(size)) return false;
  if (entry.holes === undefined) {
    let at = 0;
    for (const chunk of chunks) {
      chunk[3] = at;
      at += chunk[2];
    }
    return at === size;
  }
  let at = 0;
  let next = 0;
  const holes = entry.holes.map(([offset, length]) => [Number(offset), Number(length)] as const);
  const skip = (): boolean => {
    for (let hole = holes[next]; hole !== undefined && hole[0] <= at; hole = holes[++next]) {
      if (hole[0] < at || hole[1] < 1) return false;
      at += hole[1];
    }
    return true;
  };
  for (const chunk of chunks) {
    if (!skip()) return false;
    chunk[3] = at;
    at += chunk[2];
  }
  return skip() && next === holes.length && at === size;
}

/** Whether a file at the target holds these chunks, and nothing but zeros between them. */
export function matchesContent(root: SafeRoot, rel: RelativePath, chunks: readonly PlannedChunk[]): boolean {
  const { fd, stat } = root.openFile(rel);
  try {
    const buffer = Buffer.allocUnsafe(4 * 1024 * 1024);
    let at = 0;
    for (const [id, , length, to] of chunks) {
      if (!onlyZeros(fd, buffer, at, to)) return false;
      const content = length <= buffer.length ? buffer : Buffer.allocUnsafe(length);
      if (fill(fd, content, length, to) < length || sha256Hex(content.subarray(0, length)) !== id) return false;
      at = to + length;
    }
    return onlyZeros(fd, buffer, at, Number(stat.size));
  } finally {
    closeSync(fd);
  }
}

function onlyZeros(fd: number, buffer: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; ) {
    const got = fill(fd, buffer, Math.min(buffer.length, to - at), at);
    if (got === 0) return false;
    // A buffer of zeros equals itself shifted by one.
    if (buffer[0] !== 0 || buffer.compare(buffer, 0, got - 1, 1, got) !== 0) return false;
    at += got;
  }
  return true;
}

function fill(fd: number, buffer: Buffer, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const count = readSync(fd, buffer, done, length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}
