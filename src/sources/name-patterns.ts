/** Whether a name is what a pattern with `*` (any characters) says. */
export function matcherOf(pattern: string): (name: string) => boolean {
  const source = pattern
    .split('*')
    .map((piece) => piece.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    .join('.*');
  const expression = new RegExp(`^${source}$`, 's');
  return (name) => expression.test(name);
}
