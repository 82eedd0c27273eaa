import { patched } from '@temporalio/workflow';

/** Tells all of them at once, so that one that hangs does not hold back the others; what began before that goes on one by one. */
export async function sideBySide(names: readonly string[], tell: (name: string) => Promise<void>): Promise<void> {
  if (names.length > 1 && patched('notify-side-by-side')) await Promise.all(names.map(tell));
  else for (const name of names) await tell(name);
}
