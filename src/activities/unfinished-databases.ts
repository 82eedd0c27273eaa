import { resolveSecret } from '../config/secrets.js';
import type { DatabaseContext, DatabaseSource } from '../sources/database.js';
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
  await dropFilling({
    state: host.state,
    log: (message, details) => host.log.info({ ...about, ...details }, message),
    open: () => openTarget(host, { job, source }, url),
    into,
    run,
  });
}

/** Drops what the restore `run` has made of the database `into` at the server that `open` opens. */
export async function dropFilling(what: {
  /** The state folder. */
  state: string;
  log: DatabaseContext['log'];
  open(): Promise<DatabaseSource>;
  into: string;
  run: string;
}): Promise<void> {
  const rest = { signal: AbortSignal.timeout(dropMs), log: what.log };
  await withPrivateContext(what.state, rest, async (context) => {
    const source = await what.open();
    try {
      await source.dropUnfinished({ database: what.into, id: what.run }, context);
    } finally {
      await source.close();
    }
  });
}
