/** Values, lists and objects; more than the largest of ours has. Each may take a hundred times its text in memory. */
export const valueLimit = 8_000_000;

/**
 * Parses JSON from a repository, which may be in strangers' hands: objects and lists nested deeper than `maxDepth` are refused,
 * since whoever walks them (also `JSON.stringify`) would run out of stack, and so is what has too many values to be held.
 * @returns undefined for anything that is not such JSON.
 */
export function parseUntrusted(data: Uint8Array, maxDepth: number, maxValues = valueLimit): unknown {
  if (isExcessive(data, maxDepth, maxValues)) return undefined;
  try {
    return JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('utf8'));
  } catch {
    return undefined;
  }
}

const [quote, backslash] = [0x22, 0x5c];
const [openObject, openList, closeObject, closeList] = [0x7b, 0x5b, 0x7d, 0x5d];
const comma = 0x2c;

function isExcessive(data: Uint8Array, maxDepth: number, maxValues: number): boolean {
  let depth = 0;
  let values = 1;
  let inString = false;
  for (let at = 0; at < data.length; at++) {
    const byte = data[at];
    if (inString) {
      if (byte === backslash) at++;
      else if (byte === quote) inString = false;
    } else if (byte === quote) inString = true;
    else if (byte === openObject || byte === openList) {
      if (++depth > maxDepth || ++values > maxValues) return true;
    } else if (byte === comma) {
      if (++values > maxValues) return true;
    } else if (byte === closeObject || byte === closeList) depth--;
  }
  return false;
}
