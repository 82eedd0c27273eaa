import type { Logger } from 'pino';
import { Host } from '../activities/host.js';
import { adoptDestination } from '../activities/key-setup.js';
import type { LoadedConfig } from '../config/load.js';
import { nearest } from '../config/nearest.js';
import type { Config, DestinationConfig } from '../config/schema.js';
import { HoldfastError } from '../errors.js';

/** @throws HoldfastError `UsageInvalid`, with the nearest name. */
export function findDestination(config: Config, name: string): DestinationConfig {
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
