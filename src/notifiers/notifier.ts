import type { NotifyEvent } from '../config/schema.js';
import type { RunDocument } from '../run-document.js';

export type Severity = 'info' | 'warning' | 'error';

/** A job that did not succeed in time. Times are ISO 8601. */
export interface Missed {
  /** Its last success; null: none so far. */
  lastSuccess: string | null;
  /** The longest time expected between two, milliseconds. */
  withinMs: number;
  dueAt: string;
  /** No worker takes this host's work: it is off, or its worker is not up. */
  hostGone: boolean;
  /** The run in progress, if there is one. */
  running: string | null;
}

/** What a period's runs of one job came to. */
export interface DigestJob {
  job: string;
  runs: { succeeded: number; partial: number; failed: number; cancelled: number; skipped: number };
  lastSuccess: string | null;
  /** It had not succeeded within the time that is expected when the period ended. */
  overdue: boolean;
  /** How many of the runs were unlike the ones before. */
  unusual: number;
  /** Bytes stored in the period. */
  stored: number;
  /** The last error or warning of the newest run that was not good. */
  trouble: string | null;
}

export interface Digest {
  from: string;
  to: string;
  jobs: DigestJob[];
}

/** Something to tell: the document that a webhook sends, but for its `version`. Fields may be added, none goes away. */
export interface Notification {
  /** The same for every attempt to tell this, so that receivers can leave out what they know. */
  id: string;
  event: NotifyEvent | 'test';
  severity: Severity;
  host: string;
  /** Null for what is about the host. */
  job: string | null;
  /** When it happened, ISO 8601. */
  time: string;
  /** One line: `site: FAILED on offsite (2 of 3 stored)`. */
  subject: string;
  /** What to do next; null: nothing. */
  next: string | null;
  facts: { name: string; value: string }[];
  /** Errors and warnings, cut where there are many or they are long. */
  problems: string[];
  /** All of the above as plain text. */
  text: string;
  run: RunDocument | null;
  /** How often the same failed in a row so far, and since when. Of a recovery: how often something failed before it. */
  repeated: { count: number; since: string } | null;
  missed: Missed | null;
  digest: Digest | null;
}

/**
 * Tells somebody.
 *
 * @throws HoldfastError `NotifyFailed`, or `AuthDenied` when it was refused; `retryable` says whether trying again can help.
 */
export interface Notifier {
  send(notification: Notification, signal: AbortSignal): Promise<void>;
}
