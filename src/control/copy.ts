import type { Logger } from 'pino';
import { findJob } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { HoldfastError } from '../errors.js';
import type { CopyDocument, CopyHeartbeat, CopyStatusAnswer } from '../workflows/copy-types.js';
import { copyIdPrefix } from '../workflows/copy-types.js';
import { findDestination } from './destinations.js';
import { isObjectWith, type PrivateOptions, type PrivateUpdate, runPrivately } from './private-run.js';
import type { Session } from './session.js';

export interface CopyRequest {
  job: string;
  /** Names of destinations. */
  from: string;
  to: string;
}

export type CopyUpdate = PrivateUpdate<CopyStatusAnswer, CopyHeartbeat>;

/** @throws HoldfastError `JobUnknown`, `UsageInvalid`. */
export function checkCopy(config: Config, { job, from, to }: CopyRequest): void {
  findJob(config, job);
  for (const name of [from, to]) findDestination(config, name);
  if (from === to) throw new HoldfastError('UsageInvalid', `'${from}' cannot be copied to itself`);
}

/**
 * Replicates a job's repository from one destination to another, in this process's own worker. What an earlier command left
 * unfinished is gone on with.
 *
 * @throws HoldfastError as `checkCopy`; `RepositoryMismatch` and whatever else the copy failed with; `JobBusy` while another process does the same; `Cancelled` when the signal fired.
 */
export async function copy(
  session: Session,
  request: CopyRequest,
  options: PrivateOptions<CopyUpdate> & { log: Logger },
): Promise<CopyDocument> {
  const { config } = session.loaded;
  checkCopy(config, request);
  const { job, from, to } = request;
  const fields = { host: config.host, job, from, to };
  return runPrivately<CopyStatusAnswer, CopyHeartbeat, CopyDocument>(
    session,
    {
      type: 'copy',
      job,
      fields,
      identity: fields,
      idPrefix: copyIdPrefix(config.host, job),
      summary: `Copy of ${job} on ${config.host} from ${from} to ${to}`,
      details: `**From** ${from}\n\n**To** ${to}`,
      busy: { message: `another process is copying ${job} from ${from} to ${to}`, hint: 'Wait for its end.' },
      isDocument: (value): value is CopyDocument => isObjectWith(value, 'run', 'snapshots', 'packs'),
      isHeartbeat: (value): value is CopyHeartbeat => isObjectWith(value, 'phase', 'packs', 'bytes'),
    },
    options,
  );
}
