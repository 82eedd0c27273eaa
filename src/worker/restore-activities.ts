import { join } from 'node:path';
import { verifyInput } from '../activities/auth.js';
import type { Host } from '../activities/host.js';
import { openRepository } from '../activities/open-repository.js';
import { createRestoreActivities, type RestoreActivities } from '../activities/restore.js';
import { openTarget, type TargetServer } from '../activities/restore-database.js';

/** A restore's activities on `host`; `target` is the server to restore a database to in place of its source's own. */
export const restoreActivitiesOf = (host: Host, target?: TargetServer): RestoreActivities =>
  createRestoreActivities({
    verify: (input) => verifyInput(host.state, 'restore', input),
    open: (input, { sync, signal }) =>
      openRepository(host, input.job, { sync, signal, destination: input.destination }),
    openDatabase: (input) => openTarget(host, { job: input.job, source: input.database?.source }, target?.url),
    targetUrl: target?.reference,
    log: (message, details) => host.log.info(details ?? {}, message),
    state: host.state,
    scratch: join(host.config.spool.path, 'restore'),
  });
