import type { Logger } from 'pino';
import type { TargetServer } from '../activities/restore-database.js';
import { findJob } from '../config/load.js';
import type {
  RestoreDocument,
  RestoreHeartbeat,
  RestoreInput,
  RestoreStatusAnswer,
} from '../workflows/restore-types.js';
import { restoreIdPrefix } from '../workflows/restore-types.js';
import {
  isObjectWith,
  type PrivateOptions,
  type PrivateRun,
  type PrivateUpdate,
  requestId,
  runOnHost,
  runPrivately,
} from './private-run.js';
import { passingFolder } from './restore-database.js';
import type { Session } from './session.js';

/** A restore as the command line asks for it; host and signature are added here. */
export type RestoreRequest = Omit<RestoreInput, 'host' | 'sig'>;

export type RestoreUpdate = PrivateUpdate<RestoreStatusAnswer, RestoreHeartbeat>;
export interface RestoreOptions extends PrivateOptions<RestoreUpdate> {
  log: Logger;
  /** Where a database goes in place of its source's own server. */
  targetServer?: TargetServer | undefined;
  /** In the host's own worker. */
  onHost?: boolean;
}

/**
 * Restores in this process's own worker, on a queue of its own, or with `onHost` in the host's. The same restore that an
 * earlier command left unfinished is taken up where it was left.
 *
 * @throws HoldfastError: what the restore failed with; `JobBusy` while another process does the same; `Cancelled` when the
 * signal fired: the run stays open for the next time.
 */
export async function restore(
  session: Session,
  request: RestoreRequest,
  options: RestoreOptions,
): Promise<RestoreDocument> {
  const { config } = session.loaded;
  findJob(config, request.job);
  const { job, snapshot, paths } = request;
  const to = goal(request);
  const what: PrivateRun<RestoreHeartbeat, RestoreDocument> = {
    type: 'restore',
    job,
    fields: { host: config.host, ...request },
    identity: identityOf(session, request),
    idPrefix: restoreIdPrefix(config.host, job),
    summary: `Restore of ${job} on ${config.host} to ${to}`,
    details: `**Snapshot** ${snapshot}\n\n**Paths** ${paths.slice(0, 10).join(', ') || 'all'}\n\n**Target** ${to}`,
    busy: {
      message: `another process is doing the same restore to ${to}`,
      hint: 'Wait for its end, or restore to another folder.',
    },
    isDocument: (value): value is RestoreDocument => isObjectWith(value, 'run', 'damaged'),
    isHeartbeat: (value): value is RestoreHeartbeat => isObjectWith(value, 'phase', 'bytes'),
  };
  const run = options.onHost === true ? runOnHost : runPrivately;
  return run<RestoreStatusAnswer, RestoreHeartbeat, RestoreDocument>(session, what, options);
}

/** Where it is restored to, for people. */
function goal({ target, database }: RestoreRequest): string {
  const load = database?.load;
  return load === undefined
    ? target
    : `the database ${load.into}${load.server === undefined ? '' : ` at ${load.server}`}`;
}

const identityOf = ({ loaded }: Session, request: RestoreRequest): object => ({
  host: loaded.config.host,
  ...request,
  paths: [...request.paths].sort(),
});

/** The request with the folder that its dump passes through: the same for the same request. */
export function throughFolder(session: Session, request: RestoreRequest): RestoreRequest {
  return { ...request, target: passingFolder(session.loaded.config, requestId(identityOf(session, request))) };
}
