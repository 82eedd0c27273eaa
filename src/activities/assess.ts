import { createHash } from 'node:crypto';
import { TokenFile } from '../destinations/tokens.js';
import { type Anomaly, anomalies } from '../foresight/anomaly.js';
import type { DestinationFigures, RunFigures } from '../foresight/figures.js';
import { codeOf } from '../notifiers/next-step.js';
import type { DestinationProgress, RunDocument, Totals, Warning } from '../workflows/types.js';
import type { Host } from './host.js';
import { collectProblems, type ManifestRecord } from './manifest.js';
import type { RunContext } from './run-context.js';
import { readJson } from './threads/line-writer.js';
import { spoolFiles } from './threads/spool-files.js';

export interface AssessRequest {
  startedAt: string;
  totals: Totals;
  destinations: DestinationProgress[];
}

export interface AssessAnswer {
  warnings: Warning[];
  /** Retention is not to remove anything until somebody has looked. */
  hold: boolean;
}

/** Longest wait for a destination to say how full it is, ms. */
const spaceTimeoutMs = 5000;

/**
 * Puts a run into numbers, keeps them, and compares them with the job's earlier runs. With `onAnomaly: hold` a grave
 * anomaly holds the job's retention from now on.
 */
export async function assess(context: RunContext, request: AssessRequest, signal: AbortSignal): Promise<AssessAnswer> {
  const { host, run, begun, job } = context;
  const figures = await figuresOf(context, request, signal);
  const earlier = host.history.figures({ job: begun.job, limit: 400 });
  const accepted = host.history.acceptedAt(begun.job);
  const found = anomalies(
    figures,
    // What somebody accepted is the new usual: what came before says nothing any more.
    earlier.filter(({ at }) => accepted === undefined || at >= accepted),
  );
  host.history.putFigures(figures);
  const grave = found.filter((one) => one.grave);
  if (job.onAnomaly === 'hold' && grave.length > 0) host.history.hold(begun.job, run, grave[0]?.message ?? '');
  const hold = host.history.held(begun.job);
  const warnings = found.map(warningOf);
  if (hold) {
    warnings.push({
      code: 'RetentionHeld',
      message: `nothing is removed since ${hold.since}: ${hold.reason}; when all is well: holdfast anomalies accept ${begun.job}`,
    });
  }
  for (const one of found) host.log.warn({ run, job: begun.job, metric: one.metric }, `anomaly: ${one.message}`);
  return { warnings, hold: hold !== undefined };
}

const warningOf = ({ message }: Anomaly): Warning => ({ code: 'Anomaly', message });

async function figuresOf(context: RunContext, request: AssessRequest, signal: AbortSignal): Promise<RunFigures> {
  const { begun, job } = context;
  const { totals } = request;
  const record = readJson<ManifestRecord>(spoolFiles.manifestResult(context.folder));
  const destinations = await Promise.all(
    request.destinations.map(async ({ name, state, misses }): Promise<DestinationFigures> => {
      const space = await spaceOf(context, name, signal);
      const login = await new TokenFile(context.host.state, name).read().catch(() => undefined);
      return {
        name,
        state: state === 'pending' ? 'missed' : state,
        misses,
        ...space,
        ...(login?.since === undefined ? {} : { login: login.since }),
      };
    }),
  );
  const { unreadable } = collectProblems(context, 0);
  return {
    run: context.run,
    job: begun.job,
    at: request.startedAt,
    status: 'running',
    durationMs: Date.now() - Date.parse(request.startedAt),
    mode: begun.mode,
    files: totals.files,
    newFiles: totals.newFiles,
    changedFiles: totals.changedFiles,
    unreadable,
    sourceBytes: totals.sourceBytes,
    readBytes: totals.readBytes,
    newBytes: totals.newBytes,
    storedBytes: totals.storedBytes,
    sources: (record?.sources ?? []).map(({ name, files, bytes }) => ({
      name,
      type: job.sources.find((source) => source.name === name)?.type ?? 'files',
      files,
      bytes,
    })),
    destinations,
    config: createHash('sha256').update(JSON.stringify(job.sources)).digest('hex').slice(0, 16),
  };
}

async function spaceOf(
  context: RunContext,
  name: string,
  signal: AbortSignal,
): Promise<{ free: number; total: number } | undefined> {
  try {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(spaceTimeoutMs)]);
    const destination = await context.host.destination(name, context.destinationConfig(name));
    return await destination.space(limited);
  } catch {
    // Not knowing it costs a point of the forecast, nothing else.
    return undefined;
  }
}

const outcomeOf = ({ status, error }: RunDocument['destinations'][number]): { state: string; error?: string } => ({
  state: status,
  ...(error === null ? {} : { error: codeOf(error) }),
});

/** Completes a run's figures with how it ended; runs that never came to be assessed get what their document says. */
export function closeFigures(host: Host, document: RunDocument): void {
  if (document.status === 'skipped') return;
  const known = host.history.figure(document.run);
  const { files, bytes } = document;
  host.history.putFigures({
    ...(known ?? {
      run: document.run,
      job: document.job,
      at: document.startedAt,
      files: files.total,
      newFiles: files.new,
      changedFiles: files.changed,
      unreadable: files.unreadable,
      sourceBytes: bytes.source,
      readBytes: bytes.read,
      newBytes: bytes.new,
      storedBytes: bytes.stored,
      sources: [],
      destinations: document.destinations.map((one) => ({ name: one.name, ...outcomeOf(one), misses: 0 })),
    }),
    ...(known
      ? {
          destinations: known.destinations.map((one) => {
            const ended = document.destinations.find(({ name }) => name === one.name);
            return { ...one, ...(ended ? outcomeOf(ended) : {}) };
          }),
        }
      : {}),
    mode: document.mode,
    status: document.status,
    durationMs: document.durationMs,
    ...(document.error ? { error: document.error.code } : {}),
  });
}
