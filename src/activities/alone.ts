/**
 * Runs work of one name one at a time: after a heartbeat time-out an old attempt may still run in this process, and the
 * new one waits for its end.
 */
export function oneAtATime(): <T>(what: string, work: () => Promise<T>) => Promise<T> {
  const running = new Map<string, Promise<unknown>>();
  return async (what, work) => {
    const before = running.get(what);
    const mine = (async () => {
      await before?.catch(() => undefined);
      return work();
    })();
    running.set(what, mine);
    try {
      return await mine;
    } finally {
      if (running.get(what) === mine) running.delete(what);
    }
  };
}
