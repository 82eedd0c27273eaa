import type { RunUpdate } from '../../control/follow.js';
import type { DestinationProgress, DestinationState, Phase } from '../../workflows/types.js';
import { humanBytes, humanCount, humanDuration, humanRate, timeOfDay } from './format.js';
import { printable } from './table.js';

/** A run's progress in numbers, as `--json` follows it and the display shows it. */
export interface Progress {
  run: string;
  job: string;
  status: string;
  phase: Phase | 'waiting';
  files: number;
  bytes: { source: number; read: number; stored: number };
  batches: { done: number; total: number };
  destinations: {
    name: string;
    status: DestinationState;
    packs: number;
    bytes: number;
    error?: string;
    /** While it is tried again: when the run gives up on it (ISO 8601). */
    retryUntil?: string;
  }[];
  /** 0 to 1, once there is something to go by. */
  done: number | null;
  /** Why it does not get on. */
  message?: string;
}

/** The counted totals with what the activities in progress have done so far on top. */
export function progressOf(update: RunUpdate, job: string): Progress {
  const { status, heartbeats } = update;
  const sum = (pick: (heartbeat: RunUpdate['heartbeats'][number]) => number, which = heartbeats) =>
    which.reduce((total, heartbeat) => total + pick(heartbeat), 0);
  const reading = heartbeats.filter((heartbeat) => heartbeat.destination === undefined);
  const phase = status?.phase ?? heartbeats[0]?.phase ?? 'waiting';
  const scanning = phase === 'snapshot';
  const destinations = (status?.destinations ?? []).map(({ name, state, packs, bytes, error, retryUntil }) => {
    const sending = heartbeats.filter((heartbeat) => heartbeat.destination === name);
    return {
      name,
      status: state,
      packs,
      bytes: bytes + sum((heartbeat) => heartbeat.stored, sending),
      ...(error === undefined ? {} : { error }),
      ...(retryUntil === undefined ? {} : { retryUntil }),
    };
  });
  const message = messageOf(update);
  return {
    run: update.run,
    job: status?.job ?? job,
    status: status?.status ?? 'running',
    phase,
    files: Math.max(status?.totals.files ?? 0, scanning ? sum((heartbeat) => heartbeat.files, reading) : 0),
    bytes: {
      source: status?.totals.sourceBytes ?? 0,
      read: (status?.totals.readBytes ?? 0) + (scanning ? 0 : sum((heartbeat) => heartbeat.read, reading)),
      stored: (status?.totals.storedBytes ?? 0) + sum((heartbeat) => heartbeat.stored, reading),
    },
    batches: status?.batches ?? { done: 0, total: 0 },
    destinations,
    done: fraction(update),
    ...(message === undefined ? {} : { message }),
  };
}

const afterStore: readonly Phase[] = ['manifest', 'archive', 'commit', 'prune', 'notify', 'done'];

function fraction({ status, heartbeats }: RunUpdate): number | null {
  if (status === undefined || status.batches.total === 0) return null;
  if (afterStore.includes(status.phase)) return 1;
  // What is read of the batches in progress counts as parts of a batch.
  const parts = heartbeats
    .filter((heartbeat) => heartbeat.destination === undefined && heartbeat.total !== undefined && heartbeat.total > 0)
    .reduce((total, heartbeat) => total + Math.min(1, heartbeat.read / (heartbeat.total ?? 1)), 0);
  return Math.min(1, (status.batches.done + parts) / status.batches.total);
}

function messageOf({ status, waiting, retries }: RunUpdate): string | undefined {
  if (waiting === 'worker') return 'no worker is up; the run goes on with the next `holdfast up`';
  if (waiting === 'server') return 'waiting for the Temporal server';
  const retrying = status === undefined ? undefined : retryingText(status.destinations);
  if (retrying !== undefined) return retrying;
  const retry = retries[0];
  if (retry !== undefined) return `${retry.activity} (attempt ${retry.attempt}): ${retry.message}`;
  return status?.message;
}

/** `2 of 3 stored; box retrying until 09:00: token expired`; undefined when none is tried again. */
function retryingText(destinations: readonly DestinationProgress[]): string | undefined {
  const retrying = destinations.flatMap(({ name, retryUntil, error }) =>
    retryUntil === undefined ? [] : [`${name} retrying until ${timeOfDay(retryUntil)}: ${reasonText(error)}`],
  );
  if (retrying.length === 0) return undefined;
  const stored = destinations.filter(({ state }) => state === 'stored' || state === 'healed').length;
  return [`${stored} of ${destinations.length} stored`, ...retrying].join('; ');
}

const reasonText = (error = 'it failed'): string =>
  error.startsWith('AuthExpired: ') ? error.replace(/^AuthExpired: /, 'token expired: ') : error;

interface Speed {
  at: number;
  read: number;
}

const window = 10_000;

/** Bytes per second over the last ten seconds. */
export class RateMeter {
  private samples: Speed[] = [];

  add(at: number, read: number): void {
    this.samples.push({ at, read });
    while (this.samples.length > 2 && (this.samples[0]?.at ?? 0) < at - window) this.samples.shift();
  }

  get rate(): number {
    const first = this.samples[0];
    const last = this.samples.at(-1);
    if (first === undefined || last === undefined || last.at === first.at) return 0;
    return Math.max(0, ((last.read - first.read) / (last.at - first.at)) * 1000);
  }
}

/** Milliseconds that are left when the work so far is an example of the rest; undefined before there is one. */
export function timeLeft(done: number | null, elapsedMs: number): number | undefined {
  if (done === null || done <= 0.01 || elapsedMs < 2000) return undefined;
  return (elapsedMs * (1 - done)) / done;
}

/** The lines of a live display. */
export function progressLines(progress: Progress, rate: number, left: number | undefined): string[] {
  const { job, phase, status, bytes, files, done, destinations, message } = progress;
  const parts = [`${job}: ${status === 'paused' ? 'paused' : phase}`];
  if (done !== null) parts.push(`${Math.floor(done * 100)} %`);
  if (files > 0) parts.push(`${humanCount(files)} files`);
  if (bytes.source > 0 || bytes.read > 0) {
    parts.push(`${humanBytes(bytes.read)} read${bytes.source > 0 ? ` of ${humanBytes(bytes.source)}` : ''}`);
  }
  if (rate > 0) parts.push(humanRate(rate));
  if (left !== undefined && left > 0) parts.push(`${humanDuration(left)} left`);
  const lines = [parts.join(' · ')];
  for (const { name, status: state, bytes: stored, error } of destinations) {
    lines.push(`  ${name}: ${state} · ${humanBytes(stored)}${error === undefined ? '' : ` · ${error}`}`);
  }
  if (message !== undefined) lines.push(`  ${message}`);
  return lines.map(printable);
}
