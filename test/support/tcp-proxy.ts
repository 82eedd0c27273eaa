import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Where a connection is cut: after this many bytes from the client, or from the server. */
export type Cut = { sent: number } | { received: number };

export interface TcpProxy {
  readonly port: number;
  /** Bytes that went through since `reset`, all connections together. */
  readonly sent: number;
  readonly received: number;
  /** Counts anew from 0. */
  reset(): void;
  /** Resets every connection once as many bytes as this have gone through since `reset`; undefined: none. */
  cut: Cut | undefined;
  /** Passes nothing on while true, and closes nothing either: a half-open connection. */
  stalled: boolean;
  /** Resets all connections now. */
  cutAll(): void;
  stop(): Promise<void>;
}

/** A proxy before a TCP server that can cut or stall connections anywhere. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const held: (() => void)[] = [];
  let stalled = false;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const target = connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true });
    const cutBoth = (): void => {
      client.resetAndDestroy();
      target.resetAndDestroy();
    };
    const pass = (from: Socket, to: Socket, count: (bytes: number) => number | undefined): void => {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('data', (chunk: Buffer) => {
        const deliver = (): void => {
          const left = count(chunk.length);
          const some = left === undefined ? chunk : chunk.subarray(0, Math.max(0, left));
          if (some.length > 0 && !to.write(some)) {
            from.pause();
            to.once('drain', () => from.resume());
          }
          if (left !== undefined && left <= chunk.length) setImmediate(cutBoth);
        };
        if (stalled) {
          from.pause();
          held.push(() => {
            deliver();
            from.resume();
          });
        } else {
          deliver();
        }
      });
      from.on('end', () => (stalled ? held.push(() => to.end()) : to.end()));
      from.on('error', cutBoth);
      from.on('close', () => {
        sockets.delete(from);
        if (from.destroyed && !from.readableEnded) to.destroy();
      });
    };
    pass(client, target, (bytes) => {
      const before = proxy.sent;
      counts.sent += bytes;
      return proxy.cut !== undefined && 'sent' in proxy.cut && counts.sent >= proxy.cut.sent
        ? proxy.cut.sent - before
        : undefined;
    });
    pass(target, client, (bytes) => {
      const before = proxy.received;
      counts.received += bytes;
      return proxy.cut !== undefined && 'received' in proxy.cut && counts.received >= proxy.cut.received
        ? proxy.cut.received - before
        : undefined;
    });
  });
  const counts = { sent: 0, received: 0 };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const { port } = address;
  const proxy: TcpProxy = {
    port,
    cut: undefined,
    get sent() {
      return counts.sent;
    },
    get received() {
      return counts.received;
    },
    get stalled() {
      return stalled;
    },
    set stalled(value) {
      stalled = value;
      if (!value) for (const release of held.splice(0)) release();
    },
    reset() {
      counts.sent = 0;
      counts.received = 0;
    },
    cutAll() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
