import { connect as connectTcp } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import proto from '@temporalio/proto';

const retentionSeconds = 30 * 24 * 3600;

export interface ReadyOptions {
  deadlineMs: number;
  /** Looked at between tries; a text ends the waiting as an error. */
  failure?: () => string | undefined;
  signal?: AbortSignal;
}

/**
 * Waits until a server answers at `address` and its `default` namespace exists; sees to its keeping closed runs for 30 days.
 *
 * @throws Error that says what was last wrong.
 */
export async function waitUntilReady(address: string, options: ReadyOptions): Promise<void> {
  const started = Date.now();
  let last = 'nothing listens there';
  for (;;) {
    options.signal?.throwIfAborted();
    const failed = options.failure?.();
    if (failed !== undefined) throw new Error(failed);
    if (Date.now() - started > options.deadlineMs) {
      throw new Error(`no answer within ${Math.round(options.deadlineMs / 1000)} s (${last})`);
    }
    if (await accepts(address)) {
      try {
        await prepareNamespace(address);
        return;
      } catch (error) {
        last = error instanceof Error ? error.message : String(error);
      }
    }
    await sleep(50, undefined, options.signal ? { signal: options.signal } : {});
  }
}

async function prepareNamespace(address: string): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: 3000 });
  try {
    await connection.withDeadline(Date.now() + 5000, async () => {
      const namespace = 'default';
      const described = await connection.workflowService.describeNamespace({ namespace });
      const seconds = described.config?.workflowExecutionRetentionTtl?.seconds?.toNumber() ?? 0;
      if (seconds >= retentionSeconds) return;
      const workflowExecutionRetentionTtl = proto.google.protobuf.Duration.fromObject({ seconds: retentionSeconds });
      await connection.workflowService.updateNamespace({ namespace, config: { workflowExecutionRetentionTtl } });
    });
  } finally {
    await connection.close();
  }
}

async function accepts(address: string): Promise<boolean> {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon);
  const port = Number(address.slice(colon + 1));
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port, timeout: 2000 });
    const end = (accepted: boolean) => {
      socket.destroy();
      resolve(accepted);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
    socket.once('timeout', () => end(false));
  });
}
