import { resolveSecret } from '../config/secrets.js';
import type { Host } from './host.js';
import { withPrivateContext } from './private-context.js';
import { type Filling, openTarget } from './restore-database.js';

const dropMs = 60_000;

/**
 * Drops what a killed restore left of the database that it was filling. Where that can't be reached any more, the log says
 * what may be left.
 * @param run the restore, which is over.
 * @throws HoldfastError as `DatabaseSource.preflight` does: a later sweep tries again.
 */
export async function dropUnfinished(host: Host, run: string, filling: Filling): Promise<void> {
  const { job, source, into, elsewhere } = filling;
  const about = { run, job, source };
  const isKnown = host.config.jobs[job]?.sources.some(({ name, type }) => name === source && type !== 'files');
  if (!isKnown || (elsewhere !== undefined && elsewhere.url === undefined)) {
    host.log.warn(
      about,
      `a restore into ${into} was killed; what it left ${elsewhere === undefined ? '' : `at ${elsewhere.place} `}is not known here any more: see docs/databases.md`,
    );
    return;
  }
  const url = elsewhere?.url === undefined ? undefined : await resolveSecret(elsewhere.url, '--target-url');
  const rest = {
    signal: AbortSignal.timeout(dropMs),
    log: (message: string, details?: Record<string, unknown>) => host.log.info({ ...about, ...details }, message),
  };
  await withPrivateContext(host.state, rest, async (context) => {
    const opened = await openTarget(host, { job, source }, url);
    try {
      await opened.dropUnfinished({ database: into, id: run }, context);
    } finally {
      await opened.close();
    }
  });
}
