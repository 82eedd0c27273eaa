import type { RunDocument } from '../workflows/types.js';

export type NotifyEvent = 'success' | 'failure' | 'warning' | 'recovery' | 'start';

export interface Notification {
  event: NotifyEvent;
  host: string;
  run: RunDocument;
}

/** Tells somebody. Throws HoldfastError when it cannot; `retryable` says whether trying again can help. */
export interface Notifier {
  send(notification: Notification, signal: AbortSignal): Promise<void>;
}
