import type { DestinationConfig } from './config.js';

/**
 * Asks a service who is logged in, for people. Secrets in `config` are resolved already. Throws HoldfastError.
 *
 * @returns undefined for destinations without accounts.
 */
export async function accountOf(
  name: string,
  config: DestinationConfig,
  state: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  if (config.type !== 'gdrive' && config.type !== 'dropbox') return undefined;
  const destination =
    config.type === 'gdrive'
      ? new (await import('./gdrive.js')).GoogleDriveDestination(name, config, state)
      : new (await import('./dropbox.js')).DropboxDestination(name, config, state);
  try {
    return await destination.account(signal);
  } finally {
    await destination.close();
  }
}
