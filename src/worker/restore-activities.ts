import { join } from 'node:path';
import { verifyInput } from '../activities/auth.js';
import type { Host } from '../activities/host.js';
import { openRepository } from '../activities/open-repository.js';
import { createRestoreActivities, type RestoreActivities } from '../activities/restore.js';
import { openTarget } from '../activities/restore-database.js';

/** A restore's activities on `host`; `targetUrl`, with its password, is the server to restore a database to. */
export const restoreActivitiesOf = (host: Host, targetUrl?: string): RestoreActivities =>
  createRestoreActivities({
    verify: (input) => verifyInput(host.state, 'restore', input),
    open: (input, { sync, signal }) =>
      openRepository(host, input.job, { sync, signal, destination: input.destination }),
    openDatabase: (input) => openTarget(host, input, targetUrl),
    log: (message, details) => host.log.info(details ?? {}, message),
    scratch: join(host.config.spool.path, 'restore'),
  });
