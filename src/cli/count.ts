import { InvalidArgumentError } from 'commander';

/** A whole number from 1, for options that count. */
export function toCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('expected a whole number from 1.');
  return count;
}
