import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { signInput } from '../activities/auth.js';
import { History } from '../activities/history.js';
import { HoldfastError } from '../errors.js';
import { type BackupInput, type BackupOptions, backupIdPrefix, controlQueue } from '../workflows/types.js';
import { checkBackup } from './check-backup.js';
import { isRunning } from './executions.js';
import { searchAttributePairs, usableSearchAttributes } from './search-attributes.js';
import type { Session } from './session.js';

export interface StartedRun {
  run: string;
  job: string;
  /** `queued`: another run of the job is in progress; this one follows it. */
  status: 'running' | 'queued';
  /** It waited already; this call made none. */
  joined: boolean;
}

/**
 * Starts a backup of one job from the current config, or joins the one that waits behind the active run.
 *
 * @throws HoldfastError `JobUnknown`; what Temporal throws.
 */
export async function startBackup(session: Session, job: string, options: BackupOptions = {}): Promise<StartedRun> {
  const { config, hash } = session.loaded;
  checkBackup(config, job, options);
  const busy = await busyRun(session, job);
  if (busy?.queued !== undefined) return { run: busy.queued, job, status: 'queued', joined: true };

  const { client, connection, namespace } = session.temporal;
  const fields = { host: config.host, job, configHash: hash, options };
  const input: BackupInput = { ...fields, sig: signInput(config.state, 'backup', fields) };
  const usable = await usableSearchAttributes(connection, namespace);
  for (let tries = 0; ; tries++) {
    const run = `${backupIdPrefix(config.host, job)}/${stamp(new Date(Date.now() + tries))}`;
    try {
      await client.workflow.start('backup', {
        workflowId: run,
        taskQueue: controlQueue,
        args: [input],
        memo: { job, host: config.host },
        staticSummary: `Backup of ${job} on ${config.host}`,
        staticDetails: details(session, job, options),
        typedSearchAttributes: searchAttributePairs(usable, {
          HoldfastJob: job,
          HoldfastHost: config.host,
          HoldfastOutcome: 'running',
        }),
      });
      return { run, job, status: busy === undefined ? 'running' : 'queued', joined: false };
    } catch (error) {
      // Two commands in one millisecond: the next one has another name.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError) || tries >= 100) throw error;
    }
  }
}

/** `20261122T030000.123Z`: sorts by time, and no character means anything in a path or a query. */
export function stamp(time: Date): string {
  return time.toISOString().replace(/[-:]/g, '');
}

/** The arguments of a scheduled run of `job`, as `applySchedules` wants them. */
export function scheduledInput(session: Pick<Session, 'loaded'>, job: string): [BackupInput] {
  const { config, hash } = session.loaded;
  const fields = { host: config.host, job, configHash: hash, options: {} };
  return [{ ...fields, sig: signInput(config.state, 'backup', fields) }];
}

async function busyRun(session: Session, job: string): Promise<{ queued?: string } | undefined> {
  const history = new History(session.loaded.config.state);
  let lock: ReturnType<History['lock']>;
  try {
    lock = history.lock(job);
  } finally {
    history.close();
  }
  if (lock === undefined || !(await isRunning(session.temporal, lock.owner))) return undefined;
  const { queued } = lock;
  return queued !== null && (await isRunning(session.temporal, queued)) ? { queued } : {};
}

function details(session: Session, job: string, options: BackupOptions): string {
  const { config } = session.loaded;
  const found = config.jobs[job];
  if (found === undefined) throw new HoldfastError('JobUnknown', `there is no job '${job}'`);
  const chosen = Object.entries(options)
    .filter(([, value]) => value)
    .map(([name]) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`);
  const lines = [
    `**Job** ${job} on ${config.host}`,
    `**Sources** ${found.sources.map((source) => `${source.name} (${source.type})`).join(', ')}`,
    `**Destinations** ${found.destinations.join(', ')}`,
  ];
  if (chosen.length > 0) lines.push(`**Options** ${chosen.join(' ')}`);
  return lines.join('\n\n');
}
