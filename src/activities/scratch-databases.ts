import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { resolveSecrets } from '../config/secrets.js';
import { HoldfastError } from '../errors.js';
import type { DatabaseContext, DatabaseSource } from '../sources/database.js';
import { openDatabaseSource } from '../sources/open-database.js';
import { isOpen } from './begin.js';
import type { Host } from './host.js';
import { namesIn, withPrivateContext } from './private-context.js';
import { readJson, writeJson } from './threads/line-writer.js';

/** A temporary database at somebody's server, written down before it is made. */
export interface ScratchDatabase {
  name: string;
  job: string;
  source: string;
  /** The drill that made it. */
  run: string;
}

const dropMs = 60_000;
const folderOf = (host: Host): string => path.join(host.state, 'scratch');
const recordOf = (host: Host, { name }: Pick<ScratchDatabase, 'name'>): string =>
  path.join(folderOf(host), `${name}.json`);

/**
 * Does `work` with a temporary database that is known of before it is there, and forgotten once it is dropped; what can't
 * be dropped now is by a later sweep.
 */
export async function withScratchDatabase<T>(
  host: Host,
  scratch: ScratchDatabase,
  source: DatabaseSource,
  context: DatabaseContext,
  work: () => Promise<T>,
): Promise<T> {
  mkdirSync(folderOf(host), { recursive: true, mode: 0o700 });
  writeJson(recordOf(host, scratch), scratch, true);
  try {
    return await work();
  } finally {
    await forget(host, scratch, source, context);
  }
}

async function forget(
  host: Host,
  scratch: ScratchDatabase,
  source: DatabaseSource,
  context: DatabaseContext,
): Promise<void> {
  const { name, job, run } = scratch;
  try {
    // Cancelled or not.
    await source.dropScratch(name, { ...context, signal: AbortSignal.timeout(dropMs) });
    rmSync(recordOf(host, scratch), { force: true });
  } catch (error) {
    host.log.warn(
      { err: error, job, run },
      `the temporary database ${name} could not be dropped; it is tried again later`,
    );
  }
}

/** Drops what killed drills left at their servers. Drills that are still open drop theirs themselves. Never throws. */
export async function sweepScratchDatabases(host: Host): Promise<void> {
  for (const file of recordsIn(folderOf(host))) {
    const scratch = readJson<ScratchDatabase>(file);
    if (!scratch) continue;
    const { name, job, source, run } = scratch;
    try {
      if (await isOpen(host, run)) continue;
      await sweep(host, scratch);
      host.log.info({ job, source, run }, `the temporary database ${name} of a drill that was killed is dropped`);
    } catch (error) {
      host.log.warn(
        { err: error, job, source },
        `the temporary database ${name} of a drill that was killed may still be there`,
      );
    }
  }
}

async function sweep(host: Host, scratch: ScratchDatabase): Promise<void> {
  const { job, source, name } = scratch;
  const sources = host.config.jobs[job]?.sources ?? [];
  const number = sources.findIndex((each) => each.name === source);
  const config = sources[number];
  if (!config || config.type === 'files')
    throw new HoldfastError('ConfigInvalid', `the job ${job} has no database source ${source} any more`);
  const rest = {
    signal: AbortSignal.timeout(dropMs),
    log: (message: string, details?: Record<string, unknown>) => host.log.info({ job, ...details }, message),
  };
  await withPrivateContext(host.state, rest, async (context) => {
    const opened = await openDatabaseSource(await resolveSecrets(config, `jobs.${job}.sources[${number}]`));
    try {
      await opened.dropScratch(name, context);
      rmSync(recordOf(host, scratch), { force: true });
    } finally {
      await opened.close();
    }
  });
}

const recordsIn = (folder: string): string[] =>
  namesIn(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => path.join(folder, name));
