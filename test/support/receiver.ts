import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface Received {
  method: string;
  /** Path and query. */
  url: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** How the receiver answers; `hang` never does, `garbage` is no HTTP. */
export type Answer =
  | { status: number; body?: string; headers?: Record<string, string>; delayMs?: number }
  | 'hang'
  | 'garbage'
  | 'reset';

/** An HTTP server that remembers what it got, and misbehaves as it is told. */
export class Receiver {
  readonly received: Received[] = [];
  /** The next answers; then `usual`. */
  readonly next: Answer[] = [];
  usual: Answer = { status: 200, body: 'ok' };
  /** Where the answer depends on the request. */
  answer: ((received: Received) => Answer) | undefined;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(): Promise<Receiver> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const receiver = new Receiver(server, `http://127.0.0.1:${port}`);
    server.on('connection', (socket) => {
      receiver.sockets.add(socket);
      socket.on('close', () => receiver.sockets.delete(socket));
    });
    server.on('request', (request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      request.on('end', () => {
        const { method = '', url = '', headers } = request;
        const received = { method, url, headers, body };
        receiver.received.push(received);
        const answer = receiver.next.shift() ?? receiver.answer?.(received) ?? receiver.usual;
        if (answer === 'hang') return;
        if (answer === 'reset') return void request.socket.resetAndDestroy();
        if (answer === 'garbage') return void request.socket.end('\u0000\u0001 what? \r\n\r\n');
        setTimeout(() => {
          response.writeHead(answer.status, answer.headers);
          response.end(answer.body ?? '');
        }, answer.delayMs ?? 0);
      });
    });
    return receiver;
  }

  /** What it got last, or at `at`. */
  last(at = -1): Received {
    const found = this.received.at(at);
    if (found === undefined) throw new Error(`nothing was received (${this.received.length})`);
    return found;
  }

  json(at = -1): Record<string, unknown> {
    return JSON.parse(this.last(at).body) as Record<string, unknown>;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
