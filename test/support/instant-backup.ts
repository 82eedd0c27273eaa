/** A `backup` workflow that is over at once. */
export async function backup(): Promise<string> {
  return 'done';
}
