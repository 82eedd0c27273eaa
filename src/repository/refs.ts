import { parseEntry } from './entry.js';
import { splitLines } from './lines.js';

/** The ids of the chunks that a manifest chunk's entries name, each once: 32 bytes each. */
export function refsOf(content: Buffer): Buffer {
  const ids = new Set<string>();
  for (const line of splitLines(content)) {
    for (const id of parseEntry(line).chunks ?? []) ids.add(id);
  }
  return Buffer.concat([...ids].map((id) => Buffer.from(id, 'hex')));
}
