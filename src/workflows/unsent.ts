import type { Warning } from '../run-document.js';

/** Somebody who could not be told of a run. */
export interface Unsent {
  /** The notifier's name. */
  name: string;
  reason: string;
  /** That it began; left out: how it ended. */
  start?: boolean;
}

/** What the run's document says of it. */
export const unsentWarning = ({ name, reason, start }: Unsent): Warning => ({
  code: 'NotifyFailed',
  message: `notifier ${name} could not be reached${start ? ' at the start' : ''}: ${reason}`,
});

/** The warnings with those of who could not be told; what is said last of a notifier counts. */
export function withUnsent(warnings: readonly Warning[], unsent: readonly Unsent[]): Warning[] {
  return unsent.reduce<Warning[]>((all, one) => withNotifyWarning(all, one.name, unsentWarning(one)), [...warnings]);
}

/** The warnings with this one in place of what they said of the notifier. */
export const withNotifyWarning = (warnings: readonly Warning[], name: string, warning: Warning): Warning[] => [
  ...warnings.filter(({ code, message }) => code !== 'NotifyFailed' || !message.startsWith(`notifier ${name} `)),
  warning,
];
