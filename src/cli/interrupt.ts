/** Ctrl-C and SIGTERM: the first asks politely, the second ends the process at once. */
export interface Interrupt {
  readonly signal: AbortSignal;
  /** Which signal came. */
  readonly name: NodeJS.Signals | undefined;
  dispose(): void;
}

export function onInterrupt(): Interrupt {
  const controller = new AbortController();
  let name: NodeJS.Signals | undefined;
  const handle = (signal: NodeJS.Signals) => {
    if (name !== undefined) process.exit(130);
    name = signal;
    controller.abort();
  };
  const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM'];
  for (const signal of signals) process.on(signal, handle);
  return {
    signal: controller.signal,
    get name() {
      return name;
    },
    dispose() {
      for (const signal of signals) process.off(signal, handle);
    },
  };
}
