import { existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { HoldfastError } from '../errors.js';
import type { BackupInput, DestinationProgress, RunDocument, RunStatus, Totals, Warning } from '../workflows/types.js';
import { closeFigures } from './assess.js';
import { emptyDocument } from './document.js';
import type { Host } from './host.js';
import { collectProblems, keepManifests } from './manifest.js';
import { RunContext, runFolder } from './run-context.js';
import type { Problem } from './threads/spool-files.js';

export interface FinishRequest {
  input: BackupInput;
  run: string;
  status: RunStatus;
  startedAt: string;
  endedAt: string;
  destinations: DestinationProgress[];
  totals: Totals;
  warnings: Warning[];
  error?: { code: string; message: string; hint?: string };
  joined?: string;
}

const maxWarnings = 200;
/** What `deliver` needs of a run's spool. */
const kept = ['packs', 'objects', 'config.json', 'begun.json'];

/** Ends a run: its document goes to the history, its manifests are kept for the next run, its lock and its spool are freed. */
export async function finish(host: Host, request: FinishRequest): Promise<RunDocument> {
  const { run, input } = request;
  const recorded = host.history.get(run);
  if (recorded && recorded.endedAt !== null) {
    // A worker died after it had recorded the end: nothing is left to do but to clear up.
    clearUp(host, request);
    return recorded;
  }
  let context: RunContext | undefined;
  try {
    context = RunContext.load(host, run);
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'SpoolLost') throw error;
  }
  const stored = request.destinations.some(({ state }) => state === 'stored' || state === 'healed');
  const problems = problemsOf(context);
  const warnings: Warning[] = [
    ...(context?.begun.warnings ?? []),
    ...request.warnings,
    ...problems.problems.map(({ code, path: where, message }) => ({
      code,
      path: where.slice(0, 512),
      message: message.slice(0, 300),
    })),
  ].slice(0, maxWarnings);
  if (problems.more > 0) warnings.push({ code: 'MoreProblems', message: `${problems.more} more files had problems` });
  const { totals } = request;
  const document: RunDocument = {
    ...emptyDocument(run, input.job, request.startedAt, request.status),
    snapshot: context && stored ? context.begun.snapshot : null,
    mode: context?.begun.mode ?? null,
    files: { total: totals.files, new: totals.newFiles, changed: totals.changedFiles, unreadable: totals.unreadable },
    bytes: { source: totals.sourceBytes, read: totals.readBytes, new: totals.newBytes, stored: totals.storedBytes },
    destinations: request.destinations.map(({ name, state, packs, bytes, error }) => ({
      name,
      status: state === 'pending' ? 'missed' : state,
      packs,
      bytes,
      error: error ?? null,
    })),
    warnings,
    endedAt: request.endedAt,
    durationMs: Date.parse(request.endedAt) - Date.parse(request.startedAt),
    ...(request.joined === undefined ? {} : { joined: request.joined }),
    ...(request.error ? { error: request.error } : {}),
  };
  if (context && stored) {
    // Only a cache: the next run reads them back from a destination.
    await keepManifests(context).catch((error: unknown) => host.log.warn({ err: error, run }, 'manifests not kept'));
  }
  if (context && request.status !== 'cancelled') {
    for (const { name, state } of request.destinations) if (state === 'missed') host.history.owe(input.job, name, run);
  }
  // Before the spool goes, without which a repetition of this step could not say as much.
  host.history.put(host.config.host, document);
  closeFigures(host, document);
  clearUp(host, request);
  host.log.info(
    {
      run,
      job: input.job,
      status: request.status,
      files: document.files,
      bytes: document.bytes,
      ms: document.durationMs,
    },
    `backup of ${input.job} ${request.status}`,
  );
  return document;
}

function problemsOf(context: RunContext | undefined): { problems: Problem[]; more: number } {
  try {
    if (context) return collectProblems(context, maxWarnings);
  } catch (error) {
    // A spool that is damaged has told so already; the run is to end all the same.
    if (!(error instanceof HoldfastError) && !(error instanceof SyntaxError)) throw error;
  }
  return { problems: [], more: 0 };
}

/** Leaves of the spool what a destination is owed, and lets the next run begin. */
function clearUp(host: Host, { run, input }: FinishRequest): void {
  const folder = runFolder(host.config.spool.path, run);
  if (host.history.isOwed(run)) {
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      if (!kept.includes(name)) rmSync(path.join(folder, name), { recursive: true, force: true });
    }
  } else {
    rmSync(folder, { recursive: true, force: true });
  }
  host.history.releaseLock(input.job, run);
}
