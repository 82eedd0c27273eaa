import { once } from 'node:events';
import type { Context } from '../context.js';

/**
 * Prints a list as it comes, so that its length doesn't matter: with --json one array, else a line each.
 * Nothing is printed before the first element is there, so that an error at the start stands alone.
 */
export async function streamList<Item>(
  context: Context,
  items: AsyncIterable<Item>,
  line: (item: Item) => string,
): Promise<number> {
  const { json } = context.options;
  let count = 0;
  for await (const item of items) {
    const text = json ? `${count === 0 ? '[\n' : ',\n'}  ${JSON.stringify(item)}` : `${line(item)}\n`;
    count++;
    if (!process.stdout.write(text)) await once(process.stdout, 'drain');
  }
  if (json) process.stdout.write(count === 0 ? '[]\n' : '\n]\n');
  return count;
}
