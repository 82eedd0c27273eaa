import type { DestinationConfig } from './config.js';
import type { Destination } from './destination.js';
import { withBandwidth } from './throttle.js';

async function openUnlimited(name: string, config: DestinationConfig): Promise<Destination> {
  switch (config.type) {
    case 'local': {
      const { LocalDestination } = await import('./local.js');
      return new LocalDestination(name, config);
    }
    case 's3': {
      const { S3Destination } = await import('./s3.js');
      return new S3Destination(name, config);
    }
  }
}

/**
 * Opens the destination called `name`. Only what its type needs is loaded. Nothing is contacted yet, so the sole error is
 * `ConfigInvalid`. Secrets in `config` are resolved already.
 */
export async function openDestination(name: string, config: DestinationConfig): Promise<Destination> {
  const destination = await openUnlimited(name, config);
  return config.bandwidth === undefined ? destination : withBandwidth(destination, config.bandwidth, config.timezone);
}
