import { findJob, findRepositoryJob } from '../config/load.js';
import type { Config } from '../config/schema.js';
import type { BackupOptions } from '../workflows/types.js';

/** @throws HoldfastError `JobUnknown`, `UsageInvalid` for options that make no sense for the job. */
export function checkBackup(config: Config, job: string, options: BackupOptions): void {
  if (options.reread !== true) {
    findJob(config, job);
    return;
  }
  const hint = '--full makes an archive of everything.';
  findRepositoryJob(config, job, '--reread reads every file and stores what a repository lacks', hint);
}
