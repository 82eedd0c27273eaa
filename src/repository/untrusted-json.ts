/**
 * Parses JSON from a repository, which may be in strangers' hands: objects and lists nested deeper than `maxDepth` are refused,
 * since whoever walks them (also `JSON.stringify`) would run out of stack.
 * @returns undefined for anything that is not such JSON.
 */
export function parseUntrusted(data: Uint8Array, maxDepth: number): unknown {
  if (isDeeper(data, maxDepth)) return undefined;
  try {
    return JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('utf8'));
  } catch {
    return undefined;
  }
}

const [quote, backslash] = [0x22, 0x5c];
const [openObject, openList, closeObject, closeList] = [0x7b, 0x5b, 0x7d, 0x5d];

function isDeeper(data: Uint8Array, limit: number): boolean {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < data.length; at++) {
    const byte = data[at];
    if (inString) {
      if (byte === backslash) at++;
      else if (byte === quote) inString = false;
    } else if (byte === quote) inString = true;
    else if (byte === openObject || byte === openList) {
      if (++depth > limit) return true;
    } else if (byte === closeObject || byte === closeList) depth--;
  }
  return false;
}
