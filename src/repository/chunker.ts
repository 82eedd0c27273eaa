import { createHash } from 'node:crypto';

/** Files below this size are one chunk. */
export const wholeFileLimit = 256 * 1024;
export const minChunk = 256 * 1024;
export const averageChunk = 1024 * 1024;
export const maxChunk = 4 * 1024 * 1024;

/** 256 gear values derived from SHA-256, so that the table needs no listing in the format. */
function gearTable(): Int32Array {
  const table = new Int32Array(256);
  for (let i = 0; i < 256; i++) {
    table[i] = createHash('sha256').update(`holdfast gear ${i}`).digest().readInt32LE(0);
  }
  return table;
}
const gear = gearTable();

// Normalised chunking (FastCDC, Xia et al., USENIX ATC 2016): a stricter mask before the average, a looser one after.
// The gear shifts left, so the top bits hold the widest window.
function topBits(count: number): number {
  return (0xffffffff << (32 - count)) >>> 0;
}

/** How long chunks are, bytes, and the masks below and above the average. */
export interface CutSizes {
  min: number;
  average: number;
  max: number;
  strict: number;
  loose: number;
}

export const fileCuts: CutSizes = {
  min: minChunk,
  average: averageChunk,
  max: maxChunk,
  strict: topBits(22),
  loose: topBits(18),
};

/** For dumps, of which a few rows are new each night: every place that changed costs a chunk or two. */
export const dumpCuts: CutSizes = {
  min: minChunk / 4,
  average: averageChunk / 4,
  max: maxChunk / 4,
  strict: topBits(20),
  loose: topBits(16),
};

/**
 * The length of the first chunk of `data[start, end)`. `final` says that the data ends at `end`.
 * Returns 0 when more data is needed to decide (never when `final` or when `sizes.max` bytes are there).
 */
export function cutPoint(data: Uint8Array, start: number, end: number, final: boolean, sizes = fileCuts): number {
  const { min, average, max, strict, loose } = sizes;
  const available = end - start;
  if (available <= min) return final ? available : 0;
  if (!final && available < max) return 0;
  const limit = start + Math.min(available, max);
  const middle = Math.min(start + average, limit);
  const early = scan(data, start + min, middle, strict | 0);
  if (early > 0) return early - start;
  return (scan(data, middle, limit, loose | 0) || limit) - start;
}

/** The first position in (from, to] behind whose byte the gear hash has no bit of `mask`; 0 when there is none. `from` is at least 32. */
function scan(data: Uint8Array, from: number, to: number, mask: number): number {
  let hash = 0;
  // 32 bits of gear hash forget a byte after 32 shifts.
  for (let at = from - 32; at < from; at++) hash = ((hash << 1) + gear[data[at]!]!) | 0;
  let at = from;
  // Eight bytes at a time, by sums that do not wait for one another: nearly three times as fast as byte by byte.
  for (; at + 8 <= to; at += 8) {
    const g0 = gear[data[at]!]!;
    const g2 = gear[data[at + 2]!]!;
    const g4 = gear[data[at + 4]!]!;
    const g6 = gear[data[at + 6]!]!;
    const g01 = ((g0 << 1) + gear[data[at + 1]!]!) | 0;
    const g23 = ((g2 << 1) + gear[data[at + 3]!]!) | 0;
    const g45 = ((g4 << 1) + gear[data[at + 5]!]!) | 0;
    const g67 = ((g6 << 1) + gear[data[at + 7]!]!) | 0;
    const h0 = ((hash << 1) + g0) | 0;
    const h1 = ((hash << 2) + g01) | 0;
    const h2 = ((h1 << 1) + g2) | 0;
    const h3 = ((hash << 4) + (((g01 << 2) + g23) | 0)) | 0;
    const h4 = ((h3 << 1) + g4) | 0;
    const h5 = ((h3 << 2) + g45) | 0;
    const h6 = ((h5 << 1) + g6) | 0;
    hash = ((h3 << 4) + (((g45 << 2) + g67) | 0)) | 0;
    if ((h0 & mask) === 0) return at + 1;
    if ((h1 & mask) === 0) return at + 2;
    if ((h2 & mask) === 0) return at + 3;
    if ((h3 & mask) === 0) return at + 4;
    if ((h4 & mask) === 0) return at + 5;
    if ((h5 & mask) === 0) return at + 6;
    if ((h6 & mask) === 0) return at + 7;
    if ((hash & mask) === 0) return at + 8;
  }
  for (; at < to; at++) {
    hash = ((hash << 1) + gear[data[at]!]!) | 0;
    if ((hash & mask) === 0) return at + 1;
  }
  return 0;
}
