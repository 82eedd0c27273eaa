import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { signInput } from '../activities/auth.js';
import { findRepositoryJob } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { lockExport } from '../worker/export-lock.js';
import { type ExportDocument, type ExportInput, exportIdPrefix, partialOf } from '../workflows/export-types.js';
import type { RestoreHeartbeat, RestoreStatusAnswer } from '../workflows/restore-types.js';
import { stamp } from './backup.js';
import {
  follow,
  isObjectWith,
  type PrivateOptions,
  privateQueue,
  runOnHost,
  withPrivateWorker,
} from './private-run.js';
import type { RestoreUpdate } from './restore.js';
import { searchAttributePairs, usableSearchAttributes } from './search-attributes.js';
import type { Session } from './session.js';

/** An export as the command line asks for it; host and signature are added here. */
export type ExportRequest = Omit<ExportInput, 'host' | 'sig' | 'encrypted'>;

export interface ExportOptions
  extends Pick<PrivateOptions<RestoreUpdate>, 'intervalMs' | 'signal' | 'onUpdate' | 'onStart'> {
  log: Logger;
  /** The archive's password; for this process alone. */
  password?: string | undefined;
}

const endMs = 20_000;

/** @throws HoldfastError `JobUnknown`, `UsageInvalid` for a job whose snapshots are archives already. */
export function checkExport(config: Config, job: string): void {
  const hint = `Its archives lie in HOST/${job}/archives at its destinations; 'holdfast snapshots ${job}' names them.`;
  findRepositoryJob(config, job, 'export makes an archive of a snapshot in a repository', hint);
}

/**
 * Exports in this process's own worker, on a queue of its own.
 *
 * @throws HoldfastError: what the export failed with; `JobBusy` while another process writes the same file; `Cancelled` when
 * the signal fired. In each case no part of the archive is left in its folder.
 */
export async function exportSnapshot(
  session: Session,
  request: ExportRequest,
  options: ExportOptions,
): Promise<ExportDocument> {
  checkExport(session.loaded.config, request.job);
  const lock = request.file === '-' ? undefined : lockExport(session.loaded.config.state, request.file);
  try {
    const queue = privateQueue();
    const { log, password } = options;
    return await withPrivateWorker(session, { queue, log, archivePassword: password }, async (finished) => {
      const run = await start(session, request, queue, password !== undefined);
      try {
        return await follow(session, followed, run, finished, options);
      } catch (error) {
        await stop(session, run);
        throw error;
      }
    });
  } finally {
    if (lock !== undefined) rmSync(partialOf(request.file), { force: true });
    lock?.release();
  }
}

/**
 * Exports in the host's own worker, which goes on without this command. The same export that is under way is joined.
 *
 * @throws HoldfastError as `exportSnapshot`; `Cancelled` when the signal fired: the export goes on.
 */
export async function exportOnHost(
  session: Session,
  request: ExportRequest,
  options: Omit<ExportOptions, 'password'>,
): Promise<ExportDocument> {
  const { config } = session.loaded;
  const { job, file } = request;
  checkExport(config, job);
  const fields = { host: config.host, ...request, encrypted: false };
  const what = {
    ...followed,
    job,
    workflow: 'exportArchive',
    fields,
    identity: { ...fields, paths: [...request.paths].sort() },
    idPrefix: exportIdPrefix(config.host, job),
    ...textsOf(config, request),
    busy: { message: `another process is exporting to ${file}`, hint: 'Wait for its end.' },
  };
  return runOnHost<RestoreStatusAnswer, RestoreHeartbeat, ExportDocument>(session, what, options);
}

/** For the Web UI. */
const textsOf = (
  { host }: Config,
  { job, file, snapshot, paths, format }: ExportRequest,
): { summary: string; details: string } => ({
  summary: `Export of ${job} on ${host} to ${file}`,
  details: `**Snapshot** ${snapshot}\n\n**Paths** ${paths.slice(0, 10).join(', ') || 'all'}\n\n**File** ${file} (${format})`,
});

async function start(session: Session, request: ExportRequest, queue: string, encrypted: boolean): Promise<string> {
  const { config } = session.loaded;
  const { client, connection, namespace } = session.temporal;
  const { job, file } = request;
  const { summary, details } = textsOf(config, request);
  await endAbandoned(session, job, file);
  const fields = { host: config.host, ...request, encrypted };
  const input: ExportInput = { ...fields, sig: signInput(config.state, 'export', fields) };
  const usable = await usableSearchAttributes(connection, namespace);
  const run = `${exportIdPrefix(config.host, job)}/${stamp(new Date())}-${queue.slice(-6)}`;
  await client.workflow.start('exportArchive', {
    workflowId: run,
    taskQueue: queue,
    args: [input],
    workflowExecutionTimeout: '7d',
    memo: { job, host: config.host, queue, file },
    staticSummary: summary,
    staticDetails: details,
    typedSearchAttributes: searchAttributePairs(usable, { HoldfastJob: job, HoldfastHost: config.host }),
  });
  return run;
}

/** Ends open runs to the same file whose process is gone: its lock was free. */
async function endAbandoned(session: Session, job: string, file: string): Promise<void> {
  if (file === '-') return;
  const prefix = `${exportIdPrefix(session.loaded.config.host, job)}/`.replaceAll("'", "''");
  const query = `WorkflowType = 'exportArchive' AND ExecutionStatus = 'Running' AND WorkflowId STARTS_WITH '${prefix}'`;
  const { client } = session.temporal;
  for await (const { workflowId, memo } of client.workflow.list({ query })) {
    if (memo?.file !== file) continue;
    await client.workflow
      .getHandle(workflowId)
      .terminate('its process is gone')
      .catch(() => undefined);
  }
}

/** Cancels a run, and waits until nothing writes any more. */
async function stop(session: Session, run: string): Promise<void> {
  const handle = session.temporal.client.workflow.getHandle(run);
  const end = new AbortController();
  try {
    await handle.cancel();
    await Promise.race([handle.result(), sleep(endMs, undefined, { signal: end.signal })]);
  } catch {
    // It is over, or nobody can be asked: the worker's own end stops it then.
  } finally {
    end.abort();
  }
}

const followed = {
  type: 'export',
  isDocument: (value: unknown): value is ExportDocument => isObjectWith(value, 'run', 'archiveBytes'),
  isHeartbeat: (value: unknown): value is RestoreHeartbeat => isObjectWith(value, 'phase', 'bytes'),
};
