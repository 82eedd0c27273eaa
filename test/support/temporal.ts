import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TemporalClient } from '../../src/control/connection.js';
import type { ServerLog } from '../../src/worker/temporal/server.js';
import { acquireServer, type ServerHandle } from '../../src/worker/temporal/share.js';

export interface TestTemporal extends TemporalClient {
  server: ServerHandle;
  /** The state folder the server keeps its database in; removed at the end. */
  stateDir: string;
  /** Closes the client, stops the server, removes the folder. */
  cleanup: () => Promise<void>;
}

export const silentLog: ServerLog = { info: () => undefined, warn: () => undefined };

/** A private Temporal server, as users get it, and a client of it. Takes about a second; use one per test file. */
export async function startTestTemporal(options: { stateDir?: string; log?: ServerLog } = {}): Promise<TestTemporal> {
  const stateDir = options.stateDir ?? (await mkdtemp(join(tmpdir(), 'holdfast-state-')));
  const server = await acquireServer({ stateDir, log: options.log ?? silentLog });
  const client = await connect(undefined, server);
  return {
    ...client,
    server,
    stateDir,
    async cleanup() {
      await client.close();
      await server.release();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}
