import { native } from './libc.js';

const darwin = process.platform === 'darwin';
const SEEK_SET = 0;
const SEEK_DATA = darwin ? 4 : 3;
const SEEK_HOLE = darwin ? 3 : 4;

/** `[start, end)` in bytes. */
export type Segment = readonly [start: number, end: number];

/**
 * Where an open file of `size` bytes has data; between lie holes. An empty list: all hole. Undefined when it has no
 * holes or the system can't tell. The file's own position is 0 afterwards.
 */
export function dataSegments(fd: number, size: number): Segment[] | undefined {
  const lseek = native('lseek');
  if (lseek === undefined || size === 0) return undefined;
  const segments = find((offset, whence) => Number(lseek(fd, offset, whence)), size);
  lseek(fd, 0, SEEK_SET);
  return segments;
}

function find(seek: (offset: number, whence: number) => number, size: number): Segment[] | undefined {
  const firstHole = seek(0, SEEK_HOLE);
  if (firstHole < 0 || firstHole >= size) return undefined;
  const segments: Segment[] = [];
  let hole = firstHole;
  if (hole > 0) segments.push([0, hole]);
  while (hole < size) {
    const data = seek(hole, SEEK_DATA);
    // -1 is ENXIO, no more data; what has grown since counts as not there.
    if (data < hole || data >= size) break;
    const end = seek(data, SEEK_HOLE);
    // A file cut short meanwhile: what follows can't be trusted, so read it all.
    if (end <= data) return undefined;
    hole = Math.min(end, size);
    segments.push([data, hole]);
  }
  return segments;
}
