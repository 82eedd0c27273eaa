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
  /** As `cut`, but the connections are only `stalled` then; `cutAll` ends them once the server has written what it got. */
  stallAt: Cut | undefined;
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
    // How many bytes more may pass, or undefined where there is no end.
    const room = (end: Cut | undefined, way: 'sent' | 'received', bytes: number): number | undefined => {
      const limit = end === undefined ? undefined : (end as Partial<Record<typeof way, number>>)[way];
      if (limit === undefined || counts[way] < limit) return undefined;
      return limit - (counts[way] - bytes);
    };
    const pass = (from: Socket, to: Socket, way: 'sent' | 'received'): void => {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('data', (chunk: Buffer) => {
        const deliver = (): void => {
          counts[way] += chunk.length;
          const until = room(proxy.stallAt, way, chunk.length);
          const left = room(proxy.cut, way, chunk.length) ?? until;
          const some = left === undefined ? chunk : chunk.subarray(0, Math.max(0, left));
          if (some.length > 0 && !to.write(some)) {
            from.pause();
            to.once('drain', () => from.resume());
          }
          if (left === undefined || left > chunk.length) return;
          if (until === undefined) setImmediate(cutBoth);
          else stalled = true;
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
    pass(client, target, 'sent');
    pass(target, client, 'received');
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
    stallAt: undefined,
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
      held.splice(0);
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => once(server.close(), 'close')));
    },
  };
  return proxy;
}
