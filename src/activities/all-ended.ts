/** Waits for the end of them all, also after a failure: the next attempt is not to meet the rest of this one. */
export async function allEnded(work: readonly Promise<void>[]): Promise<void> {
  for (const each of await Promise.allSettled(work)) if (each.status === 'rejected') throw each.reason;
}
