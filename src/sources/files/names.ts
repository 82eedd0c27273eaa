import { readdirSync } from 'node:fs';
import { comparePaths } from '../../platform/paths.js';

const beyondBmpOrder = /[\ud800-\uffff]/;
const replacement = '\ufffd';

/** Sorts names in place by their UTF-8 bytes. */
export function sortNames(names: string[]): string[] {
  for (const name of names) {
    // Only from here on do UTF-16 and UTF-8 disagree about the order.
    if (beyondBmpOrder.test(name)) return names.sort(comparePaths);
  }
  return names.sort();
}

/**
 * The sorted names in a directory; as Buffers when one of them may not be valid UTF-8, or when the directory's own path
 * is a Buffer. `extra` names are listed even if the directory doesn't show them. Throws what readdir throws.
 */
export function listNames(directory: string | Buffer, extra: readonly string[]): string[] | Buffer[] {
  if (typeof directory === 'string') {
    const names = readdirSync(directory);
    for (const name of extra) if (!names.includes(name)) names.push(name);
    if (!names.some((name) => name.includes(replacement))) return sortNames(names);
  }
  const names = readdirSync(directory, { encoding: 'buffer' });
  for (const name of extra) {
    const bytes = Buffer.from(name);
    if (!names.some((known) => known.equals(bytes))) names.push(bytes);
  }
  return names.sort(Buffer.compare);
}
