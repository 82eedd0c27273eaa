import type { Logger } from 'pino';
import { History } from '../activities/history.js';
import { type LoadedConfig, loadConfig } from '../config/load.js';
import type { MetricsConfig } from '../config/schema.js';
import { parseListen } from '../config/schema-metrics.js';
import { resolveSecrets } from '../config/secrets.js';
import { metricsOf } from '../metrics/exposition.js';
import { serveMetrics } from '../metrics/server.js';
import { bytesBelow, queuesOf, sdkMetrics } from '../metrics/surroundings.js';
import { controlQueue, hostQueue } from '../workflows/types.js';
import type { Session } from './session.js';

export interface MetricsOptions {
  loaded: LoadedConfig;
  metrics: MetricsConfig;
  session: Session;
  /** HOST:PORT of the SDK's own metrics. */
  sdk: string;
  log: Logger;
}

/**
 * Serves a standing worker's metrics until it is closed.
 *
 * @throws HoldfastError `SecretMissing`.
 */
export async function startMetrics(options: MetricsOptions): Promise<{ close(): Promise<void> }> {
  const { session, sdk, log } = options;
  const { listen, token } = await resolveSecrets(options.metrics, 'metrics');
  const at = parseListen(listen);
  if (at === undefined) throw new Error(`metrics.listen: ${listen}`);
  const history = new History(options.loaded.config.state);
  let { config } = options.loaded;
  const render = async (): Promise<string> => {
    try {
      config = loadConfig(options.loaded.path).config;
    } catch {
      // It is being edited, and the next run will say so: what was read last counts on.
    }
    const [spoolBytes, queues, ofSdk] = await Promise.all([
      bytesBelow(config.spool.path),
      queuesOf(session.temporal.client, [hostQueue(config.host), controlQueue]),
      sdkMetrics(sdk),
    ]);
    return `${await metricsOf(config, history, { spoolBytes, queues }).metrics()}${ofSdk}`;
  };
  const server = serveMetrics({ ...at, token, render, healthy: () => session.hosted(), log });
  return {
    async close() {
      await server.close();
      history.close();
    },
  };
}
