import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Where a connection is cut: after this many bytes from the client, or from the server. */
export type Cut = { sent: number } | { received: number };

export interface TcpProxy {
  readonly port: number;
  /** Bytes that went through since `reset`, all connections together. */
  readonly sent: number;
  readonly received: number;
  /** Connections there were so far. */
  readonly connections: number;
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

export interface TcpProxyOptions {
  /** Where it listens. Default: 127.0.0.1. */
  host?: string;
  /** Passes these ports on too, first to last, under the same numbers: FTP's data connections. */
  samePorts?: [number, number];
}

/** A proxy before a TCP server on the loopback that can cut or stall connections anywhere. */
export async function startTcpProxy(targetPort: number, options: TcpProxyOptions = {}): Promise<TcpProxy> {
  const { host = '127.0.0.1', samePorts } = options;
  const sockets = new Set<Socket>();
  const held: (() => void)[] = [];
  let stalled = false;
  const forward = (port: number) => (client: Socket) => {
    counts.connections += 1;
    const target = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
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
  };
  const counts = { sent: 0, received: 0, connections: 0 };
  const servers: Server[] = [];
  const listen = async (port: number, target: number): Promise<number> => {
    const server = createServer({ allowHalfOpen: true }, forward(target)).listen(port, host);
    await once(server, 'listening');
    servers.push(server);
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return address.port;
  };
  const port = await listen(0, targetPort);
  if (samePorts !== undefined) for (let same = samePorts[0]; same <= samePorts[1]; same++) await listen(same, same);
  const proxy: TcpProxy = {
    port,
    cut: undefined,
    get sent() {
      return counts.sent;
    },
    get received() {
      return counts.received;
    },
    get connections() {
      return counts.connections;
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
      await Promise.all(servers.map((server) => once(server.close(), 'close')));
    },
  };
  return proxy;
}
