import type { Logger } from 'pino';
import { Host } from '../activities/host.js';
import { adoptDestination } from '../activities/key-setup.js';
import type { LoadedConfig } from '../config/load.js';
import { nearest } from '../config/nearest.js';
import type { Config, DestinationConfig } from '../config/schema.js';
import { HoldfastError } from '../errors.js';
import { packHashOf, snapshotIdOf } from '../repository/layout.js';

/** @throws HoldfastError `UsageInvalid`, with the nearest name. */
export function findDestination(config: Pick<Config, 'destinations'>, name: string): DestinationConfig {
  const found = Object.hasOwn(config.destinations, name) ? config.destinations[name] : undefined;
  if (found !== undefined) return found;
  const names = Object.keys(config.destinations);
  const near = nearest(name, names);
  throw new HoldfastError(
    'UsageInvalid',
    `there is no destination '${name}'${near ? `; did you mean '${near}'?` : ''}`,
    {
      hint: `Destinations: ${names.join(', ')}.`,
    },
  );
}

/** Names of the jobs that store to a destination. */
export function jobsOf(config: Config, destination: string): string[] {
  return Object.entries(config.jobs)
    .filter(([, job]) => job.destinations.includes(destination))
    .map(([name]) => name);
}

/** Lets the jobs' next runs fill a destination that lost their repositories. */
export async function adopt(
  loaded: LoadedConfig,
  destination: string,
  jobs: readonly string[],
  log: Logger,
): Promise<void> {
  const host = new Host(loaded, undefined, log);
  try {
    for (const job of jobs) adoptDestination(host, job, destination);
  } finally {
    await host.close();
  }
}

/** Where a destination is, without its secrets. */
export function placeOf(config: DestinationConfig): string {
  if (config.type === 'local') return config.path;
  if (config.type === 'dropbox') return `dropbox:${config.path}`;
  if (config.type === 'gdrive') return `gdrive:${config.folderId ?? config.driveId ?? 'Holdfast'}`;
  if (config.type === 'sftp' || config.type === 'ftp') {
    const scheme = config.type === 'ftp' && config.tls === 'implicit' ? 'ftps' : config.type;
    const port = config.port === undefined ? '' : `:${config.port}`;
    return `${scheme}://${config.user}@${config.host}${port}/${config.path}`;
  }
  const folder = config.prefix ? `/${config.prefix}` : '';
  return `s3://${config.bucket}${folder}${config.endpoint ? ` at ${config.endpoint}` : ''}`;
}

export interface JobUsage {
  job: string;
  snapshots: number;
  packs: number;
  objects: number;
  bytes: number;
}

export interface Usage {
  name: string;
  type: string;
  /** Of this host's repositories there. */
  bytes: number;
  jobs: JobUsage[];
  /** null where the destination does not tell. */
  free: number | null;
  total: number | null;
  error: { code: string; message: string } | null;
}

/** What this host's repositories take at destinations, by what these list now. One that does not answer says why in `error`. */
export async function usage(
  loaded: LoadedConfig,
  names: readonly string[],
  log: Logger,
  signal?: AbortSignal,
): Promise<Usage[]> {
  const host = new Host(loaded, undefined, log);
  try {
    return await Promise.all(names.map((name) => usageOf(host, name, signal)));
  } finally {
    await host.close();
  }
}

async function usageOf(host: Host, name: string, signal?: AbortSignal): Promise<Usage> {
  const config = findDestination(host.config, name);
  const answer: Usage = { name, type: config.type, bytes: 0, jobs: [], free: null, total: null, error: null };
  try {
    const destination = await host.destination(name, config);
    const jobs = new Map<string, JobUsage>();
    const prefix = `${host.config.host}/`;
    for await (const { key, size } of destination.list(prefix, signal)) {
      const [job = ''] = key.slice(prefix.length).split('/');
      const object = key.slice(prefix.length + job.length + 1);
      const one = jobs.get(job) ?? { job, snapshots: 0, packs: 0, objects: 0, bytes: 0 };
      jobs.set(job, one);
      one.objects++;
      one.bytes += size;
      if (packHashOf(object) !== undefined) one.packs++;
      if (snapshotIdOf(object) !== undefined) one.snapshots++;
    }
    answer.jobs = [...jobs.values()].sort((a, b) => (a.job < b.job ? -1 : 1));
    answer.bytes = answer.jobs.reduce((sum, { bytes }) => sum + bytes, 0);
    const space = await destination.space(signal);
    if (space !== undefined) Object.assign(answer, space);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    answer.error = { code: error.code, message: error.message };
  }
  return answer;
}
