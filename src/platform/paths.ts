const slash = 47;

/** UTF-16 code units in the order of their UTF-8 bytes: surrogates (above U+FFFF) come last. '/' comes first. */
function rank(unit: number): number {
  if (unit === slash) return -1;
  if (unit < 0xd800) return unit;
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}

function compareStrings(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const unitA = a.charCodeAt(i);
    const unitB = b.charCodeAt(i);
    if (unitA !== unitB) return rank(unitA) - rank(unitB);
  }
  return a.length - b.length;
}

function compareBytes(a: Buffer, b: Buffer): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const byteA = a[i]!;
    const byteB = b[i]!;
    if (byteA !== byteB) return (byteA === slash ? -1 : byteA) - (byteB === slash ? -1 : byteB);
  }
  return a.length - b.length;
}

/**
 * Orders two '/'-separated paths by component, each by its raw bytes (UTF-8): a directory comes right before what it
 * holds, and `a/b` before `a-b`. This is the order of manifests. Negative, 0 or positive.
 */
export function comparePaths(a: string | Buffer, b: string | Buffer): number {
  if (typeof a === 'string' && typeof b === 'string') return compareStrings(a, b);
  return compareBytes(typeof a === 'string' ? Buffer.from(a) : a, typeof b === 'string' ? Buffer.from(b) : b);
}

/** Whether `path` lies below `directory` (both absolute, '/'-separated, without a trailing slash but for the root). */
export function isBelow(path: string, directory: string): boolean {
  if (directory.endsWith('/')) return path.length > directory.length && path.startsWith(directory);
  return path.length > directory.length && path[directory.length] === '/' && path.startsWith(directory);
}
