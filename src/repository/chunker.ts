import { createHash } from 'node:crypto';

/** Files below this size are one chunk. */
export const wholeFileLimit = 256 * 1024;
export const minChunk = 256 * 1024;
export const averageChunk = 1024 * 1024;
export const maxChunk = 4 * 1024 * 1024;

/** 256 gear values derived from SHA-256, so that the table needs no listing in the format. */
function gearTable(): Uint32Array {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    table[i] = createHash('sha256').update(`holdfast gear ${i}`).digest().readUInt32LE(0);
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
  // 32 bits of gear hash forget a byte after 32 shifts: begin that far before the earliest cut.
  let position = start + min - 32;
  let hash = 0;
  const warm = start + min;
  for (; position < warm; position++) hash = ((hash << 1) + gear[data[position]!]!) | 0;
  for (; position < middle; position++) {
    hash = ((hash << 1) + gear[data[position]!]!) | 0;
    if ((hash & strict) === 0) return position + 1 - start;
  }
  for (; position < limit; position++) {
    hash = ((hash << 1) + gear[data[position]!]!) | 0;
    if ((hash & loose) === 0) return position + 1 - start;
  }
  return limit - start;
}
