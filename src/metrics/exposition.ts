import { Counter, Gauge, Registry } from 'prom-client';
import type { History } from '../activities/history.js';
import { expectedWithin } from '../config/expectation.js';
import type { Config, JobConfig } from '../config/schema.js';
import { isGood } from '../foresight/figures.js';
import type { RunDocument } from '../run-document.js';
import { version } from '../version.js';

/** What is not in the history. */
export interface Surroundings {
  /** Bytes. */
  spoolBytes: number;
  /** Tasks that wait for a worker; absent where the server does not say. */
  queues: { queue: string; tasks: number; ageSeconds: number }[];
}

const ended = ['succeeded', 'partial', 'failed', 'cancelled'] as const;
const good = ['succeeded', 'partial'] as const;

/**
 * The metrics of every configured job, worked out from the history now: they survive restarts. Times are Unix seconds, 0
 * for what never happened; sizes are bytes.
 */
export function metricsOf(config: Config, history: History, around: Surroundings): Registry {
  const registry = new Registry();
  const gauge = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
    new Gauge({ name: `holdfast_${name}`, help, labelNames, registers: [registry] });
  gauge('build_info', 'Always 1; which version runs.', ['version', 'host']).set({ version, host: config.host }, 1);

  const job = <Label extends string = never>(name: string, help: string, ...labels: Label[]) =>
    gauge(name, help, ['job', ...labels]);
  const byJob = {
    success: job('last_success_timestamp_seconds', 'When the newest run that counts as a success ended; 0: never.'),
    expected: job('expected_within_seconds', 'The longest time expected from one success to the next.'),
    began: job('last_run_timestamp_seconds', 'When the newest run that is over began; 0: never.'),
    status: job('last_run_status', '1 for how the newest run that is over ended, 0 for the rest.', 'status'),
    duration: job('last_duration_seconds', 'How long the newest run that is over took.'),
    running: job('running', 'Whether a run is in progress or paused.'),
    held: job('retention_held', 'Whether an anomaly holds the retention.'),
  };
  const byFigure = {
    sourceBytes: job('last_source_bytes', 'Size of the sources at the newest run that stored them.'),
    readBytes: job('last_read_bytes', 'Bytes that run read.'),
    newBytes: job('last_new_bytes', 'Bytes of it that no earlier snapshot had.'),
    storedBytes: job('last_stored_bytes', 'Bytes of those once compressed and encrypted.'),
    files: job('last_files', 'Files in its snapshot.'),
    unreadable: job('last_unreadable_files', 'Files it could not read.'),
  };
  const byDestination = {
    stored: job(
      'destination_last_stored_timestamp_seconds',
      'When the newest run ended whose snapshot is there; 0: never.',
      'destination',
    ),
    bytes: job('destination_last_stored_bytes', 'Bytes that run sent there.', 'destination'),
    failed: job('destination_last_failed', 'Whether the newest run that is over could not store there.', 'destination'),
    retries: job(
      'destination_last_retries',
      'Uploads of the newest run that failed and were tried again later.',
      'destination',
    ),
    missed: job('destination_missed_runs', 'Snapshots that are still to be delivered there.', 'destination'),
    free: job(
      'destination_free_bytes',
      'Free space, where the destination says it, at the last run that asked.',
      'destination',
    ),
    total: job('destination_total_bytes', 'Size, likewise.', 'destination'),
  };
  for (const [name, settings] of Object.entries(config.jobs)) {
    const of = { job: name };
    const last = history.newest(name, ended);
    byJob.success.set(of, endOf(history.newest(name, successes(settings))));
    const expected = expectedWithin(settings);
    if (expected !== undefined) byJob.expected.set(of, expected / 1000);
    byJob.began.set(of, last === undefined ? 0 : Date.parse(last.startedAt) / 1000);
    for (const status of ended) byJob.status.set({ ...of, status }, last?.status === status ? 1 : 0);
    if (typeof last?.durationMs === 'number') byJob.duration.set(of, last.durationMs / 1000);
    byJob.running.set(of, history.newest(name, ['running', 'paused']) === undefined ? 0 : 1);
    byJob.held.set(of, history.held(name) === undefined ? 0 : 1);

    const figures = history.figures({ job: name, limit: 50 });
    const read = figures.find(isGood);
    if (read !== undefined) {
      for (const key of ['sourceBytes', 'readBytes', 'newBytes', 'storedBytes', 'files', 'unreadable'] as const)
        byFigure[key].set(of, read[key]);
    }
    for (const destination of settings.destinations) {
      const there = { job: name, destination };
      const known = figures.flatMap((one) => one.destinations.filter((each) => each.name === destination));
      const stored = history.newest(name, good, destination);
      byDestination.stored.set(there, endOf(stored));
      const sent = stored?.destinations.find((each) => each.name === destination)?.bytes;
      if (sent !== undefined) byDestination.bytes.set(there, sent);
      const state = last?.destinations.find((each) => each.name === destination)?.status;
      byDestination.failed.set(there, state === 'missed' || state === 'failed' ? 1 : 0);
      byDestination.missed.set(there, history.owed(name, destination).length);
      if (known[0] !== undefined) byDestination.retries.set(there, known[0].misses);
      const space = known.find(({ free }) => free !== undefined);
      if (space?.free !== undefined) byDestination.free.set(there, space.free);
      if (space?.total !== undefined) byDestination.total.set(there, space.total);
    }
  }
  countRuns(config, history, registry);

  gauge('spool_used_bytes', 'What the spool folder holds.', []).set(around.spoolBytes);
  gauge('spool_max_bytes', 'How much it may hold (spool.max).', []).set(config.spool.max);
  const waiting = gauge('queue_tasks', 'Tasks that wait in Temporal for a worker, about.', ['queue']);
  const lag = gauge('queue_lag_seconds', 'How long the oldest of them has waited, about.', ['queue']);
  for (const { queue, tasks, ageSeconds } of around.queues) {
    waiting.set({ queue }, tasks);
    lag.set({ queue }, ageSeconds);
  }
  return registry;
}

/** What `expect` takes for a success, as the watch over missed runs does. */
const successes = ({ expect }: JobConfig): readonly string[] =>
  expect !== false && expect?.partial === true ? good : ['succeeded'];

const endOf = (run: RunDocument | undefined): number =>
  run === undefined ? 0 : Date.parse(run.endedAt ?? run.startedAt) / 1000;

function countRuns(config: Config, history: History, registry: Registry): void {
  const runs = new Counter({
    name: 'holdfast_runs_total',
    help: 'Runs in the history by how they ended.',
    labelNames: ['job', 'status'],
    registers: [registry],
  });
  const statuses = [...ended, 'skipped'] as const;
  // From the start, so that the first failure is an increase.
  for (const job of Object.keys(config.jobs)) for (const status of statuses) runs.inc({ job, status }, 0);
  for (const { job, status, count } of history.counts()) {
    if (Object.hasOwn(config.jobs, job) && statuses.some((one) => one === status)) runs.inc({ job, status }, count);
  }
}
