import { verifyInput } from '../activities/auth.js';
import { createExportActivities, type ExportActivities } from '../activities/export.js';
import type { Host } from '../activities/host.js';
import { openRepository } from '../activities/open-repository.js';
import { exportPath, lockExport } from './export-lock.js';

/** An export's activities on `host`, in its own worker: to files alone, without a password. */
export const exportActivitiesOf = (host: Host): ExportActivities =>
  createExportActivities({
    verify: (input) => verifyInput(host.state, 'export', input),
    open: (input, signal) => openRepository(host, input.job, { sync: true, signal, destination: input.destination }),
    password: undefined,
    standing: {
      lock: (file) => lockExport(host.state, file),
      record: (file) => exportPath(host.state, file, 'json'),
    },
  });
