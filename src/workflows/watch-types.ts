/** Names and shapes of the watch that workflow, activities and control share. No code that runs. */

/** What starts a watch: it names, never describes. `sig` is an HMAC under the state folder's input key. */
export interface WatchInput {
  host: string;
  sig: string;
  /** Set by continue-as-new only. */
  carried?: WatchCarried;
}

/** One job's expectation, as its host tells it. Times are milliseconds. */
export interface Expectation {
  job: string;
  /** The longest time from one success to the next. */
  withinMs: number;
  lastSuccess: number | null;
  /** The run in progress. */
  running: string | null;
  /** Notifiers of the job. */
  notify: string[];
}

/** What the host says of its jobs. */
export interface Observation {
  jobs: Expectation[];
  /** When notifications that were held back, or a digest, are to be sent; null: nothing is. */
  flushAt: number | null;
}

export interface Alarm {
  /** When the success was due. */
  due: number;
  /** The last success at that time: a later one ends it. */
  lastSuccess: number | null;
  /** Notifiers that have been told. */
  told: string[];
  /** Not by the host itself, which does not know of it. */
  elsewhere: boolean;
}

/** A job being watched. */
export interface Watched extends Expectation {
  /** Nothing is expected earlier than `withinMs` after this: when it was first seen, or last seen paused. */
  since: number;
  alarm?: Alarm;
}

export interface WatchCarried {
  jobs: Watched[];
  flushAt: number | null;
}

/** Something for one notifier to tell. */
export interface MissedNotice {
  kind: 'missed';
  job: string;
  lastSuccess: number | null;
  withinMs: number;
  due: number;
  hostGone: boolean;
  running: string | null;
}

export interface BackNotice {
  kind: 'back';
  job: string;
  /** When the success was due. */
  due: number;
  lastSuccess: number;
}

export type Notice = MissedNotice | BackNotice;

export const watchId = (host: string): string => `watch/${host}`;
/** Asks a watch to look at its host now. */
export const lookSignal = 'look';
