import { HoldfastError } from '../errors.js';
import type { DestinationConfig } from './config.js';
import type { Destination } from './destination.js';
import { withBandwidth } from './throttle.js';

/** What a destination may need besides its config. */
export interface OpenOptions {
  /** The state folder, where logins and unfinished uploads are kept. Google Drive and Dropbox need it. */
  state?: string;
}

async function openUnlimited(name: string, config: DestinationConfig, state?: string): Promise<Destination> {
  switch (config.type) {
    case 'local': {
      const { LocalDestination } = await import('./local.js');
      return new LocalDestination(name, config);
    }
    case 's3': {
      const { S3Destination } = await import('./s3.js');
      return new S3Destination(name, config);
    }
    case 'gdrive': {
      const { GoogleDriveDestination } = await import('./gdrive.js');
      return new GoogleDriveDestination(name, config, required(name, state));
    }
    case 'dropbox': {
      const { DropboxDestination } = await import('./dropbox.js');
      return new DropboxDestination(name, config, required(name, state));
    }
    case 'sftp': {
      const { SftpDestination } = await import('./sftp.js');
      return new SftpDestination(name, config);
    }
    case 'ftp': {
      const { FtpDestination } = await import('./ftp.js');
      return new FtpDestination(name, config);
    }
  }
}

function required(name: string, state: string | undefined): string {
  if (state !== undefined) return state;
  throw new HoldfastError('ConfigInvalid', `Destination "${name}" needs a state folder for its login`);
}

/**
 * Opens the destination called `name`. Only what its type needs is loaded. Nothing is contacted yet, so the sole error is
 * `ConfigInvalid`. Secrets in `config` are resolved already.
 */
export async function openDestination(
  name: string,
  config: DestinationConfig,
  options: OpenOptions = {},
): Promise<Destination> {
  const destination = await openUnlimited(name, config, options.state);
  return config.bandwidth === undefined ? destination : withBandwidth(destination, config.bandwidth, config.timezone);
}
